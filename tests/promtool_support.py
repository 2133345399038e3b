"""Prometheus's own checker, for the tests that use it."""

from __future__ import annotations

import os
import shutil

import pytest


def promtool() -> str:
    """Return the path of promtool. Skip if it is missing, or fail if STREAMAD_REQUIRE_PROMTOOL=1 requires it."""
    found = shutil.which("promtool")
    if found is None:
        if os.environ.get("STREAMAD_REQUIRE_PROMTOOL") == "1":
            pytest.fail("promtool is not installed, but STREAMAD_REQUIRE_PROMTOOL=1 requires it")
        pytest.skip("promtool is not installed (Debian: apt-get install prometheus)")
    return found
