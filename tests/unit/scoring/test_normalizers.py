import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamad.calibration import calibrate
from streamad.scoring import RunningNormalizer, normalize, per_video

NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def calibration():
    scores = np.random.default_rng(0).standard_normal(2000)
    return calibrate([scores], fps=10, model="m", model_sha256="a" * 64, source="synthetic")


def test_per_video_by_hand():
    assert per_video([2.0, 4.0, 3.0]) == pytest.approx([0.0, 1.0, 0.5])


def test_per_video_rules_for_odd_scores():
    np.testing.assert_array_equal(per_video([NAN, 1.0, 3.0, INF, -INF]), [NAN, 0.0, 1.0, 1.0, 0.0])
    np.testing.assert_array_equal(per_video([5.0, 5.0, NAN]), [0.0, 0.0, NAN])
    np.testing.assert_array_equal(per_video([NAN, NAN]), [NAN, NAN])
    np.testing.assert_array_equal(per_video([INF, -INF, NAN]), [1.0, 0.0, NAN])
    assert per_video([]).shape == (0,)
    with pytest.raises(ValueError, match="1-D"):
        per_video([[1.0]])


def test_running_by_hand():
    running = RunningNormalizer()
    out = [running.update(s) for s in (2.0, 4.0, 3.0, NAN, 0.0, 2.0, INF, -INF, 2.0)]
    np.testing.assert_array_equal(out, [0.0, 1.0, 0.5, NAN, 0.0, 0.5, 1.0, 0.0, 0.5])


def test_running_warm_up_counts_finite_scores():
    running = RunningNormalizer(warm_up=2)
    out = [running.update(s) for s in (1.0, NAN, 2.0, 3.0)]
    np.testing.assert_array_equal(out, [NAN, NAN, NAN, 1.0])
    running.reset()
    assert math.isnan(running.update(1.0))
    with pytest.raises(ValueError, match="warm_up"):
        RunningNormalizer(warm_up=-1)


@given(st.lists(st.floats(-1e100, 1e100), min_size=1))
def test_running_is_causal_per_video(scores):
    """The last answer is the per-video one of the past: an independent derivation."""
    running = RunningNormalizer()
    out = [running.update(s) for s in scores]
    assert all(0 <= o <= 1 for o in out)
    assert out[-1] == pytest.approx(per_video(scores)[-1])


def test_normalize_sets(calibration):
    videos = [np.array([1.0, 3.0, NAN]), np.array([10.0, 0.0, 5.0])]
    np.testing.assert_array_equal(normalize(videos, "raw")[1], videos[1])
    np.testing.assert_array_equal(normalize(videos, "per_video")[0], [0.0, 1.0, NAN])
    np.testing.assert_array_equal(normalize(videos, "running")[1], [0.0, 0.0, 0.5])  # starts afresh
    np.testing.assert_array_equal(normalize(videos, "calibrated")[0], videos[0])
    mapped = normalize(videos, "calibrated", calibration)
    np.testing.assert_array_equal(mapped[1], calibration.calibrated_array(videos[1]))


def test_normalize_refuses(calibration):
    with pytest.raises(ValueError, match="unknown normalization 'minmax'"):
        normalize([[1.0]], "minmax")
    with pytest.raises(ValueError, match="calibration was given"):
        normalize([[1.0]], "raw", calibration)
    with pytest.raises(ValueError, match="video 1 must be 1-D"):
        normalize([[1.0], [[1.0]]], "raw")


def test_normalize_does_not_touch_its_input():
    video = np.array([1.0, 2.0])
    normalize([video], "raw")[0][0] = 9.0
    assert video[0] == 1.0
