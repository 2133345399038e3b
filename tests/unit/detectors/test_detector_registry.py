"""The registry: every detector's parts exist, and unknown ones are refused."""

from __future__ import annotations

from pathlib import Path

import pytest
from bundle_support import small_manifest

from streamad.bundle import Bundle
from streamad.detectors import camera_scorer, detector_names, detector_parts
from streamad.detectors.base import load_part
from streamad.errors import BundleError, ExitCode, UsageError


@pytest.mark.parametrize("name", detector_names())
def test_every_part_of_every_detector_can_be_loaded(name: str) -> None:
    pytest.importorskip("torch")
    parts = detector_parts(name)
    for reference in (parts.scorer, parts.network, parts.task):
        assert reference is None or callable(load_part(reference))
    assert parts.task is not None or name == "motion"  # fitted without the training loop
    assert parts.summary


def test_an_unknown_detector_is_a_usage_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'tea_leaves'.*adacl") as caught:
        detector_parts("tea_leaves")
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_bundle_of_an_unknown_detector_says_to_update() -> None:
    manifest = small_manifest().model_copy(update={"detector": "from_the_future"})
    with pytest.raises(BundleError, match="from_the_future") as caught:
        camera_scorer(Bundle(Path("nowhere"), manifest), "cam")
    assert "update" in (caught.value.hint or "")


def test_every_camera_gets_a_state_of_its_own() -> None:
    bundle = Bundle(Path("nowhere"), small_manifest())
    assert camera_scorer(bundle, "a") is not camera_scorer(bundle, "a")
