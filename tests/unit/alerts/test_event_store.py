"""The event store against real SQLite files, real full disks and real other processes."""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from unit.alerts.alert_events import START, make_event

from streamad.alerts import Event, EventStore, database
from streamad.errors import ExitCode, OutputError, UsageError


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def rows(path: Path) -> list[tuple[str, str]]:
    """(id, state) of every event on disk, read by a connection of this test's own."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT id, state FROM events ORDER BY id").fetchall()


def ended(event: Event) -> Event:
    return replace(event, state="closed", ended_index=20, ended_pts_seconds=2.0, ended_at=START)


def fill(disk: Path) -> Path:
    """A file that takes all the space of a disk."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file:
        while shutil.disk_usage(disk).free:
            file.write(b"x" * 4096)
    return filler


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "runs" / "events.sqlite"


@pytest.fixture
def store(path: Path) -> Iterator[EventStore]:
    with EventStore(path) as opened:
        yield opened


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 640 KB: 400 events and their log fit, and little more."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=640k", "none", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def test_an_event_is_on_disk_as_soon_as_it_is_saved_and_each_change_replaces_it(store: EventStore, path: Path) -> None:
    event = make_event()
    store.save(event)
    assert rows(path) == [(event.id, "open")]
    store.save(ended(event))
    assert rows(path) == [(event.id, "closed")]
    assert store.events() == [ended(event)]


def test_the_file_is_durable_and_versioned(store: EventStore, path: Path) -> None:
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(database.MIGRATIONS),)
    # synchronous is a property of the connection that writes: 2 is FULL.
    assert store._writer is not None
    assert store._writer.execute("PRAGMA synchronous").fetchone() == (2,)


def test_queries_filter_by_camera_and_time_and_give_the_newest_first(store: EventStore) -> None:
    events = [make_event(i, camera=("gate", "dock")[i % 2], state="closed") for i in range(10)]
    for event in reversed(events):
        store.save(event)
    assert store.events() == events[::-1]
    assert store.events(camera="dock") == events[1::2][::-1]
    assert store.events(limit=3) == events[:-4:-1]
    since = START + timedelta(minutes=7)
    assert store.events(since=since) == events[:6:-1]
    assert store.events(camera="gate", since=since) == [events[8]]
    assert (store.count(), store.count("gate"), store.count("nobody")) == (10, 5, 0)


def test_wrong_queries_are_refused(store: EventStore) -> None:
    with pytest.raises(UsageError, match="aware"):
        store.events(since=datetime(2026, 1, 1))
    with pytest.raises(UsageError, match="limit must be 1 or more, got 0"):
        store.events(limit=0)


def test_open_events_of_a_dead_run_become_interrupted_at_their_last_update(path: Path) -> None:
    event, done = make_event(), make_event(1, state="closed")
    with EventStore(path) as first:
        first.save(event)
        first.save(done)
    with EventStore(path) as second:
        assert second.interrupted == 1
        newest, oldest = second.events()
    assert newest == done
    assert (oldest.state, oldest.reason) == ("interrupted", "process_died")
    assert (oldest.ended_index, oldest.ended_at) == (event.updated_index, event.updated_at)
    with EventStore(path) as third:
        assert third.interrupted == 0


def test_a_second_writer_is_refused_while_the_first_lives(path: Path, store: EventStore) -> None:
    with pytest.raises(OutputError, match="already open in this process"):
        EventStore(path)
    script = f"from pathlib import Path; from streamad.alerts import EventStore; EventStore(Path({str(path)!r}))"
    root = Path(database.__file__).parents[2]
    other = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert "in use by another streamad process" in other.stderr
    store.save(make_event())
    assert store.error is None


def test_a_child_process_does_not_inherit_the_lock(path: Path) -> None:
    store = EventStore(path)
    read_end, write_end = os.pipe()
    child = os.fork()
    if child == 0:
        os.read(read_end, 1)
        os._exit(0)
    try:
        store.close()
        EventStore(path).close()
    finally:
        os.write(write_end, b"x")
        os.waitpid(child, 0)
        os.close(read_end)
        os.close(write_end)


@pytest.mark.slow
def test_a_full_disk_loses_nothing(small_disk: Path) -> None:
    clock, errors = Clock(), list[OutputError]()
    path = small_disk / "events.sqlite"
    store = EventStore(path, clock=clock, on_error=errors.append)
    events = [make_event(0)]
    store.save(events[0])
    filler = fill(small_disk)
    for number in range(1, 400):
        clock.now += 2.0
        events.append(make_event(number))
        store.save(events[-1])
    assert store.error is not None
    assert "disk is full" in str(store.error)
    assert store.error.exit_code == ExitCode.RUNTIME
    assert errors
    waiting = len(store.unsaved())
    assert 0 < waiting < 400
    # Queries see what only memory holds.
    assert store.count() == 400
    assert store.events(limit=1) == [events[-1]]

    filler.unlink()
    assert not store.flush(), "an attempt within the retry interval"
    clock.now += 2.0
    assert store.flush()
    assert store.error is None
    assert store.count() == 400 == len(rows(path))
    store.close()


def test_closing_on_a_full_disk_says_what_is_not_written(small_disk: Path) -> None:
    path = small_disk / "events.sqlite"
    store = EventStore(path)
    fill(small_disk)
    events = [make_event(number) for number in range(400)]
    for event in events:
        store.save(event)
    with pytest.raises(OutputError, match="events could not be written"):
        store.close()
    unsaved = store.unsaved()
    assert unsaved
    assert unsaved == events[-len(unsaved) :]


