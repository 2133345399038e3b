import numpy as np
import pytest
from scipy import stats

from streamad.calibration.gpd import MAX_SHAPE, excess_at, fit_shape, minus_log_survival, scale_of, shape_weight


@pytest.mark.parametrize("shape", [0.0, 0.1, 0.3])
def test_survival_is_scipys_genpareto(shape):
    for excess in (0.0, 0.5, 3.0, 50.0):
        expected = -stats.genpareto.logsf(excess, shape, scale=1.7)
        assert minus_log_survival(excess, 1.7, shape) == pytest.approx(expected, rel=1e-14)
        assert excess_at(expected, 1.7, shape) == pytest.approx(excess, rel=1e-12)


@pytest.mark.parametrize("shape", [0.1, 0.3])
def test_shape_is_found_in_much_data(shape):
    sample = stats.genpareto.rvs(shape, scale=2.0, size=50_000, random_state=0)
    assert fit_shape(sample) == pytest.approx(shape, abs=0.03)
    assert scale_of(sample.mean(), shape) == pytest.approx(2.0, rel=0.1)


def test_bounded_tails_are_read_as_exponential():
    uniform = np.random.default_rng(0).random(20_000)  # a GPD of shape −1
    assert fit_shape(uniform) == 0.0


def test_few_samples_hardly_move_the_shape():
    assert shape_weight(10) == pytest.approx(1 / 14.333, rel=1e-3)
    sample = stats.genpareto.rvs(0.4, size=(300, 8), random_state=1)
    shapes = [fit_shape(s) for s in sample]
    assert max(shapes) < 0.06
    assert fit_shape([1.0, 1e9]) <= MAX_SHAPE


@pytest.mark.parametrize("excesses", [[], [2.0], [0.0, 0.0, 0.0]])
def test_nothing_to_fit_is_exponential(excesses):
    assert fit_shape(excesses) == 0.0
