"""The whole detector on a world in which what is unusual is known."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from motion_support import Square, walkers, world

from streamad.bundle import Manifest
from streamad.detectors.motion.fitting import Fitted, fit
from streamad.detectors.motion.layout import OUTPUTS
from streamad.detectors.motion.sampler import MotionSampler
from streamad.detectors.motion.scorer import MotionScorer
from streamad.detectors.motion.training import motion_manifest
from streamad.errors import BundleError
from streamad.frame import Frame, FrameFlags
from streamad.preprocessing import FrameSizeError
from streamad.scoring import FrameScore
from streamad.training.plan import TrainingPlan


def manifest(fps: float = 12.5) -> Manifest:
    return motion_manifest(TrainingPlan("wall", "squares", "none", fps, "motion"))


def fitted_to(frames: Iterable[Frame], folder: Path) -> Fitted:
    with MotionSampler(manifest(), folder) as sampler:
        sampler.feed(frames)
        return fit(sampler)


@pytest.fixture(scope="module")
def learned(tmp_path_factory: pytest.TempPathFactory) -> Fitted:
    return fitted_to(world(walkers(72), 72.0), tmp_path_factory.mktemp("wall"))


def scores(learned: Fitted, frames: Iterable[Frame], fps: float = 12.5) -> list[FrameScore]:
    scorer = MotionScorer(manifest(fps), "wall")
    answer = []
    for frame in frames:
        tiles = scorer.preprocess(frame)
        outputs = learned.model(tiles.batch[:, :, 0, 0]) if len(tiles.batch) else np.zeros((0, OUTPUTS), np.float32)
        answer.append(scorer.score(tiles, outputs))
    return answer


def highest(found: list[FrameScore], start: float) -> FrameScore:
    return max((s for s in found if s.skipped_reason is None and s.pts_seconds >= start), key=lambda s: s.score)


def test_normal_video_stays_low(learned: Fitted) -> None:
    found = scores(learned, world(walkers(24, seed=5), 24.0, seed=5))
    assert [s.skipped_reason for s in found[:4]] == ["warming_up"] * 3 + [None]
    assert highest(found, 5).score < 1.2 * learned.scores.max()


@pytest.mark.parametrize("fps", [6.25, 12.5, 25.0])
def test_a_fast_thing_is_rare_and_the_reason_says_how_fast(learned: Fitted, fps: float) -> None:
    found = scores(learned, world([*walkers(10, seed=5), Square(5.0, 60, -24, 60.0, seed=77)], 8.5, fps=fps), fps)
    top = highest(found, 5.5)
    assert top.score > 1.5 * learned.scores.max()
    assert top.reason is not None
    assert top.reason.startswith("speed ")
    assert 2.0 < float(top.reason.split()[1].rstrip("×")) < 4.0
    assert top.anomaly_map is not None
    assert max(np.nanmax(s.anomaly_map) for s in found if s.anomaly_map is not None) >= top.score


def test_against_the_flow_is_rare_and_said(learned: Fitted) -> None:
    # It looks like one of those that the model knows, so that its way alone is unusual.
    found = scores(learned, world([*walkers(4, seed=5), Square(4.0, 60, 230, -20.0, seed=3)], 10.0))
    top = highest(found, 7)
    assert top.score > 1.5 * highest(scores(learned, world(walkers(12, seed=5), 10.0)), 7).score
    later = [str(score.reason) for score in found if score.pts_seconds >= 5]
    assert sum("to the left" in reason for reason in later) > 0.5 * len(later)


def test_a_larger_thing_at_the_usual_pace_has_more_movement(learned: Fitted) -> None:
    large = Square(4.0, 30, -90, 20.0, seed=77, scale=2.5)
    found = scores(learned, world([*walkers(4, seed=5), large], 12.0))
    top = highest(found, 8)
    assert top.score > highest(scores(learned, world(walkers(12, seed=5), 12.0)), 8).score
    assert "faster" not in str(top.reason)


def test_the_cell_of_the_heat_map_lies_on_the_thing(learned: Fitted) -> None:
    square = Square(4.0, 60, -24, 60.0, seed=77)
    spec = manifest()
    scorer = MotionScorer(spec, "wall")
    for frame in world([square], 6.5):
        tiles = scorer.preprocess(frame)
    outputs = learned.model(tiles.batch[:, :, 0, 0])
    heat = scorer.score(tiles, outputs).anomaly_map
    assert heat is not None
    row, col = np.unravel_index(int(np.nanargmax(heat)), heat.shape)
    x0, y0, x1, y1 = scorer.location_box(int(row), int(col))
    left = -24 + 60 * (frame.pts_seconds - 4)
    assert left - 20 < (x0 + x1) / 2 < left + 44
    assert 50 < (y0 + y1) / 2 < 110


def test_after_a_break_scoring_begins_anew(learned: Fitted) -> None:
    frames = list(world(walkers(24, seed=5), 16.0, seed=5))
    frames[120] = replace(frames[120], flags=FrameFlags.DISCONTINUITY)
    found = scores(learned, frames)
    scored = [score.skipped_reason is None for score in found]
    first = scored.index(True, 121)
    assert all(scored[100:120])
    assert not any(scored[120:first])
    assert 0.2 <= frames[first].pts_seconds - frames[120].pts_seconds < 0.35
    assert highest(found[first : first + 12], 0).score < 1.2 * max(score.score for score in found[100:120])


def test_where_nothing_moves_the_score_is_zero(learned: Fitted) -> None:
    found = scores(learned, world([], 6.0))
    assert found[-1].score == pytest.approx(0, abs=1e-4)
    assert found[-1].reason is None


@pytest.mark.slow
def test_a_picture_in_which_everything_moves_is_learned_as_normal(tmp_path: Path) -> None:
    """Water: the texture drifts everywhere, to and fro."""

    def water(seconds: float, seed: int) -> Iterable[Frame]:
        rng = np.random.default_rng(seed)
        wide = np.random.default_rng(1).uniform(40, 220, (50, 90)).astype(np.float32)
        wide = cv2.resize(wide, (400, 200), interpolation=cv2.INTER_CUBIC)
        for number in range(round(seconds * 12.5)):
            x, y = 60 + 40 * np.sin(number / 9), 20 + 15 * np.sin(number / 13)
            picture = cv2.warpAffine(wide, np.float32([[1, 0, -x], [0, 1, -y]]), (240, 160))
            noisy = np.clip(picture + rng.normal(0, 1, picture.shape), 0, 255).astype(np.uint8)
            yield Frame("water", number, number / 12.5, 0.0, noisy)

    learned = fitted_to(water(38.0, 0), tmp_path)
    assert highest(scores(learned, water(12.0, 7)), 5).score < learned.scores.max()


def test_tiny_frames_and_foreign_bundles_are_refused() -> None:
    for shape in ((30, 200), (3000, 40)):
        with pytest.raises(FrameSizeError, match="motion needs 40×40 or more"):
            MotionScorer(manifest(), "x").preprocess(Frame("x", 0, 0.0, 0.0, np.zeros(shape, np.uint8)))
    foreign = manifest()
    foreign = foreign.model_copy(update={"input": foreign.input.model_copy(update={"channels": 3})})
    with pytest.raises(BundleError, match="motion needs the tiling 'cells' with 14 channels"):
        MotionScorer(foreign, "x")


def test_what_is_left_standing_is_reported_once_with_its_box(learned: Fitted) -> None:
    left = Square(20.0, 60, 120, 0.0, seed=77)
    frames = list(world([*walkers(40, seed=5), left], 40.0, seed=5))
    found = scores(learned, frames)
    reported = [s for s in found if s.reason is not None and s.reason.startswith("standing here for")]
    times = np.array([s.pts_seconds for s in reported])
    assert times[0] == pytest.approx(20.0 + 2 * 1.5, abs=1.6)  # the shortest stay that can be too long
    assert times[-1] - times[0] == pytest.approx(10.0, abs=0.3)
    assert all(s.score > learned.scores.max() for s in reported)
    assert reported[5].region is not None
    x0, y0, x1, y1 = reported[5].region
    assert x0 <= 126 and x1 >= 138 and y0 <= 66 and y1 >= 94  # noqa: PT018 - one box
    assert (x1 - x0) * (y1 - y0) < 5000
    usual = scores(learned, frames[: round(19.5 * 12.5)])
    assert not any(s.reason is not None and s.reason.startswith("standing") for s in usual)
    # A stay outlasts a gap.
    again = scores(learned, [replace(f, flags=FrameFlags.DISCONTINUITY) if f.index == 400 else f for f in frames])
    assert sum(s.reason == reported[0].reason for s in again) > 0
