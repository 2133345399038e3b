import math

import numpy as np
import pytest

from streamad.scoring.smoothing import ExponentialSmoother, smooth


def test_step_response_reaches_63_percent_after_one_time_constant():
    smoother = ExponentialSmoother(2.0)
    smoother.update(0.0, 0.0)
    out = [smoother.update(1.0, t / 10) for t in range(1, 21)]
    assert out[-1] == pytest.approx(1 - math.exp(-1))


def test_result_does_not_depend_on_the_frame_rate():
    def at_one_second(fps):
        scores = np.concatenate(([0.0], np.ones(fps)))
        return smooth(scores, fps=fps, time_constant_seconds=0.7)[-1]

    assert at_one_second(5) == pytest.approx(at_one_second(50))


def test_nan_passes_and_changes_nothing():
    out = smooth(np.array([1.0, np.nan, 1.0]), fps=10, time_constant_seconds=1.0)
    assert out[0] == 1.0
    assert math.isnan(out[1])
    assert out[2] == 1.0


def test_zero_is_no_smoothing_and_reset_forgets():
    scores = np.array([3.0, 1.0])
    assert smooth(scores, fps=10, time_constant_seconds=0) is scores
    smoother = ExponentialSmoother(5.0)
    smoother.update(9.0, 0.0)
    smoother.reset()
    assert smoother.update(1.0, 0.1) == 1.0


def test_bad_constant():
    with pytest.raises(ValueError, match="time constant"):
        ExponentialSmoother(-1.0)
