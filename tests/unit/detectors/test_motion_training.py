"""From clips of normal video to the motion detector's bundle, through every step."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from motion_support import Square, walkers, world
from scoring_support import score_video

from streamad.bundle import Bundle, combined_sha256, load_bundle
from streamad.detectors import Fit
from streamad.detectors.motion.training import cross_fitted_scores, fit_motion_bundle
from streamad.engines import EngineSpec
from streamad.errors import UsageError
from streamad.inference import open_model
from streamad.sources import ImagesSpec
from streamad.training.plan import TrainingPlan
from streamad.workflows.fit import calibrate_fit

PLAN = TrainingPlan("wall", "squares", "not stated", 10, "motion")


def clip(folder: Path, squares: list[Square], seconds: float, seed: int) -> ImagesSpec:
    folder.mkdir()
    for frame in world(squares, seconds, fps=10, seed=seed):
        cv2.imwrite(str(folder / f"{frame.index:03d}.png"), frame.pixels)
    return ImagesSpec(path=folder, fps=10)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """One clip alone is enough."""
    folder = tmp_path_factory.mktemp("wall")
    normal = clip(folder / "normal", walkers(44), 44.0, 0)
    told: list[str] = []
    fit = fit_motion_bundle(PLAN, [normal], folder / "wall", progress=lambda stage, done, total: told.append(stage))
    assert list(dict.fromkeys(told)) == ["reading normal video", "fitting"]
    return fit


@pytest.fixture(scope="module")
def fitted(learned: Fit) -> Bundle:
    return learned.bundle


def test_the_threshold_comes_from_scores_by_models_that_were_not_shown_the_part(learned: Fit) -> None:
    (scores,) = learned.scores
    assert learned.fps == 10
    assert 430 < len(scores) < 440  # but the first frames, which have no past
    calibration = calibrate_fit(learned, source="squares", alerts_per_day=24)
    assert calibration.model_sha256 == combined_sha256(learned.bundle)
    assert calibration.frames == int((~np.isnan(scores)).sum())
    assert calibration.threshold > calibration.alert_curve.highest_peak
    with open_model(learned.bundle) as model:
        shown = [s.score for s in score_video(ImagesSpec(path=learned.bundle.path.parent / "normal", fps=10), model)]
    # What a model has been shown is less unusual to it: such scores would make too low a threshold.
    assert np.nanmean(shown) < np.nanmean(scores)


def test_video_with_too_few_frames_a_second_is_refused_before_it_is_read(tmp_path: Path) -> None:
    unread = ImagesSpec(path=tmp_path / "not there", fps=1)
    with pytest.raises(UsageError, match=r"has 1 frames a second; the motion detector needs at least 1\.7"):
        fit_motion_bundle(replace(PLAN, fps=1.0), [unread], tmp_path / "x")


def arranged(clips: list[int], seconds: list[float], scores: list[float], fps: float) -> tuple[np.ndarray, ...]:
    return cross_fitted_scores(np.array(clips, np.int32), np.array(seconds), np.array(scores, np.float32), fps)


def test_timestamps_that_jump_by_days_do_not_fill_the_memory() -> None:
    (scores,) = arranged([0] * 4, [0.0, 0.5, 864_000.0, 864_000.5], [1.0, 1.0, 2.0, 2.0], 2.0)
    assert scores.size == 1 + 120 + 2
    assert np.flatnonzero(~np.isnan(scores)).tolist() == [0, 1, 121, 122]


def test_where_the_frame_rate_varies_a_score_stands_until_the_next_frame() -> None:
    times = [0.0, 0.02, 0.1, 0.4, 0.4, 1.2, 1.6]  # at 10 frames/s: 0, 0, 1, 4, 4, 12, 16
    (scores,) = arranged([0] * 7, times, [1.0] * 7, 10.0)
    # Holes of less than half a second are filled; after a break the detector scores nothing for longer than that.
    assert np.flatnonzero(np.isnan(scores)).tolist() == [5, 6, 7, 8, 9, 10, 11]


def test_scores_of_frames_go_to_their_clips_and_times() -> None:
    first, second = arranged([0, 0, 0, 3, 3], [0.0, 0.5, 2.0, 0.2, 0.7], [1, 3, 3, 5, 5], 2.0)
    kept = np.exp(-0.5 / 0.3)
    np.testing.assert_allclose(first, [1, kept + 3 * (1 - kept), np.nan, np.nan, 3], atol=0.02)
    np.testing.assert_allclose(second, [5, 5])


def test_whoever_may_read_the_manifest_may_read_the_weights(fitted: Bundle) -> None:
    modes = {path.name: path.stat().st_mode for path in fitted.path.iterdir()}
    assert len(set(modes.values())) == 1, modes


@pytest.mark.slow
def test_the_bundle_says_how_it_was_made_and_runs_in_every_engine(fitted: Bundle, tmp_path: Path) -> None:
    bundle = load_bundle(fitted.path)
    training = bundle.manifest.training
    assert (training.data, training.fps, training.frames) == ("squares", 10, 440)
    assert bundle.manifest.parity[0].max_abs_output < 1e-2
    assert "parity with numpy" in (bundle.path / "README.md").read_text(encoding="utf-8")
    watched = clip(tmp_path / "watched", [*walkers(8, seed=3), Square(4.5, 60, -24, 70.0, seed=9)], 8.0, 3)
    found = {}
    for engine in ("openvino", "onnx", "torch"):
        if engine != "openvino":
            pytest.importorskip({"onnx": "onnxruntime"}.get(engine, engine))
        with open_model(bundle, EngineSpec(name=engine)) as model:
            scores = list(score_video(watched, model))
            again = list(score_video(watched, model))
        found[engine] = np.array([s.score for s in scores])
        np.testing.assert_array_equal(found[engine], [s.score for s in again])
    np.testing.assert_allclose(found["onnx"], found["openvino"], atol=2e-3)
    np.testing.assert_allclose(found["torch"], found["openvino"], atol=2e-3)
    top = max((s for s in scores if s.skipped_reason is None), key=lambda s: s.score)
    assert top.pts_seconds > 4.5
    assert "speed" in str(top.reason)


def test_what_cannot_be_learned_from_is_refused(tmp_path: Path) -> None:
    empty = clip(tmp_path / "empty", [], 12.0, 0)
    with pytest.raises(UsageError, match="too little moves"):
        fit_motion_bundle(PLAN, [empty], tmp_path / "x")
    with pytest.raises(UsageError, match="no normal video"):
        fit_motion_bundle(PLAN, [], tmp_path / "x")
