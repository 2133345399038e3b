import math
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from streamad.calibration.distribution import BODY_POINTS, ScoreDistribution, fit_distribution
from streamad.errors import CalibrationError


@pytest.fixture(scope="module")
def normal():
    return fit_distribution(np.random.default_rng(0).standard_normal(60_000))


def test_three_means_one_of_a_thousand_normal_frames(normal):
    held_out = np.random.default_rng(1).standard_normal(500_000)
    calibrated = normal.calibrated_array(held_out)
    assert np.mean(calibrated >= 1) == pytest.approx(0.1, rel=0.03)
    assert np.mean(calibrated >= 2) == pytest.approx(0.01, rel=0.1)
    assert np.mean(calibrated >= 3) == pytest.approx(0.001, rel=0.25)


def test_exponential_tail_is_met_beyond_the_data():
    fitted = fit_distribution(np.random.default_rng(2).exponential(size=5_000))
    # True: −log10 P(X ≥ x) = x/ln 10. The largest of 5000 is near 8.5.
    assert fitted.calibrated(14.0) == pytest.approx(14.0 / math.log(10), rel=0.2)


def test_mid_ranks_of_ties():
    fitted = fit_distribution(np.array([0.0] * 50 + [1.0] * 30 + [2.0] * 15 + [3.0] * 4 + [4.0]))
    assert 10 ** -fitted.calibrated(0.0) == pytest.approx(0.75)  # 50 above, half of 50
    assert 10 ** -fitted.calibrated(1.0) == pytest.approx(0.35)
    assert 10 ** -fitted.calibrated(0.5) == pytest.approx(0.55)  # linear between


def test_body_follows_the_true_distribution(normal):
    for x in (-3.0, -1.0, 0.0, 1.0, 1.9):
        assert 10 ** -normal.calibrated(x) == pytest.approx(stats.norm.sf(x), abs=0.01)
    assert len(normal.scores) <= BODY_POINTS + 2


def test_quantile_inverts(normal):
    for share in (1e-7, 0.001, 0.3, 0.5, 0.9, 0.999, 1 - 1e-9):
        assert 10 ** -normal.calibrated(normal.quantile(share)) == pytest.approx(1 - share, rel=1e-6)
    assert normal.quantile(0.5) == pytest.approx(0.0, abs=0.02)
    with pytest.raises(ValueError, match="between 0 and 1"):
        normal.quantile(1.0)


SAMPLES = st.lists(st.floats(-1e6, 1e6), min_size=2, max_size=60).filter(lambda s: max(s) - min(s) > 1e-3)


@given(SAMPLES, st.lists(st.floats(-1e9, 1e9), min_size=2, max_size=20))
@example([0.0, 5e-324, -1.0], [1.0, 2.0])
@settings(max_examples=150, deadline=None)
def test_strictly_monotone_over_the_whole_line(sample, queries):
    fitted = fit_distribution(np.array(sample))
    queries = sorted({*queries, *sample})
    values = [fitted.calibrated(q) for q in queries]
    assert all(v >= 0 for v in values)
    for (a, fa), (b, fb) in pairwise(zip(queries, values, strict=True)):
        assert fa <= fb * (1 + 1e-12)
        # Strict wherever float64 can show it.
        if b - a > 1e-3 * max(abs(a), abs(b), 1.0):
            assert fa < fb
    assert fitted.calibrated_array(queries) == pytest.approx(values, rel=1e-9, abs=1e-15)


def test_points_closer_than_a_slope_can_say() -> None:
    fitted = fit_distribution(np.array([0.0, 1.0, 2.2250738585e-313]))
    queries = [0.0, 5e-324, 1e-313, 2.2250738585e-313, 0.5, 1.0, np.nan, -1.0, 2.0]
    values = [fitted.calibrated(q) for q in queries]
    np.testing.assert_allclose(fitted.calibrated_array(queries), values, rtol=1e-9)


def test_strict_far_beyond_both_ends_even_for_a_bounded_sample():
    fitted = fit_distribution(np.random.default_rng(0).random(1000))
    line = np.array([-1e12, -1e6, -10, -0.1, 0.0, 0.5, 1.0, 1.1, 2.0, 1e3, 1e6, 1e12])
    assert (np.diff(fitted.calibrated_array(line)) > 0).all()


def test_nan_and_infinities(normal):
    assert math.isnan(normal.calibrated(math.nan))
    assert normal.calibrated(math.inf) == math.inf
    assert normal.calibrated(-math.inf) == 0.0
    out = normal.calibrated_array([np.nan, np.inf, -np.inf])
    assert np.isnan(out[0])
    assert out[1] == np.inf
    assert out[2] == 0.0


def test_two_frames_are_enough():
    fitted = fit_distribution(np.array([1.0, 2.0]))
    assert fitted.calibrated(0.0) < fitted.calibrated(1.5) < fitted.calibrated(3.0)


def test_ties_at_the_very_top():
    fitted = fit_distribution(np.array([0.0] * 5 + [1.0] * 995))
    assert fitted.calibrated(0.0) < fitted.calibrated(1.0) < fitted.calibrated(1.1)


@pytest.mark.parametrize("scores", [[1.0], [3.0] * 100])
def test_nothing_to_learn_from(scores):
    with pytest.raises(CalibrationError, match="cannot calibrate"):
        fit_distribution(np.array(scores))


@pytest.mark.parametrize(
    "change",
    [
        {"scores": (1.0, 1.0)},
        {"exceedance": (0.5,)},
        {"exceedance": (0.1, 0.5)},
        {"exceedance": (0.5, 0.0)},
        {"exceedance": (1.0, 0.5)},
        {"tail_scale": 0.0},
        {"tail_shape": -0.1},
        {"low_scale": 0.0},
        {"scores": (), "exceedance": ()},
    ],
)
def test_invariants(change):
    good = {"scores": (0.0, 1.0), "exceedance": (0.5, 0.1), "tail_scale": 1.0, "tail_shape": 0.0}
    ScoreDistribution(**good, low_scale=1.0)
    with pytest.raises(CalibrationError, match="distribution"):
        ScoreDistribution(**{**good, "low_scale": 1.0, **change})
