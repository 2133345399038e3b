"""Marks of events: a trail that only grows, in real store files, beside a process that watches."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from unit.alerts.alert_events import START, make_event

from streamad.alerts import EventStore, Mark, Verdict, add_mark, false_alarms, newest_marks, read_marks
from streamad.alerts.marks import false_alarms_changed_at
from streamad.errors import OutputError, UsageError

SCHEMA_3 = """
CREATE TABLE event_counts (type TEXT, camera TEXT, events INTEGER NOT NULL, PRIMARY KEY (type, camera)) WITHOUT ROWID;
INSERT INTO event_counts VALUES ('anomaly', 'gate', 1);
CREATE TABLE events (id TEXT PRIMARY KEY, camera TEXT NOT NULL, state TEXT NOT NULL, started_at TEXT NOT NULL,
    document TEXT NOT NULL, type TEXT NOT NULL DEFAULT 'anomaly') WITHOUT ROWID;
INSERT INTO events VALUES ('01KJNQG5N0AGQHDTBZ1Z13XXRX', 'gate', 'closed', '2026-03-01T22:15:00.000000+00:00',
    '{"id":"01KJNQG5N0AGQHDTBZ1Z13XXRX","camera":"gate","state":"closed","severity":"warning","started_index":10,'
    || '"started_pts_seconds":1.0,"started_at":"2026-03-01T22:15:00.000000+00:00","raised_index":15,'
    || '"raised_pts_seconds":1.5,"updated_index":15,"updated_pts_seconds":1.5,'
    || '"updated_at":"2026-03-01T22:15:00.500000+00:00","ended_index":15,"ended_pts_seconds":1.5,'
    || '"ended_at":"2026-03-01T22:15:00.500000+00:00","peak_score":12.5,"peak_index":13,"peak_pts_seconds":1.3,'
    || '"threshold":10.0,"cell":null,"box":null,"model":"ped2","model_sha256":"' || printf('%064d', 0) || '",'
    || '"reason":"score","explanation":null}', 'anomaly');
CREATE INDEX events_open ON events (state) WHERE state = 'open';
CREATE INDEX events_by_type ON events (type, started_at);
CREATE INDEX events_by_type_and_camera ON events (type, camera, started_at);
CREATE TRIGGER events_added AFTER INSERT ON events BEGIN INSERT INTO event_counts VALUES (new.type, new.camera, 1)
    ON CONFLICT (type, camera) DO UPDATE SET events = events + 1; END;
CREATE TRIGGER events_removed AFTER DELETE ON events BEGIN UPDATE event_counts SET events = events - 1
    WHERE type = old.type AND camera = old.camera; END;
CREATE TRIGGER events_moved AFTER UPDATE OF type, camera ON events BEGIN UPDATE event_counts SET events = events - 1
    WHERE type = old.type AND camera = old.camera; INSERT INTO event_counts VALUES (new.type, new.camera, 1)
    ON CONFLICT (type, camera) DO UPDATE SET events = events + 1; END;
