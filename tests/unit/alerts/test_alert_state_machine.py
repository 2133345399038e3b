"""The alert rule, by hand-made traces and against a second derivation of its definition."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamad.alerts import AlertStateMachine, AlertTransition
from streamad.calibration import AlertPolicy

NAN = math.nan


def make_rule(*, progress_seconds: float = 5.0, **changes: Any) -> AlertStateMachine:
    values: dict[str, Any] = {
        "threshold": 10.0,
        "baseline": 0.0,
        "release": 8.0,
        "min_duration_seconds": 0.5,
        "cooldown_seconds": 5.0,
    }
    return AlertStateMachine(AlertPolicy(**(values | changes)), "gate", progress_seconds=progress_seconds)


def feed(rule: AlertStateMachine, scores: list[float], *, fps: float = 10.0, start: int = 0) -> list[AlertTransition]:
    changes = [rule.update(i, i / fps, score) for i, score in enumerate(scores, start=start)]
    return [change for change in changes if change is not None]


def kinds(changes: list[AlertTransition]) -> list[tuple[str, str, int]]:
    return [(change.kind, change.reason, change.index) for change in changes]


QUIET = [1.0] * 20
"""What closes an alert that has ended, at 10 frames/s."""


def test_an_alert_opens_after_the_minimum_duration_and_closes_under_the_release() -> None:
    changes = feed(make_rule(), [1.0] * 10 + [11.0] * 7 + [9.0] * 3 + [7.0] + QUIET)
    # The last frame under the threshold is 9 (0.9 s), so the first window without it ends at frame 15.
    assert kinds(changes) == [("opened", "score", 15), ("closed", "score", 20)]
    opened = changes[0]
    assert (opened.started_index, opened.started_pts_seconds) == (10, 1.0)
    assert (opened.raised_index, opened.pts_seconds) == (15, 1.5)
    assert changes[1].raised_index == 15


def test_an_alert_that_goes_on_within_the_time_of_a_gap_stays_open() -> None:
    rule = make_rule(critical_threshold=30.0)
    changes = feed(rule, [1.0] * 10 + [11.0] * 7 + [1.0] * 13 + [31.0] * 6 + [1.0] + QUIET[1:])
    assert kinds(changes) == [("opened", "score", 15), ("updated", "escalated", 35)]
    assert (changes[1].peak_score, changes[1].peak_index) == (31.0, 30)
    assert rule.state == "open"
    # A rise that would not have opened it does not keep it open. It ended where the score fell for the last time.
    assert kinds(feed(rule, [11.0, 1.0], start=56)) == [("closed", "score", 36)]


def test_without_a_longer_cooldown_an_alert_closes_where_it_ends() -> None:
    changes = feed(make_rule(cooldown_seconds=2.0), [11.0] * 8 + [1.0] * 5)
    assert kinds(changes) == [("opened", "score", 5), ("closed", "score", 8)]


def test_what_breaks_off_after_an_alert_has_ended_does_not_move_its_end() -> None:
    for close in (AlertStateMachine.gap, AlertStateMachine.finish):
        rule = make_rule()
        feed(rule, [11.0] * 8 + [1.0] * 5)
        closed = close(rule)
        assert closed is not None
        assert kinds([closed]) == [("closed", "score", 8)]


def test_a_rise_shorter_than_the_minimum_duration_raises_nothing() -> None:
    rule = make_rule()
    assert feed(rule, [1.0] * 10 + [11.0] * 5 + [1.0] * 10) == []
    assert rule.state == "idle"


def test_the_history_must_cover_the_minimum_duration_at_the_start() -> None:
    assert kinds(feed(make_rule(), [11.0] * 8)) == [("opened", "score", 5)]
    assert kinds(feed(make_rule(min_duration_seconds=0.0), [11.0] * 3)) == [("opened", "score", 0)]


@pytest.mark.parametrize("fps", [24.0, 25.0, 29.97, 30.0, 59.94])
def test_the_window_is_exact_where_the_duration_is_a_whole_number_of_frames(fps: float) -> None:
    # Found by search that plain float comparison is a frame off for some of these, e.g. 0.52 - 0.48 > 0.04.
    for frames in range(1, 40):
        for first in range(1, 60, 7):
            rule = make_rule(min_duration_seconds=frames / fps)
            changes = feed(rule, [1.0] * first + [11.0] * 60, fps=fps)
            assert changes[0].index == first + frames, (frames, first)


def test_a_higher_score_opens_an_alert_sooner() -> None:
    fast = {"fast_margin": 2.0, "fast_duration_seconds": 0.2}
    moment = [1.0, 1.0, 12.0, 25.0, 20.0, 22.0, 7.0, *QUIET]
    assert kinds(feed(make_rule(**fast), moment)) == [("opened", "score", 5), ("closed", "score", 6)]
    assert feed(make_rule(**fast), moment)[0].started_index == 2
    assert feed(make_rule(), moment) == []
    assert feed(make_rule(**fast), [1.0, 25.0, 25.0, 19.9, 25.0, 25.0, 1.0]) == []  # neither way
    assert kinds(feed(make_rule(**fast), [11.0] * 6)) == [("opened", "score", 5)]  # the slow way


def test_the_fast_threshold_is_relative_to_the_baseline_and_never_below_the_threshold() -> None:
    assert make_rule(fast_margin=1.5).policy.fast_threshold == 15.0
    assert make_rule(fast_margin=1.5, baseline=6.0).policy.fast_threshold == 12.0
    assert make_rule(fast_margin=1.5, baseline=30.0).policy.fast_threshold == 10.0
    assert make_rule().policy.fast_threshold is None


def test_the_state_names_every_phase() -> None:
    rule = make_rule()
    seen = []
    for i, score in enumerate([1.0, 11.0, 11.0, 11.0, 11.0, 11.0, 11.0, 11.0, 1.0]):
        rule.update(i, i / 10, score)
        seen.append(rule.state)
    assert seen == ["idle"] + ["pending"] * 5 + ["open"] * 3
    for i in range(9, 29):
        assert rule.state == "open"
        rule.update(i, i / 10, 1.0)
    assert rule.state == "cooldown"
    for i in range(29, 70):
        rule.update(i, i / 10, 1.0)
    assert rule.state == "idle"
    assert rule.severity is None


def test_a_rise_within_the_cooldown_reopens_the_alert_with_its_old_start_and_peak() -> None:
    rule = make_rule()
    changes = feed(rule, [1.0] * 5 + [20.0] * 8 + [1.0] * 30 + [12.0] * 8 + [1.0] + QUIET)
    assert [change.kind for change in changes] == ["opened", "closed", "updated", "closed"]
    reopened = changes[2]
    assert reopened.reason == "reopened"
    assert reopened.started_index == changes[0].started_index == 5
    assert (reopened.peak_score, reopened.peak_index) == (20.0, 5)


def test_the_cooldown_counts_from_the_end_and_its_end_is_outside() -> None:
    # Ended at frame 10 (1.0 s), so a new alert may open from frame 60 (6.0 s) on; it needs frames 55..60.
    base = [1.0] * 2 + [11.0] * 8 + [1.0]
    just_outside = base + [1.0] * (55 - len(base)) + [11.0] * 8
    assert kinds(feed(make_rule(), just_outside))[-1] == ("opened", "score", 60)
    just_inside = base + [1.0] * (54 - len(base)) + [11.0] * 8
    assert kinds(feed(make_rule(), just_inside))[-1] == ("updated", "reopened", 59)


def test_the_cooldown_starts_anew_at_every_close() -> None:
    burst = [11.0] * 8 + [1.0] * 32
    changes = feed(make_rule(), [1.0] * 5 + burst * 6)
    assert sum(change.kind == "opened" for change in changes) == 1
    assert sum(change.reason == "reopened" for change in changes) == 5


def test_severity_rises_once_and_never_falls() -> None:
    rule = make_rule(critical_threshold=30.0)
    changes = feed(rule, [1.0] * 5 + [11.0] * 8 + [31.0] + [11.0] * 5 + [32.0, 1.0] + QUIET)
    assert [(c.kind, c.reason, c.severity) for c in changes] == [
        ("opened", "score", "warning"),
        ("updated", "escalated", "critical"),
        ("closed", "score", "critical"),
    ]
    assert changes[-1].peak_score == 32.0


def test_an_alert_that_is_critical_before_it_opens_opens_critical() -> None:
    changes = feed(make_rule(critical_threshold=30.0), [1.0] * 5 + [30.0] + [11.0] * 8)
    assert [(c.kind, c.severity) for c in changes] == [("opened", "critical")]


def test_a_long_alert_reports_itself_and_stays_one() -> None:
    changes = feed(make_rule(progress_seconds=2.0), [1.0] + [11.0] * 100)
    assert kinds(changes)[:3] == [
        ("opened", "score", 6),
        ("updated", "progress", 26),
        ("updated", "progress", 46),
    ]
    assert sum(change.kind == "opened" for change in changes) == 1


def test_frames_without_a_score_hold_the_state_for_the_time_of_a_gap() -> None:
    pending = feed(make_rule(), [1.0] * 5 + [11.0, NAN, NAN, 11.0, NAN, 11.0, 11.0])
    assert kinds(pending) == [("opened", "score", 10)]
    rule = make_rule()
    # The last score is at frame 12 (1.2 s); 2 s later it is no gap yet, at frame 33 it is.
    changes = feed(rule, [1.0] * 5 + [11.0] * 8 + [NAN] * 40)
    assert kinds(changes) == [("opened", "score", 10), ("closed", "gap", 12)]
    assert rule.update(100, 10.0, NAN) is None


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_an_infinite_score_is_no_evidence(value: float) -> None:
    assert feed(make_rule(min_duration_seconds=0.0), [value] * 10) == []


def test_a_gap_closes_an_open_alert_and_forgets_a_pending_one() -> None:
    rule = make_rule()
    feed(rule, [1.0] * 5 + [11.0] * 7)
    closed = rule.gap()
    assert closed is not None
    assert (closed.kind, closed.reason, closed.index) == ("closed", "gap", 11)
    assert rule.gap() is None

    rule = make_rule()
    feed(rule, [1.0] * 5 + [11.0] * 4)
    assert rule.gap() is None
    assert rule.state == "idle"
    assert kinds(feed(rule, [11.0] * 10, start=9)) == [("opened", "score", 14)]


def test_a_hole_between_frames_counts_as_a_gap() -> None:
    rule = make_rule()
    feed(rule, [1.0] * 5 + [11.0] * 7)
    closed = rule.update(200, 20.0, 11.0)
    assert closed is not None
    assert (closed.kind, closed.reason, closed.pts_seconds) == ("closed", "gap", 1.1)
    assert kinds(feed(rule, [11.0] * 8, start=201))[0] == ("opened", "score", 205)


def test_a_step_back_of_time_is_a_gap_that_also_ends_the_cooldown() -> None:
    rule = make_rule()
    feed(rule, [1.0] * 5 + [11.0] * 8)
    closed = rule.update(13, 0.0, 11.0)
    assert closed is not None
    assert closed.reason == "gap"
    changes = [rule.update(14 + i, (i + 1) / 10, 11.0) for i in range(6)]
    assert [c.kind for c in changes if c is not None] == ["opened"]


def test_finish_closes_at_the_last_score() -> None:
    rule = make_rule()
    feed(rule, [1.0] * 5 + [11.0] * 7 + [NAN])
    closed = rule.finish()
    assert closed is not None
    assert (closed.kind, closed.reason, closed.index) == ("closed", "end", 11)
    assert rule.finish() is None


def test_scores_may_be_negative() -> None:
    rule = make_rule(threshold=-30.0, release=-31.0)
    changes = feed(rule, [-40.0] * 5 + [-29.0] * 6 + [-30.5] + [-31.5] * 21)
    assert kinds(changes) == [("opened", "score", 10), ("closed", "score", 12)]


def test_a_replay_gives_the_same_transitions() -> None:
    scores = list(np.random.default_rng(7).normal(9.5, 2.0, 2000))
    quick = {"min_duration_seconds": 0.2, "critical_threshold": 14.0}
    assert feed(make_rule(**quick), scores) == feed(make_rule(**quick), scores) != []


def test_the_peak_of_a_reopened_alert_covers_what_was_too_short_to_reopen_it() -> None:
    rule = make_rule(min_duration_seconds=0.04, cooldown_seconds=2.0)
    scores = [0.0, 10.0, 10.0, 0.0, 11.0, 0.0, 10.0, 10.0]  # 11 for one frame
    changes = [c for i, s in enumerate(scores) if (c := rule.update(i, i / 25, s)) is not None]
    assert [(c.index, c.reason, c.peak_score, c.peak_index) for c in changes] == [
        (2, "score", 10.0, 1),
        (3, "score", 10.0, 1),
        (7, "reopened", 11.0, 4),
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"threshold": NAN}, "threshold must be finite, got nan"),
        ({"release": 10.5}, "release must be at most 10.0, got 10.5"),
        ({"min_duration_seconds": -1.0}, "min_duration_seconds must be 0 or more"),
        ({"fast_duration_seconds": -1.0}, "fast_duration_seconds must be 0 or more"),
        ({"fast_margin": 0.9}, "fast_margin must be 1 or more"),
        ({"cooldown_seconds": NAN}, "cooldown_seconds must be 0 or more"),
        ({"gap_seconds": 0.0}, "gap_seconds must be more than 0"),
        ({"critical_threshold": 9.0}, "critical_threshold must be 10.0 or more, got 9.0"),
    ],
)
def test_wrong_values_are_refused(changes: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_rule(**changes)


def opening_frames(
    scores: np.ndarray,
    pts: np.ndarray,
    *,
    ways: list[tuple[float, float]],
    release: float,
    cooldown: float,
    gap: float,
) -> tuple[list[int], list[int]]:
    """New alerts and reopenings, straight from the definition: every window is looked at again.

    Args:
        ways: Pairs of duration and threshold.
    """
    fresh: list[int] = []
    again: list[int] = []
    is_open, end = False, -math.inf  # inf: it has not ended
    quiet = gap if cooldown > gap else 0.0

    def held(i: int, duration: float, threshold: float) -> bool:
        window = pts >= pts[i] - duration - 1e-9
        window &= np.arange(len(pts)) <= i
        return bool(pts[0] <= pts[i] - duration + 1e-9 and np.all(scores[window] >= threshold))

    for i, (now, score) in enumerate(zip(pts, scores, strict=True)):
        is_raised = any(held(i, *way) for way in ways)
        if is_open:
            end = now if end == math.inf and score < release else end
            if is_raised and now < end + cooldown - 1e-9:
                end = math.inf
            is_open = now < end + quiet - 1e-9
        elif is_raised:
            (again if now < end + cooldown - 1e-9 else fresh).append(i)
            is_open, end = True, math.inf
    return fresh, again


@settings(max_examples=200, deadline=None)
@given(
    scores=st.lists(st.sampled_from([0.0, 7.0, 8.0, 9.0, 10.0, 11.0, 12.0]), min_size=1, max_size=150),
    steps=st.lists(st.sampled_from([0.04, 0.08, 0.3]), min_size=150, max_size=150),
    duration=st.sampled_from([0.0, 0.04, 0.12, 0.5]),
    cooldown=st.sampled_from([0.0, 0.32, 2.0]),
    margin=st.sampled_from([None, 1.0, 1.1, 1.2]),
    gap=st.sampled_from([0.3, 2.0]),
)
def test_alerts_open_where_the_definition_says(
    scores: list[float], steps: list[float], duration: float, cooldown: float, margin: float | None, gap: float
) -> None:
    pts = np.cumsum(steps)[: len(scores)]
    rule = make_rule(
        min_duration_seconds=duration, cooldown_seconds=cooldown, fast_margin=margin, fast_duration_seconds=0.08,
        gap_seconds=gap,
    )  # fmt: skip
    changes = [
        c for i, (t, s) in enumerate(zip(pts, scores, strict=True)) if (c := rule.update(i, float(t), s)) is not None
    ]
    ways = [(duration, 10.0)] + ([] if margin is None else [(0.08, 10.0 * margin)])
    fresh, again = opening_frames(np.array(scores), pts, ways=ways, release=8.0, cooldown=cooldown, gap=gap)
    assert [c.index for c in changes if c.kind == "opened"] == fresh
    assert [c.index for c in changes if c.reason == "reopened"] == again
    # Openings and closings alternate, and every peak is the highest score since the start.
    ends = [c.kind == "closed" for c in changes if c.kind == "closed" or c.reason in ("score", "reopened")]
    assert all(a != b for a, b in pairwise(ends))
    for change in changes:
        assert change.peak_score == max(scores[change.started_index : change.index + 1])
