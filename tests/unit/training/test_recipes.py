"""Every detector from clips of normal video to a bundle that scores: small, but through every step."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_support import moving_shapes, single_torch_thread

pytest.importorskip("torch")

from scoring_support import score_video

from streamad.bundle import Bundle, load_bundle
from streamad.detectors import trained_detector
from streamad.engines import EngineSpec
from streamad.errors import UsageError
from streamad.frame import Frame, FrameFlags
from streamad.inference import open_model
from streamad.training.plan import TrainingPlan

pytestmark = pytest.mark.usefixtures("one_torch_thread")

FRAMES = 70
OPTIONS: dict[str, dict[str, Any]] = {
    "adacl": {},
    "alps": {"width": 8},
    "learned_noise": {"width": 0.06, "crop": 32, "samples": 8, "epochs": 2},
    "igd": {"width": 4},
}
SIDES = {"learned_noise": 64, "igd": 32}
"""IGD's local branch, from 64 pixels on, doubles the time of its export; test_igd_network.py exports both."""


def opener(seed: int, frames: int = FRAMES) -> Callable[[], list[Frame]]:
    def frames_of() -> list[Frame]:
        pictures = moving_shapes(frames, seed=seed)
        first = FrameFlags.DISCONTINUITY
        return [Frame("c", k, k / 10, 0.0, p, FrameFlags.NONE if k else first) for k, p in enumerate(pictures)]

    return frames_of


def plan(detector: str, **given: Any) -> TrainingPlan:
    side = SIDES.get(detector, 64)
    values: dict[str, Any] = {"epochs": 1, "max_cells": 128, "side": side, "options": OPTIONS[detector], **given}
    if "epochs" in OPTIONS[detector]:
        values["epochs"] = None
    name = f"{detector}-test".replace("_", "-")
    return TrainingPlan(name=name, data="drawn", license="CC0", fps=10, detector=detector, **values)


def learned(chosen: TrainingPlan, clips: Sequence[Callable[[], list[Frame]]], out: Path, **more: Any) -> Bundle:
    return trained_detector(chosen.detector).train(chosen, clips, out, **more)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    """A trained bundle of a detector; each is made once, and nobody changes it."""
    folder = tmp_path_factory.mktemp("out")

    @cache
    def trained_once(detector: str) -> Bundle:
        with single_torch_thread():
            return learned(plan(detector), [opener(1), opener(2)], folder / detector)

    return trained_once


LIGHT = ("adacl", "learned_noise")
"""One that scores cells and one that scores clips; the others' trainings to a bundle are left to --slow."""
HEAVY = tuple(pytest.param(name, marks=pytest.mark.slow) for name in OPTIONS if name not in LIGHT)


@pytest.fixture(params=(*LIGHT, *HEAVY))
def trained(request: pytest.FixtureRequest, bundles: Callable[[str], Bundle]) -> Bundle:
    return bundles(str(request.param))


def test_the_bundle_says_what_it_is(trained: Bundle) -> None:
    bundle = load_bundle(trained.path)
    manifest = bundle.manifest
    streams = {"streaming.onnx"} if manifest.detector == "learned_noise" else set()
    assert set(manifest.files) == {"model.onnx", "weights.safetensors", "README.md"} | streams
    assert manifest.training.options["detector"] == manifest.detector
    assert manifest.training.frames == FRAMES
    assert [p.file for p in manifest.parity] == ["model.onnx", *streams]
    assert {p.engine for p in manifest.parity} == {"openvino"}
    card = (bundle.path / "README.md").read_text()
    for part in (bundle.name, manifest.detector, "drawn", "CC0", "seed 17", "parity"):
        assert part in card