def test_a_database_that_may_not_grow_keeps_events_in_memory_up_to_the_bound(path: Path) -> None:
    clock = Clock()
    store = EventStore(path, clock=clock, max_unsaved=50)
    assert store._writer is not None
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(200):
        clock.now += 2.0
        store.save(make_event(number))
    assert len(store.unsaved()) == 50
    written = len(rows(path))
    assert store.lost == 200 - 50 - written > 0
    store._writer.execute("PRAGMA max_page_count = 1000000")
    clock.now += 2.0
    assert store.flush()
    assert len(rows(path)) == written + 50
    store.close()


def test_a_lock_of_another_program_delays_but_loses_nothing(path: Path) -> None:
    clock = Clock()
    store = EventStore(path, clock=clock)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.save(make_event())
    assert store.error is not None
    assert "locked" in str(store.error)
    assert "another program" in (store.error.hint or "")
    other.execute("COMMIT")
    other.close()
    clock.now += 2.0
    assert store.flush()
    assert len(rows(path)) == 1
    store.close()


def test_a_locked_file_is_an_error_at_the_start(path: Path) -> None:
    EventStore(path).close()
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("PRAGMA locking_mode = EXCLUSIVE")
    other.execute("BEGIN EXCLUSIVE")
    try:
        with pytest.raises(OutputError, match="locked"):
            EventStore(path)
    finally:
        other.close()
    EventStore(path).close()


def test_a_removed_file_is_made_anew(path: Path) -> None:
    store = EventStore(path)
    event = make_event()
    store.save(event)
    for name in path.parent.iterdir():
        if not name.name.endswith(".lock"):
            name.unlink()
    store.save(ended(event))
    assert store.error is None
    assert rows(path) == [(event.id, "closed")]
    store.close()


@pytest.mark.parametrize("content", [b"not a database, but long enough to be read as one" * 40, b"\x00" * 5000])
def test_a_file_that_is_no_database_is_left_as_it_is(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with pytest.raises(OutputError, match="not a database") as caught:
        EventStore(path)
    assert "move the file away" in (caught.value.hint or "")
    assert path.read_bytes() == content
    assert [name.name for name in path.parent.iterdir() if not name.name.endswith(".lock")] == [path.name]


def test_the_database_of_another_program_is_left_as_it_is(path: Path) -> None:
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE addresses (name TEXT)")
    other.commit()
    other.close()
    before = path.read_bytes()
    with pytest.raises(OutputError, match="another program"):
        EventStore(path)
    assert path.read_bytes() == before


def test_a_newer_schema_is_refused(path: Path) -> None:
    EventStore(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(OutputError, match="schema 99, this program knows up to 2"):
        EventStore(path)


def test_an_older_schema_is_migrated_and_keeps_its_events(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    event = make_event(state="closed")
    with EventStore(path) as store:
        store.save(event)

    def add_note(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE events ADD COLUMN note TEXT")

    monkeypatch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, add_note))
    with EventStore(path) as store:
        assert store.events() == [event]
    other = sqlite3.connect(path)
    assert other.execute("PRAGMA user_version").fetchone() == (3,)
    assert other.execute("SELECT note FROM events").fetchall() == [(None,)]
    other.close()


def test_a_migration_that_fails_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    EventStore(path).close()

    def broken(connection: sqlite3.Connection) -> None:
        connection.execute("ALTER TABLE events ADD COLUMN note TEXT")
        connection.execute("ALTER TABLE nowhere ADD COLUMN note TEXT")

    with monkeypatch.context() as patch:
        patch.setattr(database, "MIGRATIONS", (*database.MIGRATIONS, broken))
        with pytest.raises(OutputError, match="nowhere"):
            EventStore(path)
    with EventStore(path) as store:
        store.save(make_event())
        assert store.error is None


def test_a_read_only_folder_is_an_error_at_the_start(small_disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match=r"[Rr]ead-only") as caught:
        EventStore(small_disk / "runs" / "events.sqlite")
    assert "can be written to" in (caught.value.hint or "")


def test_an_old_file_on_a_read_only_disk_is_an_error_at_the_start(small_disk: Path) -> None:
    path = small_disk / "events.sqlite"
    EventStore(path).close()
    subprocess.run(["mount", "-o", "remount,ro", str(small_disk)], check=True)
    with pytest.raises(OutputError, match=r"[Rr]ead-only"):
        EventStore(path)


def test_a_folder_that_cannot_be_made_is_an_error_at_the_start(tmp_path: Path) -> None:
    (tmp_path / "runs").write_text("a file, not a folder")
    with pytest.raises(OutputError, match=r"events\.sqlite"):
        EventStore(tmp_path / "runs" / "events.sqlite")


def test_a_store_can_be_opened_again_after_a_failed_attempt(path: Path) -> None:
    path.parent.mkdir()
    path.write_bytes(b"not a database" * 400)
    with pytest.raises(OutputError):
        EventStore(path)
    path.unlink()
    EventStore(path).close()


def test_threads_read_while_one_writes(store: EventStore) -> None:
    stop, problems, seen = threading.Event(), list[BaseException](), list[int]()

    def read() -> None:
        try:
            while not stop.is_set():
                found = store.events(limit=1000)
                seen.append(len(found))
                assert store.count() >= len(found)
        except (OutputError, AssertionError) as error:
            problems.append(error)

    readers = [threading.Thread(target=read) for _ in range(3)]
    for reader in readers:
        reader.start()
    for number in range(150):
        store.save(make_event(number))
    stop.set()
    for reader in readers:
        reader.join()
    assert not problems
    assert seen == sorted(seen) or max(seen) <= 150
    assert store.count() == 150


def test_a_closed_store_says_so(path: Path) -> None:
    store = EventStore(path)
    store.close()
    store.close()
    with pytest.raises(ValueError, match="is closed"):
        store.save(make_event())
    with pytest.raises(ValueError, match="is closed"):
        store.events()
