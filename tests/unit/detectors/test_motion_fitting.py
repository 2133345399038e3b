"""What is kept of normal video, what counts as usual, and that no stretch of time is judged by itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from motion_support import walkers, world

from streamad.detectors.motion import fitting
from streamad.detectors.motion.descriptors import CellDescriptors
from streamad.detectors.motion.fitting import MAX_EXAMPLES, TOP_CELLS, fit, stretches
from streamad.detectors.motion.layout import CELL, FAST, LENGTH, MOVEMENT, PLACE, SHARE, SLOW, STAY
from streamad.detectors.motion.sampler import PER_CELL, MotionSampler
from streamad.detectors.motion.scorer import MotionScorer, frame_scores
from streamad.detectors.motion.training import motion_manifest
from streamad.errors import OutputError, UsageError
from streamad.frame import Frame
from streamad.training.plan import TrainingPlan

MANIFEST = motion_manifest(TrainingPlan("wall", "squares", "none", 10, "motion", max_height=160))
GRID = (10, 15)
Way = Callable[[int], int]


@pytest.fixture
def sampler(tmp_path: Path) -> Iterator[MotionSampler]:
    with MotionSampler(MANIFEST, tmp_path) as sampler:
        yield sampler


@pytest.fixture
def passing(tmp_path: Path) -> Iterator[Passing]:
    with Passing(MANIFEST, tmp_path) as sampler:
        yield sampler


class Passing(MotionSampler):
    """Fed with descriptors instead of frames: a cell at a time, at known paces and ways."""

    def clip(self, seconds: float, pace: Callable[[int], float], way: Way, rng: np.random.Generator) -> None:
        self._clip += 1
        if self._kept is None:
            self._begin(GRID)
        for number in range(round(seconds * 10)):
            col = number % GRID[1]
            locations = np.array([[row, col] for row in (2, 3, 4, 5)], np.intp)
            values = np.zeros((4, LENGTH), np.float32)
            values[:, PLACE] = (locations + 0.5) * CELL
            values[:, SHARE] = 0.5
            for part in (FAST, SLOW):
                values[:, part.start + way(col)] = values[:, part.stop - 1] = 0.5 * pace(col) * rng.uniform(0.9, 1.1, 4)
            found = CellDescriptors(locations, values, GRID)
            self._keep(found.locations, found.values)
            self._counts.append(4)
            self._clips.append(self._clip)
            self._seconds.append(number / 10)


def test_what_was_described_is_read_back_and_summed(sampler: MotionSampler) -> None:
    frames = list(world(walkers(30), 30.0, fps=10))
    sampler.feed(frames[:150])
    sampler.feed(frames[150:])
    scorer, expected = MotionScorer(MANIFEST, "x"), []
    for clip in (frames[:150], frames[150:]):
        scorer.reset()
        expected += [found for frame in clip if not isinstance(found := scorer.described(frame), str)]
    assert sampler.frames == 300
    assert sampler.counts.tolist() == [len(found.values) for found in expected]
    assert np.unique(sampler.clips).tolist() == [0, 1]
    values = np.concatenate([found.values for found in expected])
    runs = list(sampler.read())
    assert [run.start for run, _ in runs[1:]] == [run.stop for run, _ in runs[:-1]]
    np.testing.assert_allclose(np.concatenate([data for _, data in runs]), values, rtol=1e-3, atol=1e-3)
    assert sampler.moments is not None
    values = values[values[:, STAY] == 0]
    assert sampler.moments.counts.sum() == len(values)
    np.testing.assert_allclose(sampler.moments.squares.sum((0, 1)), (values[:, MOVEMENT] ** 2).sum(0), rtol=0.01)


def test_every_moment_is_as_likely_to_be_kept(passing: Passing) -> None:
    """The mean of the ranks of n of N is N/2, give or take N/√(12 n)."""
    rng = np.random.default_rng(0)
    passing.clip(1500, lambda col: 20.0, lambda col: 0, rng)  # each cell 1000 times
    kept, at, cells = passing.sample()
    assert np.bincount(cells)[np.bincount(cells) > 0].tolist() == [PER_CELL] * 60
    assert abs(at.mean() / 15_000 - 0.5) < 4 / np.sqrt(12 * len(at))
    assert abs(np.quantile(at, 0.1) / 15_000 - 0.1) < 0.02
    assert kept.shape == (60 * PER_CELL, LENGTH)
    fitted = fit(passing)
    assert 0.9 * MAX_EXAMPLES < len(fitted.model.examples) <= MAX_EXAMPLES


def test_the_usual_pace_and_movement_are_those_of_the_place(passing: Passing) -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):  # three times as fast on the right
        passing.clip(300, lambda col: 20.0 if col < 8 else 60.0, lambda col: 0, rng)
    model = fit(passing).model
    left, right = model.usual_there(np.array([[56.0, 24.0], [56.0, 216.0]], np.float32))
    assert left[2] == pytest.approx(20, rel=0.15)
    assert right[2] == pytest.approx(60, rel=0.15)
    assert right[0] / left[0] == pytest.approx(3, rel=0.2)


def test_a_clip_is_scored_by_what_other_clips_show(passing: Passing) -> None:
    rng = np.random.default_rng(0)
    for way in (0, 0, 0, 3, 0, 0):
        passing.clip(8, lambda col: 20.0, lambda col, way=way: way, rng)
    fitted = fit(passing)
    against = passing.clips == 3
    assert fitted.scores[against].min() > 3 * np.quantile(fitted.scores[~against], 0.99)
    # The model itself has seen it.
    _, values = next(iter(passing.read()))
    own = frame_scores(fitted.model(values)[:, 0], passing.counts, TOP_CELLS)
    assert own[against].max() < 0.2 * fitted.scores[against].min()


def test_movement_counts_less_where_normal_video_is_hard_to_foresee(passing: Passing) -> None:
    rng = np.random.default_rng(0)
    # On the right, each clip has a pace of its own; the mean of the squares is the same on both sides.
    paces = np.array([8.0, 20.0, 32.0, 44.0, 56.0, 68.0, 80.0])
    steady = np.sqrt((paces**2).mean())
    for own in paces:
        passing.clip(8, lambda col, own=own: steady if col < 8 else own, lambda col: 0, rng)
    left, right = fit(passing).model.usual_there(np.array([[56.0, 24.0], [56.0, 216.0]], np.float32))
    assert right[0] > 1.3 * left[0]


def test_what_is_odd_in_a_clip_does_not_make_its_place_less_sensitive_for_it(
    passing: Passing, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    for way in (0, 0, 0, 3, 0, 0):
        passing.clip(8, lambda col: 20.0, lambda col, way=way: way if col == 3 else 0, rng)
    against = passing.clips == 3
    plain = fit(passing)
    monkeypatch.setattr(fitting, "SURPRISE_POWER", 8.0)
    strong = fit(passing)
    # The model forgives it at that place; the scores that a threshold is set on do not.
    _, values = next(iter(passing.read()))
    assert strong.model.usual_there(values[:1, PLACE])[0, 0] > 1.5 * plain.model.usual_there(values[:1, PLACE])[0, 0]
    assert strong.scores[against].max() == pytest.approx(plain.scores[against].max(), rel=0.05)


def test_stretches_are_pieces_of_clips_and_longer_in_long_video() -> None:
    clips = np.repeat(np.arange(3, dtype=np.int32), [50, 300, 4])
    seconds = np.concatenate([np.arange(50), np.arange(300), np.arange(4)]) / 10
    of, length = stretches(clips, seconds)
    assert length == 8
    assert of.tolist() == sorted(of.tolist())
    assert [np.unique(of[clips == clip]).size for clip in range(3)] == [1, 4, 1]
    assert not any(set(of[clips == a]) & set(of[clips == b]) for a, b in pairwise(range(3)))
    hours = np.arange(0, 6 * 3600, 1.0)
    of, length = stretches(np.zeros(len(hours), np.int32), hours)
    assert length == 600
    assert of[-1] == 35


def test_a_frame_is_as_far_as_its_farthest_cells() -> None:
    cells = np.array([1, 5, 3, 2, 7], np.float32)
    np.testing.assert_allclose(frame_scores(cells, np.array([3, 0, 1, 1]), 2), [4, 0, 1, 3.5])


def test_too_little_movement_is_refused(sampler: MotionSampler) -> None:
    sampler.feed(world([], 40.0))
    with pytest.raises(UsageError, match="too little moves"):
        fit(sampler)


def test_a_folder_that_is_gone_is_named(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="cannot keep what was seen of the normal video"):
        MotionSampler(MANIFEST, tmp_path / "gone")


@pytest.mark.parametrize("buffering", [0, 2**20])
def test_a_full_disk_ends_learning_with_a_hint(sampler: MotionSampler, buffering: int) -> None:
    """On a real full device, whether it is noticed at once or when the buffer is written."""
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    sampler.close()
    sampler._file = open("/dev/full", "wb", buffering=buffering)  # noqa: SIM115 - closed by the fixture
    with pytest.raises(OutputError, match="No space left on device"):
        sampler.feed(world(walkers(8), 4.0))


def test_an_empty_clip_adds_nothing(sampler: MotionSampler) -> None:
    none: list[Frame] = []
    sampler.feed(none)
    assert sampler.frames == 0
    assert sampler.moments is None
    assert list(sampler.read()) == []