def test_both_engines_score_video_alike(trained: Bundle) -> None:
    scores = []
    for engine in ("openvino", "torch"):
        with open_model(trained, EngineSpec(name=engine)) as model:  # type: ignore[arg-type]
            scores.append(list(score_video(opener(3)(), model)))
    for ours, theirs in zip(*scores, strict=True):
        assert (ours.index, ours.skipped_reason) == (theirs.index, theirs.skipped_reason)
        assert ours.score == pytest.approx(theirs.score, rel=5e-3, abs=5e-3, nan_ok=True)
    scored = [s for s in scores[0] if s.skipped_reason is None]
    assert len(scored) >= FRAMES - 32
    assert np.isfinite([s.score for s in scored]).all()
    heat = [s.anomaly_map for s in scored if s.anomaly_map is not None]
    assert heat
    assert len({h.shape for h in heat}) == 1


@pytest.mark.slow
@pytest.mark.parametrize("detector", list(OPTIONS))
def test_a_training_that_ended_is_not_done_again(
    bundles: Callable[[str], Bundle], detector: str, tmp_path: Path
) -> None:
    trained, epochs = bundles(detector), list[int]()
    folder = shutil.copytree(trained.path, tmp_path / detector)
    again = learned(plan(detector), [opener(1), opener(2)], folder, on_epoch=lambda r: epochs.append(r.epoch))
    assert not epochs
    assert again.manifest.training == trained.manifest.training


def test_a_checkpoint_of_another_detector_is_refused(bundles: Callable[[str], Bundle], tmp_path: Path) -> None:
    shutil.copytree(bundles("adacl").path / "training", tmp_path / "training")
    with pytest.raises(UsageError, match="detector is adacl there, alps here"):
        learned(plan("alps"), [opener(1), opener(2)], tmp_path)


def test_a_wrong_option_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="learned_noise has no option color"):
        learned(replace(plan("learned_noise"), options={"color": "red"}), [opener(1), opener(2)], tmp_path)


@pytest.mark.slow
def test_a_training_starts_from_a_lighter_model(bundles: Callable[[str], Bundle], tmp_path: Path) -> None:
    """With next to no steps it scores as that one does: 1 step at a rate of 1e-9 moves BatchNorm's averages alone."""
    clips = [opener(1), opener(2)]
    light = bundles("learned_noise")
    given = {**OPTIONS["learned_noise"], "start": str(light.path), "width": 0.1, "epochs": 1, "samples": 1, "batch": 1}
    wide = learned(plan("learned_noise", options={**given, "learning_rate": 1e-9}), clips, tmp_path / "wide")
    record = wide.manifest.training.options
    assert (record["start"], record["start_sha256"]) == (light.name, light.sha256)
    assert wide.manifest.parameters > light.manifest.parameters
    scores = []
    for bundle in (light, wide):
        with open_model(bundle, EngineSpec()) as model:
            scores.append([s.score for s in score_video(opener(3)(), model) if s.skipped_reason is None])
    assert np.corrcoef(scores[0], scores[1])[0, 1] > 0.95


def test_a_training_cannot_start_from_another_detector(bundles: Callable[[str], Bundle], tmp_path: Path) -> None:
    other = bundles("adacl")
    start = {**OPTIONS["learned_noise"], "start": str(other.path)}
    with pytest.raises(UsageError, match="is a model of adacl"):
        learned(plan("learned_noise", options=start), [opener(1), opener(2)], tmp_path / "out")


def test_a_side_that_does_not_suit_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="side of 100 pixels"):
        learned(plan("learned_noise", side=100), [opener(1), opener(2)], tmp_path)


def test_an_unknown_detector_is_refused() -> None:
    with pytest.raises(UsageError, match="unknown detector 'best'"):
        trained_detector("best")
    with pytest.raises(UsageError, match="motion is fitted in closed form"):
        trained_detector("motion")


@pytest.mark.parametrize("detector", ["adacl", "igd"])
def test_clips_of_different_sizes_are_refused(detector: str, tmp_path: Path) -> None:
    def smaller() -> list[Frame]:
        return [replace(f, pixels=np.ascontiguousarray(f.pixels[:-10, :-20])) for f in opener(2)()]

    with pytest.raises(UsageError, match=r"different sizes: \d+×\d+ \(clip 1\), \d+×\d+ \(clip 2\)"):
        learned(plan(detector), [opener(1), smaller], tmp_path)
