"""Slopes of log odds against their closed form, and the anomalies that they are measured with."""

from __future__ import annotations

import numpy as np
import pytest

from streamad.detectors.motion.layout import CHANNELS, CONTEXT, LENGTH, LOOK, PLACE, SPEED, VELOCITY
from streamad.detectors.motion.logistic import logistic_slope
from streamad.detectors.motion.synthetic_anomalies import synthetic_anomalies


@pytest.mark.parametrize(("away", "spread"), [(0.5, 0.5), (1.0, 0.7), (0.3, 0.2)])
def test_the_slope_of_two_gaussians_is_their_distance_over_the_variance(away: float, spread: float) -> None:
    rng = np.random.default_rng(0)
    normal, anomalies = rng.normal(-1.0, spread, 40_000), rng.normal(-1.0 + away, spread, 10_000)
    assert logistic_slope(normal, anomalies, 1e5) == pytest.approx(away / spread**2, rel=0.05)


def test_a_measure_that_tells_nothing_counts_for_nothing() -> None:
    rng = np.random.default_rng(1)
    same = rng.normal(0, 1, 5000)
    assert logistic_slope(same, same, 100) == pytest.approx(0, abs=1e-6)
    assert logistic_slope(same + 1, same, 100) == 0
    assert logistic_slope(np.zeros(10), np.zeros(10), 100) == 0


def test_the_prior_bounds_the_slope_of_what_is_apart_and_gives_way_to_more_video() -> None:
    normal, anomalies = np.linspace(0, 1, 50), np.linspace(2, 3, 50)
    little, more = logistic_slope(normal, anomalies, 8), logistic_slope(normal, anomalies, 80)
    assert 0 < little < more < 100


def test_anomalies_are_made_in_one_way_for_each_measure() -> None:
    rng = np.random.default_rng(2)
    frames, ratios = [], []
    for _ in range(40):
        values = np.zeros((12, LENGTH), np.float32)
        values[:, PLACE] = rng.uniform(0, 60, (12, 2))
        values[:, SPEED] = 10
        values[:, VELOCITY] = [10, 0, 0, 0]  # to the right
        values[:, LOOK].reshape(12, CONTEXT, CONTEXT, CHANNELS)[..., 1] = 1  # upright edges
        frames.append(values)
        ratios.append(np.r_[np.ones(6), np.zeros(6)].astype(np.float32))
    frames.append(frames[0])
    ratios.append(np.zeros(12, np.float32))  # nothing passes
    made = synthetic_anomalies(frames, ratios, 100, rng)
    assert len(made) == 40
    for faster, turned, laid in made:
        assert 1 <= len(faster) == len(turned) == len(laid) <= 9
        assert laid[0, VELOCITY].tolist() == [10, 0, 0, 0]
        edges = laid[:, LOOK].reshape(-1, CONTEXT, CONTEXT, CHANNELS)
        np.testing.assert_array_equal(edges[..., 1], 0)  # what was upright lies level
        np.testing.assert_array_equal(edges[..., 2], 1)
        times = faster[:, SPEED] / 10
        assert 1.5 <= times.min() == times.max() <= 3
        np.testing.assert_allclose(faster[:, VELOCITY][:, :1], faster[:, SPEED])
        np.testing.assert_array_equal(turned[:, SPEED], 10)
        assert turned[0, VELOCITY].tolist() in ([0, 10, 0, 0], [0, 0, 10, 0], [0, 0, 0, 10])
        away = np.abs(faster[:, PLACE] - faster[0, PLACE]).max(axis=1)
        assert away.max() <= 20
