from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pytest

from streamad.calibration import AlertCurve, AlertPolicySpec, calibrate
from streamad.calibration.budget import seconds_to_budget, vouched_budget
from streamad.calibration.calibration import decide
from streamad.errors import CalibrationError, UsageError

SHA = "ab" * 32
NAN = np.nan


def run(scores, **changes):
    rules = {name: changes.pop(name) for name in AlertPolicySpec.model_fields if name in changes}
    changes["rules"] = AlertPolicySpec.of(**rules)
    return calibrate(scores, **{"fps": 10.0, "model": "m", "model_sha256": SHA, "source": "synthetic"} | changes)


def normal(n, seed=0):
    return np.random.default_rng(seed).standard_normal(n)


def test_record():
    when = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    c = run([normal(400), np.concatenate((np.full(8, NAN), normal(240, 1)))], created=when)
    assert (c.frames, c.unscored_frames, c.clips) == (640, 8, 2)
    assert c.duration_seconds == 64.0
    assert c.created == "2026-01-02T03:04:05+00:00"
    assert c.release == pytest.approx(c.threshold - 0.2 * (c.threshold - c.median))
    assert c.threshold_low <= c.threshold <= c.threshold_high
    assert c.critical > c.threshold
    # Of each clip, all but the first 0.8 s can open an alert.
    assert c.extrapolation == pytest.approx(3600 / 62.4)
    assert c.resolvable_alerts_per_day == pytest.approx(3 * 86_400 / 62.4)


def test_warning_says_what_the_threshold_rests_on():
    c = run([normal(640)])
    (warning,) = [w for w in c.warnings if "rests on" in w]
    assert "640 frames = 64 s of normal video, extrapolated 57-fold" in warning
    assert "first day: at most 1 false alert an hour; 1 a day after 7.98 hours more" in warning
    assert c.summary.startswith("threshold ")
    assert c.summary.endswith(", first day: at most 1 false alert an hour; 1 a day after 7.98 hours more")


def test_budget_that_video_can_vouch_for():
    """One an hour until a third of an hour was seen, then one alert in three times the video, then what was asked."""
    hour = 3600.0
    for asked, seen, vouched, missing in (
        (1.0, 60.0, 24.0, 8 * hour - 60),
        (1.0, hour / 3, 24.0, 8 * hour - hour / 3),
        (1.0, hour / 2, 16.0, 7.5 * hour),
        (1.0, 6 * hour, 4 / 3, 2 * hour),
        (1.0, 8 * hour, 1.0, 0.0),
        (1.0, 80 * hour, 1.0, 0.0),
        (0.5, 8 * hour, 1.0, 8 * hour),
        (1.0, 8 * hour - 60, 1.0, 0.0),  # a percent is none
        (48.0, 60.0, 48.0, 0.0),
    ):
        assert vouched_budget(asked, seen) == pytest.approx(vouched)
        assert seconds_to_budget(asked, seen) == pytest.approx(missing)


def test_threshold_is_set_for_the_vouched_budget_and_the_asked_one_is_kept():
    c = run([normal(36_000)])
    assert c.alerts_per_day == 1.0
    assert c.vouched_alerts_per_day == pytest.approx(8.0, rel=1e-3)
    assert c.threshold == pytest.approx(c.alert_curve.threshold(1 / 3))
    assert c.threshold == pytest.approx(run([normal(36_000)], alerts_per_day=c.vouched_alerts_per_day).threshold)
    assert c.budget == "so far: at most 8 false alerts a day; 1 a day after 7 hours more"
    asked = run([normal(36_000)], alerts_per_day=24.0)
    assert asked.vouched_alerts_per_day == 24.0
    assert asked.seconds_to_budget == 0.0
    assert asked.budget == "24 false alerts a day"


def test_threshold_is_held_near_the_highest_normal_score():
    curve = AlertCurve(
        levels=(11.0, 11.9),
        counts=(9.0, 4.0),
        tail_scale=5.0,
        tail_shape=0.2,
        highest_peak=12.0,
        exposure_seconds=900.0,
    )
    common = {"median": 10.0, "hysteresis": 0.2, "frames": 9000, "duration_seconds": 900.0, "data_warnings": ()}
    made = decide(curve, alerts_per_day=1.0, **common)
    assert curve.threshold(curve.expected(24.0)) > 16.0  # what the tail says
    assert made["threshold"] == 10.0 + 1.2 * (12.0 - 10.0)
    assert made["threshold_low"] <= made["threshold"] <= made["threshold_high"] <= 12.4
    assert made["release"] == pytest.approx(12.4 - 0.2 * 2.4)
    assert made["critical"] > made["threshold"]
    assert any("held at 1.2 times" in warning for warning in made["warnings"])
    flat = replace(curve, highest_peak=10.0)  # nothing above the median: no height to take 1.2 times
    assert decide(flat, alerts_per_day=1.0, **common)["threshold"] > 16.0


def test_no_warning_where_the_video_vouches_for_the_budget():
    c = run([normal(36_000)], alerts_per_day=24.0 * 30)
    assert c.extrapolation < 1 / 3
    assert c.alerts_per_day > c.resolvable_alerts_per_day
    assert c.warnings == ()


