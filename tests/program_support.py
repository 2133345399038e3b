"""Programs of other projects that some tests run: Prometheus's checkers, a broker, openssl."""

from __future__ import annotations

import os
import shutil

import pytest

PACKAGES = {
    "promtool": "prometheus",
    "amtool": "prometheus-alertmanager",
    "systemd-analyze": "systemd",
    "ffprobe": "ffmpeg",
}
"""Debian packages of programs that have another name."""


def program(name: str) -> str:
    """Return the path of a program. Skip if it is missing, or fail if STREAMAD_REQUIRE_PROGRAMS=1 requires it."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if found is None:
        if os.environ.get("STREAMAD_REQUIRE_PROGRAMS") == "1":
            pytest.fail(f"{name} is not installed, but STREAMAD_REQUIRE_PROGRAMS=1 requires it")
        pytest.skip(f"{name} is not installed (Debian: apt-get install {PACKAGES.get(name, name)})")
    return found
