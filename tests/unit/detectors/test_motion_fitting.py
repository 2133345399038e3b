"""What a measure counts for, on descriptors whose directions and speeds are known."""

from __future__ import annotations

import numpy as np
import pytest

from streamad.detectors.motion.fitting import MIN_SPEED_SLOPE, Fitted, Sample, fit
from streamad.detectors.motion.layout import CHANNELS, CONTEXT, LENGTH, LOOK, PLACE, SPEED, VELOCITY

RIGHT, DOWN, LEFT, UP = range(4)


def clip(number: int, ways: list[int], rng: np.random.Generator, *, spread: float = 0.1) -> list[Sample]:
    """20 s at 4 frames/s: a thing of nine cells for each way, in a new place every 2 s, at about 20 pixels a second."""
    samples = []
    for frame in range(80):
        if frame % 8 == 0:
            corners = rng.uniform(20, 180, (len(ways), 2))
            speeds = 20 * np.exp(rng.normal(0, spread, len(ways)))
        things = []
        for way, corner, speed in zip(ways, corners, speeds, strict=True):
            values = np.zeros((9, LENGTH), np.float32)
            values[:, PLACE] = 10 * np.rint(corner / 10) + 10 * np.stack(np.divmod(np.arange(9), 3), axis=1)
            values[:, SPEED] = speed
            values[:, VELOCITY] = np.abs(rng.normal(0, 0.5, (9, 4)))
            values[:, VELOCITY.start + way] = speed
            things.append(values)
        samples.append(Sample(np.concatenate(things), number, frame / 4))
    return samples


def learned(ways_of: list[list[int]], *, spread: float = 0.1) -> tuple[Fitted, list[Sample]]:
    rng = np.random.default_rng(4)
    samples = [sample for number, ways in enumerate(ways_of) for sample in clip(number, ways, rng, spread=spread)]
    return fit(samples, (240, 240)), samples


@pytest.mark.slow
def test_direction_counts_where_all_go_one_way_and_hardly_where_they_cross() -> None:
    one, _ = learned([[RIGHT, RIGHT]] * 8)
    every, _ = learned([[RIGHT, LEFT], [DOWN, UP]] * 4)
    assert one.model.slope[1] > 5 * every.model.slope[1]
    assert every.model.slope[0] > 5


def with_looks(samples: list[Sample], rng: np.random.Generator, *, upright: bool) -> list[Sample]:
    """The same samples: all things tall and with upright edges; or each cell one thing or another, at random."""
    tall = np.zeros((CONTEXT, CONTEXT, CHANNELS), np.float32)
    tall[:, 1:3, :2] = 1.0
    for sample in samples:
        for row in sample.values:
            look = tall if upright else rng.uniform(0, 1, tall.shape)
            row[LOOK] = np.maximum(look + rng.normal(0, 0.02, tall.shape), 0).ravel()
    return samples


@pytest.mark.slow
def test_looks_count_where_all_look_alike_and_hardly_where_nothing_does() -> None:
    rng = np.random.default_rng(4)
    samples = [sample for number in range(8) for sample in clip(number, [RIGHT, RIGHT], rng)]
    alike = fit(with_looks(samples, rng, upright=True), (240, 240)).model
    varied = fit(with_looks(samples, rng, upright=False), (240, 240)).model
    assert alike.slope[2] > 3
    assert varied.slope[2] < 0.3 * alike.slope[2]


def test_a_clip_is_scored_by_models_that_were_not_shown_any_of_it() -> None:
    fitted, samples = learned([[RIGHT]] * 7 + [[DOWN]])
    down = np.array([sample.clip == 7 for sample in samples])
    assert fitted.scores[down].min() > 2 * fitted.scores[~down].mean()
    # The last model has seen it.
    values = np.concatenate([sample.values for sample in samples if sample.clip == 7])
    assert fitted.model.evidence(fitted.model.measures(values))[:, 1].max() < fitted.scores[down].min()


def test_the_measures_are_as_usual_in_half_of_the_frames() -> None:
    fitted, _ = learned([[RIGHT, RIGHT]] * 8)
    assert fitted.still == pytest.approx(0, abs=0.2)
    assert 0 < np.median(fitted.scores) < 0.25 * fitted.scores.max()


def test_speed_counts_for_something_even_where_normal_speeds_are_all_there_are() -> None:
    fitted, _ = learned([[RIGHT]] * 4, spread=2.5)
    assert fitted.model.slope[0] >= MIN_SPEED_SLOPE
    assert fitted.model.slope[1] >= 0
