"""Prometheus's own checker, for the tests that use it."""

from __future__ import annotations

import os
import shutil

import pytest


def promtool() -> str:
    """Return the path of promtool. Skip if it is missing, or fail if STREAMAD_REQUIRE_PROMTOOL=1 requires it."""
    return _found("promtool", "prometheus")


def amtool() -> str:
    """Return the path of Alertmanager's amtool, or skip or fail likewise."""
    return _found("amtool", "prometheus-alertmanager")


def _found(program: str, package: str) -> str:
    found = shutil.which(program)
    if found is None:
        if os.environ.get("STREAMAD_REQUIRE_PROMTOOL") == "1":
            pytest.fail(f"{program} is not installed, but STREAMAD_REQUIRE_PROMTOOL=1 requires it")
        pytest.skip(f"{program} is not installed (Debian: apt-get install {package})")
    return found