PRAGMA application_id = 0x53414445;
PRAGMA user_version = 3;
"""
"""What streamad wrote before there were marks."""
OLD_EVENT = "01KJNQG5N0AGQHDTBZ1Z13XXRX"


def mark(event: str, verdict: Verdict = "false_alarm", minutes: float = 0.0, note: str | None = None) -> Mark:
    return Mark(event=event, verdict=verdict, by="kim", at=START + timedelta(minutes=minutes), note=note)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.sqlite"


@pytest.fixture
def old(path: Path) -> Path:
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.executescript(SCHEMA_3)
    return path


def test_the_newest_mark_decides_and_all_stay(path: Path) -> None:
    first, second = make_event(state="closed"), make_event(1, state="closed")
    with EventStore(path) as store:
        store.save(first)
        store.save(second)
        trail = [
            mark(first.id, note="a branch, in the wind"),
            mark(first.id, "reviewed", -5),
            mark(first.id, "none", 2),
        ]
        for number, one in enumerate(trail):
            add_mark(path, one)
            assert store.marks([first.id, second.id]) == newest_marks(path, [first.id, second.id]) == {first.id: one}
            assert len(false_alarms(path, "gate")) == (number == 0)
    assert read_marks(path, first.id) == trail
    assert read_marks(path, second.id) == []
    assert trail[0].to_dict() == {
        "verdict": "false_alarm", "by": "kim", "at": "2026-03-01T22:15:00.000000+00:00",
        "note": "a branch, in the wind",
    }  # fmt: skip


@pytest.mark.parametrize("change", ["UPDATE marks SET author = 'x'", "DELETE FROM marks", "DELETE FROM marks WHERE 1"])
def test_a_mark_cannot_be_changed_or_removed(path: Path, change: str) -> None:
    event = make_event(state="closed")
    with EventStore(path) as store:
        store.save(event)
    add_mark(path, mark(event.id))
    with closing(sqlite3.connect(path)) as connection, pytest.raises(sqlite3.Error, match="only ever added"):
        connection.execute(change)
    assert read_marks(path, event.id) == [mark(event.id)]


def test_false_alarms_are_those_of_the_camera_with_the_span_of_their_events(path: Path) -> None:
    events = [make_event(0, state="closed"), make_event(1, "yard", "closed"), make_event(2), make_event(3)]
    events[2] = replace(events[2], updated_pts_seconds=7.0)
    with EventStore(path) as store:
        for event in events:
            store.save(event)
        for event in events[:3]:
            add_mark(path, mark(event.id))
        ended, open_one = false_alarms(path, "gate")
    assert ended == (events[0].started_at.timestamp() - 1.0, 1.0, 1.5)
    assert open_one[1:] == (1.0, 7.0)
    assert len(false_alarms(path, "yard")) == 1
    assert false_alarms(path, "porch") == ()


def test_only_false_alarms_and_their_withdrawals_count_as_changes_of_them(path: Path) -> None:
    first, second = make_event(state="closed"), make_event(1, state="closed")
    with EventStore(path) as store:
        store.save(first)
        store.save(second)
    assert false_alarms_changed_at(path, "gate") is None
    add_mark(path, mark(second.id, "reviewed", 9))
    assert false_alarms_changed_at(path, "gate") is None
    add_mark(path, mark(first.id, minutes=1))
    assert false_alarms_changed_at(path, "gate") == START + timedelta(minutes=1)
    add_mark(path, mark(first.id, "reviewed", 3))
    assert false_alarms_changed_at(path, "gate") == START + timedelta(minutes=3)
    assert false_alarms_changed_at(path, "yard") is None


def test_what_cannot_be_marked(path: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist"):
        add_mark(path, mark("x"))
    assert not path.exists()
    assert false_alarms(path, "gate") == ()
    EventStore(path).close()
    with pytest.raises(UsageError, match="no event x"):
        add_mark(path, mark("x"))
    with pytest.raises(UsageError, match="name of who"):
        Mark(event="x", verdict="none", by=" ", at=START)
    with pytest.raises(UsageError, match="is not a mark"):
        Mark(event="x", verdict="fine", by="kim", at=START)  # type: ignore[arg-type]
    other = tmp_path / "addresses.sqlite"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE addresses (name TEXT)")
    before = other.read_bytes()
    with pytest.raises(OutputError, match="another program"):
        add_mark(other, mark("x"))
    assert other.read_bytes() == before


def test_a_file_of_before_marks_is_read_as_it_is_and_migrated_by_the_first_mark(old: Path) -> None:
    before = old.read_bytes()
    assert newest_marks(old, [OLD_EVENT]) == {}
    assert false_alarms(old, "gate") == ()
    assert old.read_bytes() == before
    add_mark(old, mark(OLD_EVENT))
    assert read_marks(old, OLD_EVENT) == [mark(OLD_EVENT)]
    with EventStore(old) as store:
        assert [event.id for event in store.events()] == [OLD_EVENT]
        assert store.count() == 1


def test_a_file_of_before_marks_is_migrated_by_the_store(old: Path) -> None:
    with EventStore(old) as store:
        add_mark(old, mark(OLD_EVENT))
        assert store.marks([OLD_EVENT]).keys() == {OLD_EVENT}
        assert [event.id for event in store.events()] == [OLD_EVENT]


def test_a_file_that_an_earlier_version_holds_is_not_migrated_under_it(old: Path) -> None:
    holder = "import sys, filelock; lock = filelock.FileLock(sys.argv[1]); lock.acquire(); print(flush=True); input()"
    command = [sys.executable, "-c", holder, f"{old}.lock"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        process.stdout.readline()
        with pytest.raises(OutputError, match="in use by another streamad process"):
            add_mark(old, mark(OLD_EVENT))
        process.communicate("\n")
    with closing(sqlite3.connect(old)) as connection:
        assert connection.execute("PRAGMA user_version").fetchone() == (3,)


def test_another_process_marks_while_this_one_writes_events(path: Path) -> None:
    """Neither loses anything."""
    script = """if True:
        import sys, time
        from datetime import UTC, datetime
        from pathlib import Path
        from streamad.alerts import Mark, add_mark
        for k in range(100):
            mark = Mark(event=sys.argv[2], verdict="reviewed", by=str(k), at=datetime.now(UTC))
            add_mark(Path(sys.argv[1]), mark)
            time.sleep(0.01)
    """
    event, saved = make_event(), 0
    with EventStore(path) as store:
        store.save(event)
        with subprocess.Popen([sys.executable, "-c", script, str(path), event.id]) as process:
            while process.poll() is None:
                saved += 1
                store.save(make_event(saved, state="closed"))
                time.sleep(0.01)
        assert process.returncode == 0
        assert saved > 10
        while not store.flush():
            time.sleep(0.1)
        assert store.lost == 0
        assert store.events(limit=saved + 1)[-1] == event  # still open: nobody interrupted it
        assert store.count() == saved + 1
    assert [one.by for one in read_marks(path, event.id)] == [str(k) for k in range(100)]
    assert read_marks(path, event.id)[-1].at <= datetime.now(UTC)
