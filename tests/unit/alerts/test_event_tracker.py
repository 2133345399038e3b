"""From scores, anomaly maps and a wall clock to events."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from streamad.alerts import EventChange, EventTracker
from streamad.calibration import AlertPolicy
from streamad.frame import LocationBoxes
from streamad.scoring import FrameScore

BOXES = LocationBoxes.between((32, 48), range(0, 40, 8), range(0, 56, 8))
START = datetime(2026, 3, 1, tzinfo=UTC)


class Wall:
    """A wall clock that shows START plus the presentation time of the newest frame."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> datetime:
        return START + timedelta(seconds=self.seconds)


def make_tracker(wall: Wall) -> EventTracker:
    policy = AlertPolicy(
        threshold=10.0,
        release=8.0,
        baseline=0.0,
        critical_threshold=30.0,
        min_duration_seconds=0.5,
        gap_seconds=1.0,
    )
    return EventTracker(
        policy,
        "gate",
        progress_seconds=2.0,
        model="ped2",
        model_sha256="ab" * 32,
        wall_clock=wall,
    )


def play(
    tracker: EventTracker, wall: Wall, scores: list[float], cells: dict[int, tuple[int, int]] | None = None
) -> list[EventChange]:
    changes = []
    for i, score in enumerate(scores):
        wall.seconds = i / 10
        anomaly_map = np.full((4, 6), np.nan, np.float32)
        anomaly_map[0, 0] = 0.5
        if cells and i in cells:
            anomaly_map[cells[i]] = 50.0
        change = tracker.update(FrameScore("gate", i, i / 10, score, anomaly_map, boxes=BOXES))
        if change is not None:
            changes.append(change)
    return changes


def test_an_event_from_its_first_frame_to_its_end() -> None:
    wall = Wall()
    tracker = make_tracker(wall)
    scores = [1.0] * 5 + [11.0] * 3 + [15.0] + [11.0] * 4 + [1.0] * 11
    opened, closed = play(tracker, wall, scores, {8: (2, 3), 9: (1, 1)})
    assert (opened.kind, opened.event.state, opened.event.reason) == ("opened", "open", "score")
    event = closed.event
    assert (closed.kind, event.state, event.id) == ("closed", "closed", opened.event.id)
    assert event.started_at == START + timedelta(seconds=0.5)
    assert event.ended_at == START + timedelta(seconds=1.3)
    assert (event.started_index, event.raised_index, event.peak_index, event.ended_index) == (5, 10, 8, 13)
    assert (event.cell, event.box) == ((2, 3), (24, 16, 32, 24))
    assert (event.model, event.model_sha256) == ("ped2", "ab" * 32)
    assert tracker.open_event is None


def test_the_cell_follows_the_peak_while_the_event_is_open() -> None:
    wall = Wall()
    tracker = make_tracker(wall)
    changes = play(tracker, wall, [1.0] + [11.0] * 8 + [31.0, 12.0], {3: (3, 5), 9: (1, 2)})
    assert [(c.kind, c.event.severity, c.event.cell) for c in changes] == [
        ("opened", "warning", (0, 0)),
        ("updated", "critical", (1, 2)),
    ]
    assert tracker.open_event == changes[-1].event


def test_a_reopened_event_keeps_id_start_and_the_cell_of_its_higher_peak() -> None:
    wall = Wall()
    tracker = make_tracker(wall)
    changes = play(tracker, wall, [1.0] + [20.0] * 8 + [1.0] * 11 + [12.0] * 8 + [1.0] * 11, {1: (2, 2), 20: (3, 3)})
    assert [c.event.reason for c in changes] == ["score", "score", "reopened", "score"]
    assert len({c.event.id for c in changes}) == 1
    assert changes[2].event.state == "open"
    assert changes[2].event.ended_at is None
    assert [c.event.cell for c in changes] == [(2, 2)] * 4


def test_a_second_event_has_an_id_of_its_own() -> None:
    wall = Wall()
    tracker = make_tracker(wall)
    changes = play(tracker, wall, ([1.0] + [20.0] * 8 + [1.0] * 120) * 2)
    assert [c.kind for c in changes] == ["opened", "closed"] * 2
    assert changes[0].event.id < changes[2].event.id


def test_progress_is_marked_as_such() -> None:
    wall = Wall()
    changes = play(make_tracker(wall), wall, [1.0] + [20.0] * 30)
    assert [c.is_progress for c in changes] == [False, True]
    assert changes[1].event.updated_pts_seconds == pytest.approx(2.6)


def test_a_gap_and_the_end_close_the_event() -> None:
    wall = Wall()
    tracker = make_tracker(wall)
    play(tracker, wall, [1.0] + [20.0] * 8)
    gap = tracker.gap()
    assert gap is not None
    assert (gap.kind, gap.event.reason, gap.event.ended_index) == ("closed", "gap", 8)
    assert tracker.finish() is None


def test_without_a_heat_map_there_is_no_cell() -> None:
    tracker = make_tracker(Wall())
    scores = [1.0] + [20.0] * 8
    changes = [tracker.update(FrameScore("gate", i, i / 10, score)) for i, score in enumerate(scores)]
    (opened,) = [c for c in changes if c is not None]
    assert (opened.event.cell, opened.event.box) == (None, None)


@pytest.mark.parametrize("filling", [math.nan, math.inf])
def test_a_heat_map_without_a_finite_cell_names_none(filling: float) -> None:
    tracker = make_tracker(Wall())
    anomaly_map = np.full((2, 2), filling, np.float32)
    changes = [tracker.update(FrameScore("gate", i, i / 10, 20.0, anomaly_map)) for i in range(6)]
    (opened,) = [c for c in changes if c is not None]
    assert opened.event.cell is None
