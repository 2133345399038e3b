"""Time of frames, and the pace of a replay, on injected clocks."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamad.sources.timing import Pacer, PtsClock


def run(times: list[float | None], period: float = 0.04) -> tuple[list[float], list[int]]:
    clock = PtsClock(period)
    results = [clock.advance(t) for t in times]
    return [round(t, 6) for t, _ in results], [i for i, (_, jumped) in enumerate(results) if jumped]


def test_times_count_from_the_first_frame() -> None:
    assert run([-1.0, -0.96, -0.92]) == ([0.0, 0.04, 0.08], [])
    assert run([90000.0, 90000.1]) == ([0.0, 0.1], [])


def test_missing_times_follow_the_frame_rate() -> None:
    assert run([None, None, None]) == ([0.0, 0.04, 0.08], [])
    assert run([None, 10.0, 10.1]) == ([0.0, 0.04, 0.14], [])
    assert run([0.0, None, 0.08]) == ([0.0, 0.04, 0.08], [])


def test_missing_times_follow_the_step_that_was_seen() -> None:
    assert run([0.0, 0.2, None, None]) == ([0.0, 0.2, 0.4, 0.6], [])
    assert run([0.74, 0.86, None, None, 1.22]) == ([0.0, 0.12, 0.24, 0.36, 0.48], [])


def test_times_that_stand_still() -> None:
    assert run([7.0] * 5) == ([0.0, 0.04, 0.08, 0.12, 0.16], [])
    assert run([0.0, 0.0, 0.04, 0.08, 0.12]) == ([0.0, 0.04, 0.06, 0.08, 0.12], [])


def test_times_out_of_order_do_not_stretch_the_clock() -> None:
    assert run([0.0, 0.04, 0.12, 0.08, 0.16]) == ([0.0, 0.04, 0.12, 0.16, 0.2], [])
    times, _ = run([0.0, 0.12, 0.08, *(k / 25 for k in range(3, 50))])
    assert times[-1] == pytest.approx(49 / 25)
    times, jumps = run([k / 25 + (0.05 if k % 3 == 2 else 0.0) for k in range(3000)])
    assert jumps == []
    assert times[-1] == pytest.approx(2999 / 25, abs=0.2)


def test_a_clock_that_was_set_back() -> None:
    assert run([1.0, 1.04, 0.5, 0.54]) == ([0.0, 0.04, 0.08, 0.12], [])
    assert run([1.0, 1.1, 0.2, 0.4]) == ([0.0, 0.1, 0.2, 0.4], [])


def test_jumps_are_closed_and_reported() -> None:
    assert run([0.0, 0.04, 3600.0, 3600.04]) == ([0.0, 0.04, 0.08, 0.12], [2])
    assert run([100.0, 100.04, 0.0, 0.04]) == ([0.0, 0.04, 0.08, 0.12], [2])
    assert run([0.0, 4.9]) == ([0.0, 4.9], [])
    # Ten seconds between frames are no jump in a stream of one frame in ten seconds.
    assert run([0.0, 10.0, 20.0], period=10.0) == ([0.0, 10.0, 20.0], [])


def test_a_loop_goes_on() -> None:
    clock = PtsClock(0.04)
    times = [clock.advance(t)[0] for t in (0.0, 0.04)]
    clock.restart()
    times += [clock.advance(t)[0] for t in (0.0, 0.04)]
    assert [round(t, 6) for t in times] == [0.0, 0.04, 0.08, 0.12]


@given(st.lists(st.none() | st.floats(-1e5, 1e5), max_size=50))
def test_times_always_increase(times: list[float | None]) -> None:
    clock = PtsClock(0.04)
    results = [clock.advance(t)[0] for t in times]
    assert all(a < b for a, b in itertools.pairwise(results))


def test_a_period_must_be_positive() -> None:
    with pytest.raises(ValueError, match="positive"):
        PtsClock(0.0)


def test_pace() -> None:
    now = [100.0]
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(round(seconds, 6))
        now[0] += seconds

    pacer = Pacer(2.0, clock=lambda: now[0], sleep=sleep)
    pacer.wait(0.0)
    pacer.wait(1.0)
    now[0] += 2.0  # a slow consumer: overdue frames come at once, and the pace is caught up
    pacer.wait(2.0)
    pacer.wait(5.0)
    pacer.wait(6.0)
    assert slept == [0.5, 0.5]
