"""The timeline of scores, against a plain list of what was added."""

from __future__ import annotations

import math

from streamad.observability.timeline import KEPT_SECONDS, ScoreTimeline

START = 1_790_000_000


class Clock:
    now = float(START)

    def __call__(self) -> float:
        return self.now


def test_it_keeps_the_highest_score_of_each_period_for_a_day() -> None:
    clock = Clock()
    timeline = ScoreTimeline(clock)
    expected: dict[int, float] = {}
    for second in range(0, KEPT_SECONDS + 7200, 4):
        clock.now = START + second
        score = float((second * 7919) % 1000)
        timeline.add("gate", score, 500.0)
        begin = int(clock.now // 60 * 60)
        expected[begin] = max(score, expected.get(begin, -math.inf))
    points = timeline.points("gate", 0, math.inf, 60)
    known = {begin: score for begin, score in expected.items() if begin > clock.now - KEPT_SECONDS + 60}
    assert {point.at: point.score for point in points if point.at in known} == known
    assert len(points) in (KEPT_SECONDS // 60, KEPT_SECONDS // 60 + 1)
    assert [point.at for point in points] == sorted(point.at for point in points)
    assert {point.threshold for point in points} == {500.0}
    since = START + 7300
    assert all(since <= point.at < since + 600 for point in timeline.points("gate", since, since + 600))
    assert timeline.points("dock", 0, math.inf) == []


def test_frames_without_a_score_are_no_points() -> None:
    timeline = ScoreTimeline(Clock())
    for score in (math.nan, math.inf, -math.inf):
        timeline.add("gate", score, 1.0)
    assert timeline.points("gate", 0, math.inf) == []


def test_a_clock_that_is_set_costs_nothing_but_what_lies_in_the_future() -> None:
    clock = Clock()
    timeline = ScoreTimeline(clock)
    timeline.add("gate", 1.0, 5.0)
    clock.now += 10 * KEPT_SECONDS
    timeline.add("gate", 2.0, 5.0)
    assert [point.score for point in timeline.points("gate", 0, math.inf)] == [2.0]
    clock.now = START + 20.0
    timeline.add("gate", 3.0, 5.0)
    assert [point.score for point in timeline.points("gate", 0, math.inf)][-1] == 3.0
    assert all(point.at <= clock.now for point in timeline.points("gate", 0, math.inf))
