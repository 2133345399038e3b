import numpy as np
import pytest

from streamad.errors import DatasetError
from streamad.evaluation import labels_to_events, match_events


def test_right_wrong_missed_and_delay():
    truth = [(10.0, 20.0, "runner"), (40.0, 45.0, "bag"), (70.0, 80.0, "bicycle")]
    alerts = [(12.5, 18.0), (30.0, 31.0), (69.5, 81.0), (14.0, 15.0)]
    r = match_events(alerts, truth, tolerance_seconds=1.0, duration_seconds=120.0)
    assert (r.right, r.wrong, r.found, r.missed) == (3, 1, 2, 1)
    assert r.wrong_alerts == (1,)
    assert [(e.kind, e.alert, e.delay_seconds) for e in r.events] == [
        ("runner", 0, 2.5),
        ("bag", None, None),
        ("bicycle", 2, 0.0),
    ]
    assert r.mean_delay_seconds == 1.25
    assert r.normal_seconds == pytest.approx(120 - 12 - 7 - 12)
    assert r.false_alerts_per_hour == pytest.approx(1 / 89 * 3600)
    assert r.alerted_normal_seconds == pytest.approx(1.0)


def test_tolerance_is_inclusive_on_both_sides():
    truth = [(10.0, 20.0, "x")]
    assert match_events([(21.0, 22.0)], truth, tolerance_seconds=1.0).right == 1
    assert match_events([(21.01, 22.0)], truth, tolerance_seconds=1.0).wrong == 1
    assert match_events([(5.0, 9.0)], truth, tolerance_seconds=1.0).right == 1
    assert match_events([(5.0, 8.99)], truth, tolerance_seconds=1.0).wrong == 1
    assert match_events([(20.0, 22.0)], truth, tolerance_seconds=0.0).right == 1


def test_an_alert_that_never_ends_is_seen_through():
    truth = [(10.0, 20.0, "x"), (50.0, 60.0, "y")]
    r = match_events([(0.0, 100.0)], truth, tolerance_seconds=0.0, duration_seconds=100.0)
    assert (r.found, r.wrong) == (2, 0)
    assert r.alerted_normal_seconds == pytest.approx(80.0)


def test_overlapping_truth_and_alerts_count_time_once():
    truth = [(10.0, 30.0, "x"), (20.0, 40.0, "y")]
    r = match_events([(0.0, 15.0), (5.0, 12.0)], truth, tolerance_seconds=0.0, duration_seconds=50.0)
    assert r.normal_seconds == pytest.approx(20.0)
    assert r.alerted_normal_seconds == pytest.approx(10.0)


def test_tolerance_outside_the_video_is_no_watched_time():
    r = match_events([], [(0.0, 5.0, "x")], tolerance_seconds=2.0, duration_seconds=6.0)
    assert r.normal_seconds == pytest.approx(0.0)
    assert r.false_alerts_per_hour is None


def test_nothing_at_all():
    r = match_events([], [], duration_seconds=3600.0)
    assert (r.right, r.wrong, r.found, r.missed) == (0, 0, 0, 0)
    assert r.mean_delay_seconds is None
    assert r.false_alerts_per_hour == 0.0
    assert match_events([(1.0, 2.0)], []).false_alerts_per_hour is None


def test_against_a_frame_by_frame_count():
    rng = np.random.default_rng(0)
    for _ in range(50):
        starts = rng.integers(0, 90, 6)
        alerts = [(float(s), float(s + rng.integers(0, 10))) for s in starts[:3]]
        truth = [(float(s), float(s + rng.integers(1, 10)), "x") for s in starts[3:]]
        r = match_events(alerts, truth, tolerance_seconds=1.0, duration_seconds=100.0)
        seconds = np.arange(-500, 1500) / 10 + 0.05
        excused = np.any([(seconds > a - 1) & (seconds < b + 1) for a, b, _ in truth], axis=0)
        standing = np.any([(seconds > a) & (seconds < b) for a, b in alerts], axis=0)
        watched = (seconds > 0) & (seconds < 100)
        assert r.normal_seconds == pytest.approx((watched & ~excused).sum() / 10)
        assert r.alerted_normal_seconds == pytest.approx((standing & ~excused).sum() / 10)
        assert r.right + r.wrong == 3
        assert r.found + r.missed == 3


@pytest.mark.parametrize(
    ("alerts", "truth", "options", "message"),
    [
        ([(2.0, 1.0)], [], {}, "alert 0 must start before it ends"),
        ([], [(0.0, 1.0, "x"), (0.0, float("nan"), "x")], {}, "true event 1"),
        ([], [], {"tolerance_seconds": -1.0}, "tolerance_seconds"),
        ([], [], {"duration_seconds": float("inf")}, "duration_seconds"),
    ],
)
def test_event_refusals(alerts, truth, options, message):
    with pytest.raises(ValueError, match=message):
        match_events(alerts, truth, **options)


def test_labels_to_events():
    assert labels_to_events([1, 1, 0, 0, 1], fps=10) == ((0.0, 0.2, "anomaly"), (0.4, 0.5, "anomaly"))
    assert labels_to_events([0, 0], fps=10) == ()
    assert labels_to_events([], fps=10) == ()
    with pytest.raises(DatasetError, match="0 and 1"):
        labels_to_events([0, 2], fps=10)
    with pytest.raises(ValueError, match="fps"):
        labels_to_events([0], fps=0)
