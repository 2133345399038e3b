"""Health events: one for what flickers, stored beside the anomalies and never counted with them."""

from __future__ import annotations

import io
import json
import logging
import sqlite3
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from unit.alerts.alert_events import make_event

from streamad.alerts import EventStore, HealthChange, HealthEvent, HealthTracker
from streamad.alerts.database import _create_events
from streamad.alerts.sinks import JsonlSink, LogSink, SinkFanout

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def tracker() -> HealthTracker:
    return HealthTracker("gate", str.upper, open_seconds=1.0, close_seconds=5.0, wall_clock=lambda: NOW)


def run(reasons: Iterable[str | None], fps: float = 10.0) -> list[HealthChange]:
    follow = tracker()
    changes = [follow.update(k, k / fps, reason) for k, reason in enumerate(reasons)]
    return [change for change in changes if change is not None and not change.is_progress]


def test_a_short_fault_is_no_event_and_a_long_one_is_one() -> None:
    assert run([None] * 10 + ["light"] * 10 + [None] * 100) == []
    opened, closed = run([None] * 10 + ["frozen"] * 31 + [None] * 100)
    assert (opened.kind, closed.kind) == ("opened", "closed")
    assert opened.event.started_index == 10
    assert opened.event.message == "FROZEN"
    assert opened.event.updated_pts_seconds == 2.0  # one second later
    assert closed.event.id == opened.event.id
    assert closed.event.frames == 31
    assert closed.event.ended_pts_seconds == 4.1  # the first good frame, not the end of the wait
    assert closed.event.state == "closed"


def test_what_flickers_is_one_event_and_its_reason_follows() -> None:
    reasons = ([None] * 30 + ["shaken"] * 15) * 6 + ["moved"] * 30 + [None] * 60
    changes = run(reasons)
    assert [c.kind for c in changes] == ["opened", "updated", "closed"]
    assert changes[1].event.reason == "moved"
    assert changes[-1].event.reasons == ("shaken", "moved")


def test_an_open_event_reports_progress_and_ends_with_the_source() -> None:
    follow = tracker()
    changes = [c for k in range(200) if (c := follow.update(k, k / 10, "dark")) is not None]
    assert [c.kind for c in changes] == ["opened", "updated", "updated", "updated"]
    assert all(c.is_progress for c in changes[1:])
    last = follow.finish()
    assert last is not None
    assert last.event.frames == 200
    assert follow.open_event is None


def test_a_clock_that_starts_anew_closes_the_event() -> None:
    follow = tracker()
    for k in range(30):
        follow.update(k, 100 + k / 10, "dark")
    change = follow.update(30, 0.0, "dark")
    assert change is not None
    assert (change.kind, change.event.ended_pts_seconds) == ("closed", 102.9)


def test_json_comes_back_and_foreign_documents_are_refused() -> None:
    (opened, *_) = run(["moved"] * 20)
    assert HealthEvent.from_json(opened.event.to_json()) == opened.event
    assert json.loads(opened.event.to_json())["type"] == "health"
    for text in ("[]", "{}", "nonsense", make_event().to_json()):
        with pytest.raises(ValueError):
            HealthEvent.from_json(text)


def test_the_store_keeps_both_kinds_apart(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    (opened, *_) = run(["moved"] * 20)
    with EventStore(path) as store:
        store.save(make_event())
        store.save(opened.event)
        assert store.events() == [make_event()] or len(store.events()) == 1
        assert store.health_events() == [opened.event]
        assert store.health_events(camera="yard") == []
        assert store.count() == 1
    with EventStore(path) as store:  # the process died, as it were, with both open
        assert store.interrupted == 2
        (kept,) = store.health_events()
        assert (kept.state, kept.ended_pts_seconds) == ("interrupted", opened.event.updated_pts_seconds)


def test_a_store_of_the_version_before_is_taken_over(tmp_path: Path) -> None:
    path = tmp_path / "events.sqlite"
    event = make_event(state="closed")
    connection = sqlite3.connect(path)
    _create_events(connection)
    connection.execute(
        "INSERT INTO events VALUES (?, ?, ?, ?, ?)",
        (event.id, event.camera, event.state, event.to_dict()["started_at"], event.to_json()),
    )
    connection.execute("PRAGMA user_version = 1")
    connection.execute(f"PRAGMA application_id = {0x53414445}")
    connection.commit()
    connection.close()
    with EventStore(path) as store:
        assert store.events() == [event]
        assert store.health_events() == []


def test_sinks_are_told_and_can_tell(caplog: pytest.LogCaptureFixture) -> None:
    out = io.StringIO()
    fanout = SinkFanout([JsonlSink(stream=out), LogSink()])
    opened, closed = run(["frozen"] * 20 + [None] * 60)
    with caplog.at_level(logging.INFO, "streamad.alerts"):
        fanout.emit(make_event(), "opened")
        fanout.emit(opened.event, opened.kind)
        fanout.emit(closed.event, closed.kind)
        fanout.close()
    documents = [json.loads(line) for line in out.getvalue().splitlines()]
    assert [d.get("type") for d in documents] == [None, "health", "health"]
    assert "gate: quality opened" in caplog.text
    assert [r.levelname for r in caplog.records[1:]] == ["WARNING", "INFO"]
