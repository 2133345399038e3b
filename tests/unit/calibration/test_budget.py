"""The alert rule of calibration against the alert machine itself and against plain loops."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamad.alerts import AlertStateMachine
from streamad.calibration import AlertPolicy, AlertPolicySpec
from streamad.calibration.budget import AlertCurve, alert_peaks, fit_alert_curve, sustained_score
from streamad.errors import CalibrationError

NAN = math.nan


def sustained_by_definition(scores, fps, d, gap):
    out, history = [], []
    for i, score in enumerate(scores):
        t = i / fps
        if math.isnan(score):
            out.append(NAN)
            continue
        if history and t - history[-1][0] > gap + 1e-9:
            history = []
        history.append((t, score))
        window = [s for u, s in history if u >= t - d - 1e-9]
        out.append(min(window) if history[0][0] <= t - d + 1e-9 else NAN)
    return out


SCORES = st.lists(st.one_of(st.floats(-5, 5), st.just(NAN)), max_size=80)


@given(SCORES, st.sampled_from([1.0, 10.0, 25.0, 29.97]), st.sampled_from([0.0, 0.04, 0.3, 0.5, 2.0, 9.0]))
@settings(max_examples=150, deadline=None)
def test_sustained_score_is_its_definition(scores, fps, duration):
    got = sustained_score(np.array(scores, dtype=float), fps=fps, min_duration_seconds=duration)
    np.testing.assert_array_equal(got, sustained_by_definition(scores, fps, duration, 2.0))


def test_sustained_score_by_hand():
    scores = np.array([5.0, 4.0, 3.0, 6.0, 7.0, 8.0])
    out = sustained_score(scores, fps=10, min_duration_seconds=0.2)
    np.testing.assert_array_equal(out, [NAN, NAN, 3.0, 3.0, 3.0, 6.0])


def test_the_alert_machine_opens_where_the_sustained_score_says():
    rng = np.random.default_rng(0)
    for trial in range(60):
        fps, duration = float(rng.choice([5, 10, 25])), float(rng.choice([0, 0.2, 0.5, 1]))
        scores = np.round(np.cumsum(rng.standard_normal(400)) * 0.3 + rng.standard_normal(400), 1)
        scores[rng.random(400) < 0.03] = NAN
        if trial % 3 == 0:
            scores[200:260] = NAN
        threshold, release = 0.5, 0.2
        cooldown = float(rng.choice([0, 2, 10]))
        policy = AlertPolicy(
            threshold=threshold,
            release=release,
            baseline=0.0,
            min_duration_seconds=duration,
            cooldown_seconds=cooldown,
            gap_seconds=2.0,
        )
        machine = AlertStateMachine(policy, "cam")
        opened = []
        for i, score in enumerate(scores.tolist()):
            change = machine.update(i, i / fps, score)
            if change is not None and change.kind == "opened":
                opened.append(i)
        sustained = sustained_score(scores, fps=fps, min_duration_seconds=duration)
        counted = alert_peaks([(scores, sustained)], policy, fps=fps)
        assert len(counted) == len(opened), (trial, fps, duration, cooldown)
        assert all(sustained[i] >= threshold for i in opened)
        if opened:
            assert opened[0] == np.flatnonzero(sustained >= threshold)[0]


def curve_of(scores, **changes):
    pooled = np.concatenate(scores)
    return fit_alert_curve(
        scores, AlertPolicySpec(**changes), fps=10.0, median=float(np.nanmedian(pooled)), fallback_scale=0.5
    )


def test_curve_counts_are_the_rules_own():
    scores = [np.random.default_rng(s).standard_normal(6000) for s in range(3)]
    curve = curve_of(scores)
    pairs = [(s, sustained_score(s, fps=10.0, min_duration_seconds=0.8)) for s in scores]
    median = float(np.median(np.concatenate(scores)))
    for level, count in zip(curve.levels, curve.counts, strict=True):
        policy = AlertPolicy(threshold=level, release=level - 0.2 * max(level - median, 0), baseline=median)
        assert len(alert_peaks(pairs, policy, fps=10.0)) == count
    assert curve.exposure_seconds == pytest.approx(3 * (6000 - 8) / 10)


def test_threshold_rises_as_the_budget_falls_and_never_jumps():
    curve = curve_of([np.random.default_rng(0).standard_normal(20_000)])
    expected = np.geomspace(curve.counts[0] * 3, 1e-6, 400)
    thresholds = np.array([curve.threshold(e) for e in expected])
    assert (np.diff(thresholds) >= 0).all()
    assert np.diff(thresholds).max() < 5 * curve.tail_scale
    assert thresholds[0] == curve.levels[0]


def test_interval_holds_the_threshold_and_widens_with_extrapolation():
    curve = curve_of([np.random.default_rng(0).standard_normal(20_000)])
    widths = []
    for expected in (10.0, 1.0, 0.1, 0.001):
        low, high = curve.interval(expected)
        assert low <= curve.threshold(expected) <= high
        widths.append(high - low)
    assert widths == sorted(widths)


def test_threshold_never_contradicts_the_video():
    """One outlier far above all else: a budget of far less than one alert in this time must lie above it."""
    scores = np.random.default_rng(0).standard_normal(20_000)
    scores[5000:5020] = 30.0
    curve = curve_of([scores])
    assert curve.threshold(0.01) > 30.0


def test_heavy_tail_of_few_peaks_does_not_explode():
    scores = np.random.default_rng(3).standard_normal(640)
    curve = curve_of([scores])
    thousandfold = curve.threshold(curve.expected(1.0))
    assert scores.max() - 3 < thousandfold < scores.max() + 5 * scores.std()


def test_sustained_scores_without_any_spread_fall_back():
    scores = np.zeros(1000)
    scores[::50] = 1.0  # lone frames: no half second above 0
    curve = curve_of([scores])
    assert curve.threshold(0.001) > 0.0
    assert curve.tail_scale > 0


def test_clips_too_short_for_an_alert():
    with pytest.raises(CalibrationError, match=r"no clip has 0.8 s of scored frames"):
        curve_of([np.arange(4.0), np.arange(5.0)])


@pytest.mark.parametrize(
    "change",
    [
        {"levels": (1.0, 0.0)},
        {"counts": (1.0, 2.0)},
        {"counts": (1.0, 0.0)},
        {"counts": (1.0,)},
        {"tail_scale": 0.0},
        {"tail_shape": 1.0},
        {"exposure_seconds": 0.0},
    ],
)
def test_invariants(change):
    good = {
        "levels": (0.0, 1.0),
        "counts": (2.0, 1.0),
        "tail_scale": 1.0,
        "tail_shape": 0.0,
        "highest_peak": 1.0,
        "exposure_seconds": 60.0,
    }
    AlertCurve(**good)
    with pytest.raises(CalibrationError, match="alert_curve"):
        AlertCurve(**{**good, **change})
