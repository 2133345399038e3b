"""The registry, and what every detector must offer."""

from __future__ import annotations

import ast
import re
from dataclasses import fields
from pathlib import Path

import pytest
from bundle_support import small_manifest

import streamad
from streamad.bundle import Bundle, load_bundle
from streamad.detectors import (
    BUILT_IN,
    DEFAULT,
    FittedDetector,
    TrainedDetector,
    camera_scorer,
    detector_names,
    detector_of,
    find_detector,
)
from streamad.errors import BundleError, ExitCode, UsageError
from streamad.model_folders import list_bundles

PACKAGE = Path(streamad.__file__).parent
BUNDLES = {load_bundle(path).manifest.detector: path for path in list_bundles()}


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_detector_offers_what_the_protocol_asks_for(name: str) -> None:
    pytest.importorskip("torch")
    detector = find_detector(name)
    assert detector.name == name
    assert isinstance(detector, FittedDetector | TrainedDetector)
    assert detector.summary
    assert (detector.min_fps >= 0, detector.window >= 1) == (True, True)
    options = detector.options()
    options()  # every field has a default
    assert all(field.name in (options.__doc__ or "") for field in fields(options))
    assert detector.takes_images == isinstance(detector, TrainedDetector)
    assert all(0 < published.mean < 100 for published in detector.published().values())
    for part in ("network", "scorer", "training"):
        file = PACKAGE / "detectors" / name / f"{part}.py"
        assert file.exists() or part == "scorer", file  # detectors of patches share theirs
    assert (PACKAGE / "detectors" / name / "README.md").exists()


@pytest.mark.parametrize("name", BUILT_IN)
def test_every_detector_scores_and_describes_its_shipped_model(name: str) -> None:
    torch = pytest.importorskip("torch")
    bundle = load_bundle(BUNDLES[name])
    manifest, detector = bundle.manifest, detector_of(bundle)
    assert detector is find_detector(name)
    scorer = detector.scorer(manifest, "gate")
    assert scorer.gaps == 0
    assert scorer is not detector.scorer(manifest, "gate")
    assert (bundle.streaming_path is None) == (detector.streaming is None)
    assert detector.window == (manifest.tiling.window or 1)
    network = detector.network(manifest)
    assert isinstance(network, torch.nn.Module)
    card = detector.card(manifest)
    assert f"| detector | {name}," in card
    assert f"parity with {detector.reference}" in card
    smallest = detector.smallest_object(manifest)
    assert smallest is None or 10 <= smallest <= 60
    assert all(isinstance(sentence, str) for sentence in detector.limitations(manifest))


def test_no_detector_is_named_outside_its_folder() -> None:
    """No branch, no import and no list names a detector; only the registration does."""
    named = []
    for path in sorted(PACKAGE.rglob("*.py")):
        inside = path.relative_to(PACKAGE).parts
        own = inside[1] if inside[0] == "detectors" and len(inside) > 2 else None
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value in BUILT_IN:
                named += [(node.value, "/".join(inside))] * (own != node.value)
            module = node.module or "" if isinstance(node, ast.ImportFrom) else ""
            found = re.match(r"streamad\.detectors\.(\w+)", module)
            if found and found[1] in BUILT_IN:
                named += [(found[1], "/".join(inside))] * (own != found[1])
    assert named == [(name, "detectors/__init__.py") for name in BUILT_IN]


def test_the_default_is_fitted_without_torch() -> None:
    assert isinstance(find_detector(DEFAULT), FittedDetector)
    assert detector_names()[0] == DEFAULT


def test_an_unknown_detector_is_a_usage_error_that_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"'tea_leaves'.*adacl") as caught:
        find_detector("tea_leaves")
    assert caught.value.exit_code == ExitCode.USAGE


def test_a_bundle_of_an_unknown_detector_says_what_to_do() -> None:
    manifest = small_manifest().model_copy(update={"detector": "from_the_future"})
    with pytest.raises(BundleError, match="from_the_future") as caught:
        camera_scorer(Bundle(Path("nowhere"), manifest), "cam")
    assert "update" in (caught.value.hint or "")


def test_every_camera_gets_a_state_of_its_own() -> None:
    bundle = Bundle(Path("nowhere"), small_manifest())
    assert camera_scorer(bundle, "a") is not camera_scorer(bundle, "a")