def test_warning_between_one_and_three_periods():
    (warning,) = run([normal(36_000)], alerts_per_day=48.0).warnings
    assert warning.endswith("60 minutes of normal video; 30 minutes more would support 48 alerts a day (95 %)")


def test_impossible_budget_takes_the_lowest_level_and_says_so():
    c = run([normal(36_000)], alerts_per_day=1e6)
    assert any("more than this video gives" in w for w in c.warnings)
    assert c.threshold == c.alert_curve.levels[0]


def test_cut_off_alerts_count_once_and_their_height_enters_nothing():
    """Bursts of heights 1 + Exp(1), cut off at 3: a tail of scale 1 is recovered although its upper part is cut off."""
    rng = np.random.default_rng(5)
    scores = rng.uniform(0.0, 0.1, 120_000)
    heights = 1.0 + rng.exponential(size=400)
    for k, height in enumerate(heights):
        scores[300 * k + 100 : 300 * k + 110] = height
    ceilings = np.where(scores >= 3.0, 3.0, np.nan)
    cut = run([scores], ceilings=[ceilings])
    curve = cut.alert_curve
    assert curve.counts == run([scores]).alert_curve.counts  # of levels under the cut
    assert curve.tail_scale == pytest.approx(1.0, rel=0.15)
    assert run([np.minimum(scores, 3.0)]).alert_curve.tail_scale < 0.6  # taken for peaks of that height
    assert curve.highest_peak == 3.0
    assert cut.frames == 120_000 - 10 * (heights >= 3.0).sum()
    assert curve.exposure_seconds == pytest.approx(12_000, rel=1e-3)
    scores[300 * int(heights.argmax()) + 100 :][:10] = 1e6  # a true event
    assert run([scores], ceilings=[ceilings]).threshold == cut.threshold


def test_the_fast_threshold_is_as_far_above_as_normal_video_rises_for_a_moment():
    scores = normal(6000, 5) * 0.01
    scores[1000:1020] = 2.0  # for two seconds
    scores[3000:3003] = 5.0  # for 0.3 s
    c = run([scores])
    slow, fast = (2.0 - c.median, 5.0 - c.median)
    assert c.fast_margin == pytest.approx(fast / slow)
    policy = AlertPolicySpec().of_calibration(c)
    assert policy.fast_threshold is not None
    # Either way as far above what was seen.
    assert (policy.fast_threshold - c.median) / fast == pytest.approx((c.threshold - c.median) / slow)
    assert run([scores], fast_duration_seconds=0.8).fast_margin is None  # one way
    assert run([normal(400)]).fast_margin is None  # noise that sustains nothing above its median


def test_data_warnings():
    scores = np.concatenate((np.full(200, NAN), normal(400)))
    warnings = run([scores, normal(3)]).data_warnings
    assert any("200 of 603 frames (33%) have no score" in w for w in warnings)
    assert any("1 of 2 clips are not longer than min_duration_seconds" in w for w in warnings)
    assert any("separate peak" in w for w in warnings)


def test_threshold_follows_shift_and_scale_of_the_scores():
    """Another unit of the score is the same calibration."""
    scores = normal(5000)
    a, b = run([scores]), run([scores * 250.0 - 40.0])
    assert b.threshold == pytest.approx(a.threshold * 250.0 - 40.0)
    assert b.release == pytest.approx(a.release * 250.0 - 40.0)
    assert b.calibrated(250.0 * 2 - 40.0) == pytest.approx(a.calibrated(2.0))


def test_longer_min_duration_lowers_the_threshold():
    scores = normal(20_000)
    thresholds = [run([scores], min_duration_seconds=d).threshold for d in (0.0, 0.5, 2.0)]
    assert thresholds == sorted(thresholds, reverse=True)


def test_scores_of_all_kinds_of_arrays():
    scores = normal(1000).astype(np.float32)
    assert run([scores]).threshold == run([scores.tolist()]).threshold


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "none of the 0 frames in 0 clips"),
        ([[], [NAN] * 50], "none of the 50 frames in 2 clips has a score"),
        ([[NAN] * 50 + [1.0]], "only 1 frame has a score"),
        ([[2.0] * 500], "all 500 frames have the same score"),
        ([[1.0, 2.0], [1.0, np.inf]], "clip 1 has 1 infinite scores"),
        ([[[1.0, 2.0]]], r"clip 0 must be 1-D, got shape \(1, 2\)"),
        ([[1.0, 2.0, 3.0]], "no clip has 0.8 s"),
    ],
)
def test_nothing_to_learn_from(scores, message):
    with pytest.raises(CalibrationError, match=message):
        run(scores)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("fps", 0.0),
        ("fps", NAN),
        ("alerts_per_day", 0.0),
        ("min_duration_seconds", -1.0),
        ("cooldown_seconds", np.inf),
        ("hysteresis", 1.1),
    ],
)
def test_parameters_out_of_range(name, value):
    with pytest.raises(UsageError, match=name):
        run([normal(100)], **{name: value})


def test_sha_is_checked():
    with pytest.raises(CalibrationError, match="model_sha256"):
        run([normal(100)], model_sha256="weights")


def test_nine_frames_calibrate():
    c = run([[0.0, 1.0, 2.0, 1.0, 0.5, 1.5, 0.2, 0.8, 0.6]])
    assert c.threshold > 0.0
    assert c.warnings
