"""Lists and totals of events by severity, mark and time, against a plain loop over the same events."""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import product
from pathlib import Path
from typing import Any

import pytest
from unit.alerts.alert_events import make_event, make_health_event

from streamad.alerts import Event, EventStore, Mark, Verdict, add_mark
from streamad.alerts import database as schema
from streamad.alerts.audit import read_audit
from streamad.alerts.queries import EventFilter, count_query, page_query
from streamad.errors import OutputError, UsageError

START = datetime(2026, 1, 30, 22, 0, tzinfo=UTC)
SEVERITIES: tuple[Any, ...] = (None, "warning", "critical")
VERDICTS: tuple[Verdict, ...] = ("false_alarm", "reviewed", "none")


def some_events(chance: random.Random, number: int) -> list[Event]:
    """Events of four days and three cameras; many begin at the same time, also at midnight."""
    found = []
    for _ in range(number):
        at = START + timedelta(hours=chance.randrange(96))
        event = make_event(camera=chance.choice(("gate", "dock", "yard")), state="closed")
        severity = chance.choice(("warning", "critical"))
        found.append(
            replace(event, id=event.id[:16] + f"{chance.randrange(10**9):010}", started_at=at, severity=severity)
        )
    return found


def test_every_filter_selects_what_a_loop_selects(tmp_path: Path) -> None:
    chance = random.Random(7)
    events, marks = some_events(chance, 300), dict[str, Verdict]()
    path = tmp_path / "events.sqlite"
    store = EventStore(path, retry_seconds=0.02)
    for event in events[:260]:
        store.save(event)
    for event in chance.sample(events[:260], 120):
        for verdict in chance.choices(VERDICTS, k=chance.randrange(1, 3)):
            add_mark(path, Mark(event=event.id, verdict=verdict, by="kim", at=START))
            marks[event.id] = verdict
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # what follows stays in memory
    events[0:20] = [replace(event, severity="critical") for event in events[0:20]]
    for event in (*events[:20], *events[260:]):
        store.save(event)
    store.save(make_health_event())
    newest_first = sorted(events, key=lambda event: (event.started_at, event.id), reverse=True)
    moments = [None, START, START + timedelta(hours=2), START + timedelta(hours=30.5), START + timedelta(hours=95)]
    for camera, severity in product((None, "gate", "none"), SEVERITIES):
        for since, until in product(moments, moments):
            wanted_marks = chance.choice([(), ("none",), ("reviewed",), ("false_alarm", "none"), VERDICTS])
            expected = [
                event
                for event in newest_first
                if camera in (None, event.camera)
                and severity in (None, event.severity)
                and (since is None or event.started_at >= since)
                and (until is None or event.started_at < until)
                and (not wanted_marks or marks.get(event.id, "none") in wanted_marks)
            ]
            wanted = EventFilter(camera, since, until, severity, frozenset(wanted_marks))
            assert store.count(wanted=wanted) == len(expected), wanted
            seen: list[Event] = []
            while page := store.events(
                camera, since, 37, seen[-1].id if seen else None, until=until, severity=severity, marks=wanted_marks
            ):
                seen += page
            assert seen == expected, wanted
    other.execute("COMMIT")
    other.close()
    store.close()


def test_a_time_without_a_zone_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="until must be a timezone-aware"), EventStore(tmp_path / "e.sqlite") as store:
        store.events(until=datetime(2026, 1, 1))


def test_no_filter_reads_more_than_it_answers(tmp_path: Path) -> None:
    """What counts is the work: instructions of SQLite's own machine, which do not grow with the store."""
    path = tmp_path / "events.sqlite"
    EventStore(path).close()
    document, day = make_event().to_json(), timedelta(days=1)
    with closing(sqlite3.connect(path)) as other:
        other.executemany(
            "INSERT INTO events (id, camera, state, started_at, document, severity, mark)"
            " VALUES (?, ?, 'closed', ?, ?, ?, ?)",
            (
                (
                    f"{k:026}", f"camera-{k % 5}", (START + k * day / 1000).isoformat(timespec="microseconds"),
                    document,
                    ("warning", "critical")[k % 400 == 0], ("none", "false_alarm")[k % 500 == 0],
                )
                for k in range(100_000)
            ),
        )  # fmt: skip
        other.commit()
        since, until = START + 20.3 * day, START + 80.7 * day
        for camera, severity, marks, times in product(
            (None, "camera-3"), SEVERITIES, ((), ("false_alarm",), ("none", "reviewed")), ((None, None), (since, until))
        ):
            wanted = EventFilter(camera, *times, severity, frozenset(marks))
            deep = ((START + 30 * day).isoformat(timespec="microseconds"), "")
            for statement, parameters in (
                page_query("anomaly", wanted, None, 100),
                page_query("anomaly", wanted, deep, 100),
                count_query("anomaly", wanted, [f"{k:026}" for k in range(50)]),
            ):
                steps = [0]
                other.set_progress_handler(lambda steps=steps: steps.append(0) or 0, 100)
                other.execute(statement, parameters).fetchall()
                other.set_progress_handler(None, 0)
                assert len(steps) < 700, (wanted, statement)


def test_an_earlier_file_is_upgraded_with_its_marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "events.sqlite"
    events = [replace(make_event(k, state="closed"), severity=("warning", "critical")[k % 2]) for k in range(6)]
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        for step in schema.MIGRATIONS[:4]:
            step(old)
        for event in events:
            row = (event.id, event.camera, event.state, event.started_at.isoformat(), event.to_json(), "anomaly")
            old.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", row)
        old.execute("INSERT INTO events VALUES ('damaged', 'gate', 'closed', '2026-01-01', '{not json', 'anomaly')")
        for verdict in ("reviewed", "false_alarm"):
            old.execute(
                "INSERT INTO marks (event, verdict, author, at, note) VALUES (?, ?, 'kim', ?, 'rain')",
                (events[0].id, verdict, START.isoformat()),
            )
        old.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
        old.execute("PRAGMA user_version = 4")
    with EventStore(path) as store:
        assert store.events(severity="critical") == events[5::-2]
        assert store.events(marks=["false_alarm"]) == [events[0]]
        assert store.count(wanted=EventFilter(marks=frozenset({"none"}))) == 5
        assert store.count(wanted=EventFilter(severity="warning")) == 3
        assert store.count() == 7, "with the one that cannot be read"
    entries, _ = read_audit(path)
    assert [(entry.action, entry.who, entry.detail["kind"]) for entry in entries] == [
        ("event.mark", "kim", "false-alarm"), ("event.mark", "kim", "reviewed"),
    ]  # fmt: skip


def test_a_mark_without_its_entry_in_the_audit_trail_is_not_made(tmp_path: Path) -> None:
    path, event = tmp_path / "events.sqlite", make_event(state="closed")
    with EventStore(path) as store:
        store.save(event)
        with closing(sqlite3.connect(path)) as other:
            other.execute("CREATE TRIGGER fails BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, 'disk full'); END")
        with pytest.raises(OutputError, match="disk full"):
            add_mark(path, Mark(event=event.id, verdict="reviewed", by="kim", at=START))
        assert store.marks([event.id]) == {}
        assert store.count(wanted=EventFilter(marks=frozenset({"reviewed"}))) == 0
