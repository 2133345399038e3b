"""Alerts of an evaluation against true intervals, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from streamad.calibration import AlertPolicySpec
from streamad.evaluation.result import AlertMetrics
from streamad.evaluation.scored_clips import ScoredClip
from streamad.workflows.evaluate import with_alerts

FPS = 10.0
POLICY = AlertPolicySpec(min_duration_seconds=0.5).at(1.0, baseline=1.0)


def trace(*intervals: tuple[int, int], frames: int = 400, truth: tuple[tuple[int, int], ...] = ()) -> ScoredClip:
    """A clip whose score lies over the threshold in these frames, both ends included."""
    scores, labels = np.zeros(frames), np.zeros(frames, np.uint8)
    for first, last in intervals:
        scores[first : last + 1] = 2.0
    for first, last in truth:
        labels[first : last + 1] = 1
    return with_alerts(ScoredClip("c", scores, labels, FPS), POLICY)


def test_an_alert_stands_from_half_a_second_over_the_threshold_to_its_fall() -> None:
    found = trace((50, 79), (100, 103))
    assert found.alerts == ((pytest.approx(5.5), pytest.approx(8.0)),)
    assert found.reopened == frozenset()
    assert trace((380, 399)).alerts == ((pytest.approx(38.5), pytest.approx(40.0)),)


def test_an_alert_that_rises_again_within_its_cooldown_stands_again_but_is_no_new_one() -> None:
    """Raised at 5.5 s for nothing; up again, within the 10 s of cooldown, from 9.5 s to the end: it finds the event."""
    found = trace((50, 59), (90, 399), truth=((85, 200),))
    assert found.alerts == ((pytest.approx(5.5), pytest.approx(6.0)), (pytest.approx(9.5), pytest.approx(40.0)))
    assert found.reopened == {1}
    figures = AlertMetrics.of([found], POLICY)
    assert (figures.found, figures.missed, figures.right, figures.wrong) == (1, 0, 0, 1)
    assert figures.mean_delay_seconds == pytest.approx(1.0)
    # Normal time: 40 s less the event of 11.6 s and a second before and after.
    assert figures.normal_seconds == pytest.approx(26.4)
    assert figures.false_alerts_per_hour == pytest.approx(3600 / 26.4)
    assert figures.events[0].delay_seconds == pytest.approx(1.0)


def test_all_clips_are_counted_and_what_was_missed_is_named() -> None:
    clips = [trace((50, 99), truth=((50, 99),)), trace(truth=((100, 119), (300, 309))), trace((200, 299))]
    figures = AlertMetrics.of(clips, POLICY)
    assert (figures.found, figures.missed, figures.right, figures.wrong) == (1, 2, 1, 1)
    assert [e.delay_seconds for e in figures.events] == [pytest.approx(0.5), None, None]
    assert figures.frame_true_positive_rate == pytest.approx(50 / 80)
    assert figures.frame_false_positive_rate == pytest.approx(100 / 1120)
    with pytest.raises(ValueError, match="frames a second"):
        AlertMetrics.of([ScoredClip("c", np.zeros(3), np.zeros(3, np.uint8))], POLICY)
