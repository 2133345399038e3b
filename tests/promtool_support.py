"""Prometheus' own checker, for the tests that ask it."""

from __future__ import annotations

import os
import shutil

import pytest


def promtool() -> str:
    """Path of promtool; skips where it is missing, fails where STREAMAD_REQUIRE_PROMTOOL=1 asks for it."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("STREAMAD_REQUIRE_PROMTOOL") == "1":
            pytest.fail("promtool is not installed, but STREAMAD_REQUIRE_PROMTOOL=1 asks for it")
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return found
