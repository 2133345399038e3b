"""The event store against real SQLite files, real full disks and real other processes."""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from disk_support import fill, small_disk_or_skip
from unit.alerts.alert_events import START, make_event

from streamad.alerts import Event, EventStore, database
from streamad.alerts.health import HealthEvent
from streamad.alerts.queries import EventFilter, page_query
from streamad.errors import ExitCode, OutputError, UsageError

RETRY = 0.02


def eventually(question: Callable[[], object]) -> None:
    """Wait until the answer is true: the store writes on a thread of its own."""
    deadline = time.monotonic() + 30
    while not question():
        assert time.monotonic() < deadline
        time.sleep(RETRY)


def rows(path: Path) -> list[tuple[str, str]]:
    """(id, state) of every event on disk, read by a connection of this test's own."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT id, state FROM events ORDER BY id").fetchall()


def ended(event: Event) -> Event:
    return replace(event, state="closed", ended_index=20, ended_pts_seconds=2.0, ended_at=START)


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
    with small_disk_or_skip(tmp_path / "disk", "640k") as folder:
        yield folder


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
    with pytest.raises(OutputError, match="or by another EventStore"):
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


@pytest.mark.parametrize("number", [100, pytest.param(400, marks=pytest.mark.slow)])
def test_a_full_disk_loses_nothing(small_disk: Path, caplog: pytest.LogCaptureFixture, number: int) -> None:
    errors, outcomes = list[OutputError](), list[tuple[str, int, str]]()
    path = small_disk / "events.sqlite"
    store = EventStore(
        path, retry_seconds=RETRY, on_error=errors.append, on_outcome=lambda *outcome: outcomes.append(outcome)
    )
    events = [make_event(0)]
    store.save(events[0])
    filler = fill(small_disk)
    for k in range(1, number):
        events.append(make_event(k))
        store.save(events[-1])
    assert store.error is not None
    assert "disk is full" in str(store.error)
    assert store.error.exit_code == ExitCode.RUNTIME
    assert errors
    assert ("failed", 1, "SQLITE_FULL") in outcomes
    assert 0 < len(store.unsaved()) < number
    # Queries see what only memory holds.
    assert store.count() == number
    assert store.events(limit=1) == [events[-1]]

    filler.unlink()
    eventually(store.flush)
    assert store.error is None
    assert store.count() == number == len(rows(path))
    assert store.events(limit=number) == events[::-1]
    store.close()
    # The cause once, and the recovery once.
    assert caplog.text.count("disk is full") == 1
    assert caplog.text.count("recovered after") == 1


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
    store = EventStore(path, retry_seconds=RETRY, max_unsaved=50)
    assert store._writer is not None
    pages = store._writer.execute("PRAGMA page_count").fetchone()[0]
    store._writer.execute(f"PRAGMA max_page_count = {pages}")
    for number in range(200):
        store.save(make_event(number))
    eventually(lambda: len(store.unsaved()) == 50)
    written = len(rows(path))
    assert store.lost == 200 - 50 - written > 0
    store._writer.execute("PRAGMA max_page_count = 1000000")
    eventually(store.flush)
    assert len(rows(path)) == written + 50
    store.close()


def test_a_lock_of_another_program_delays_but_loses_nothing(path: Path) -> None:
    store = EventStore(path, retry_seconds=RETRY)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    store.save(make_event())
    assert store.error is not None
    assert "locked" in str(store.error)
    assert "another program" in (store.error.hint or "")
    other.execute("COMMIT")
    other.close()
    eventually(store.flush)
    assert len(rows(path)) == 1
    store.close()


def test_a_disk_that_hangs_delays_one_save_and_loses_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamad.alerts.store.SAVE_SECONDS", 0.1)
    monkeypatch.setattr("streamad.writing.STALL_SECONDS", 0.0)
    store, answers = EventStore(path), threading.Event()
    assert store._writer is not None
    # SQLite calls this within a statement, in which it then hangs as it would in a call of the disk.
    store._writer.set_progress_handler(lambda: 0 if answers.wait() else 1, 1)
    events = [make_event(number) for number in range(50)]
    for event in events:
        store.save(event)
    assert "hangs" in str(store.error)
    assert len(store.unsaved()) == 50 == store.count()
    answers.set()
    eventually(lambda: store.flush() and store.error is None)
    assert len(rows(path)) == 50
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


@pytest.mark.parametrize("how", ["deleted", "all deleted", "moved", "folder moved", "folder deleted", "replaced"])
def test_a_file_that_goes_while_in_use_is_reported_and_loses_nothing_more(
    path: Path, caplog: pytest.LogCaptureFixture, how: str
) -> None:
    errors = list[OutputError]()
    store = EventStore(path, retry_seconds=RETRY, on_error=errors.append)
    before, still_open, after = make_event(0, state="closed"), make_event(1), make_event(2)
    store.save(before)
    store.save(still_open)
    old = path
    if how == "moved":
        old = path.rename(path.with_name("archive.sqlite"))
    elif how == "folder moved":
        old = path.parent.rename(path.parent.with_name("archive")) / path.name
    elif how == "folder deleted":
        shutil.rmtree(path.parent)
    elif how == "replaced":
        EventStore(path.with_name("other.sqlite")).close()
        path.with_name("other.sqlite").rename(path)
    else:
        for name in path.parent.iterdir() if how == "all deleted" else [path]:
            name.unlink()
    eventually(lambda: errors or store.flush() is None)  # noticed without any event
    assert "moved away, deleted, or replaced while in use" in str(errors[0])
    store.save(after)
    store.save(ended(still_open))
    assert store.error is None
    assert rows(path) == [(still_open.id, "closed"), (after.id, "open")]
    assert (store.events(), store.count()) == ([after, ended(still_open)], 2)
    store.close()
    assert caplog.text.count("while in use") == 1
    if old != path:
        assert rows(old) == [(before.id, "closed"), (still_open.id, "open")]


def test_a_file_moved_to_another_disk_has_what_was_saved(path: Path, small_disk: Path) -> None:
    store = EventStore(path, retry_seconds=RETRY)
    events = [make_event(number, state="closed") for number in range(20)]
    for event in events:
        store.save(event)
    wal = path.with_name(path.name + "-wal")

    def is_complete() -> bool:
        store.flush()
        with closing(sqlite3.connect(wal.with_name("copy"))) as copy:
            shutil.copy(path, wal.with_name("copy"))
            return copy.execute("SELECT count(*) FROM sqlite_master WHERE name = 'events'").fetchone() == (1,) and (
                copy.execute("SELECT count(*) FROM events").fetchone() == (20,)
            )

    eventually(is_complete)
    shutil.move(path, small_disk / "archive.sqlite")
    store.save(make_event(20))
    store.close()
    assert len(rows(small_disk / "archive.sqlite")) == 20
    assert len(rows(path)) == 1


@pytest.mark.parametrize("kind", ["overwritten", "emptied", "directory"])
def test_a_file_that_is_spoiled_while_in_use_keeps_events_in_memory(path: Path, kind: str) -> None:
    store = EventStore(path, retry_seconds=RETRY)
    store.save(make_event(0))
    if kind == "directory":
        path.unlink()
        path.mkdir()
    else:  # in place: the same file
        path.write_bytes(b"" if kind == "emptied" else b"garbage, many bytes of it" * 400)
    events = [make_event(number) for number in range(1, 4)]
    for event in events:
        store.save(event)
    assert store.error is not None
    assert store.unsaved() == events
    if kind == "directory":
        path.rmdir()
    else:
        path.unlink()
    eventually(lambda: store.flush() and store.error is None)
    assert store.events()[:3] == events[::-1]
    assert len(rows(path)) == 4  # the one that was still open came along
    store.close()


def test_events_are_written_while_no_descriptor_is_left(path: Path) -> None:
    store = EventStore(path)
    store.save(make_event(0))
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(OSError, match="Too many open files"):
            os.open(os.devnull, os.O_RDONLY)
        store.save(make_event(1))
        assert store.error is None
        assert store.unsaved() == []
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
    assert len(rows(path)) == 2
    store.close()


def test_unreadable_rows_are_left_out_of_the_list_and_stop_no_start(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    events = [make_event(number) for number in range(12)]
    with EventStore(path) as store:
        for event in events:
            store.save(event)
    spoiled = ["{", "[]", "null", "", '{"id": 1}', events[0].to_json().replace("12.5", "NaN"), "[" * 100_000]
    spoiled += [events[0].to_json().replace(START.isoformat(timespec="microseconds"), "0000-00-00T99:00")]
    with closing(sqlite3.connect(path)) as other:
        for event, document in zip(events[2:], spoiled, strict=False):
            other.execute("UPDATE events SET document = ? WHERE id = ?", (document, event.id))
        other.execute("UPDATE events SET document = CAST(x'ff00fe' AS TEXT) WHERE id = ?", (events[1].id,))
        other.commit()
    caplog.clear()
    with EventStore(path) as store:
        assert store.interrupted == 3
        found = store.events(limit=3)  # more rows are read until there are three
        assert [event.id for event in found] == [events[k].id for k in (11, 10, 0)]
        assert store.events(limit=3, before=found[-1].id) == []
        store.events()
        store.save(make_event(20))
        assert store.error is None
    assert caplog.text.count("which cannot be read") == 9


def test_pages_follow_one_another_through_memory_and_disk(path: Path) -> None:
    events = [make_event(number // 3, camera=("gate", "dock")[number % 2], state="closed") for number in range(60)]
    newest_first = sorted(events, key=lambda event: (event.started_at, event.id), reverse=True)
    store = EventStore(path, retry_seconds=RETRY)
    for event in events[:40]:
        store.save(event)
    assert store._writer is not None
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")  # the rest stays in memory
    for event in events[40:]:
        store.save(event)
    for camera in (None, "gate"):
        wanted = [event for event in newest_first if camera in (None, event.camera)]
        seen: list[Event] = []
        while page := store.events(camera, limit=7, before=seen[-1].id if seen else None):
            seen += page
        assert seen == wanted
        assert store.count(camera) == len(wanted)
    with pytest.raises(UsageError, match="does not exist"):
        store.events(before="unknown")
    other.execute("COMMIT")
    other.close()
    store.close()


def test_a_page_and_a_total_read_no_more_than_they_answer(path: Path) -> None:
    EventStore(path).close()
    document = make_event().to_json()
    with closing(sqlite3.connect(path)) as other:
        other.executemany(
            "INSERT INTO events (id, camera, state, started_at, document, type) VALUES (?, ?, 'closed', ?, ?, ?)",
            (
                (f"{k:06}", f"camera-{k % 5}", f"2026-{k // 10_000 + 1:02}-01T{k % 10_000:05}", document, kind)
                for k in range(100_000)
                for kind in [("anomaly", "health")[k % 10 == 0]]
            ),
        )
        other.commit()
        since = datetime(2026, 2, 1, tzinfo=UTC)
        for camera in (None, "camera-3"):
            for end in (None, ("2026-04-01T00500", "030500")):
                statement, parameters = page_query("anomaly", EventFilter(camera, since), end, 100)
                plan = [str(row[3]) for row in other.execute(f"EXPLAIN QUERY PLAN {statement}", parameters)]
                assert len(plan) == 1, plan
                assert plan[0].startswith("SEARCH events USING INDEX"), plan
                assert "started_at>" in plan[0]
                assert ("(started_at,id)<" in plan[0]) == (end is not None)
                # What counts is the work: instructions of SQLite's own machine, a few for each row of the page.
                steps = [0]
                other.set_progress_handler(lambda steps=steps: steps.append(0) or 0, 10)
                found = other.execute(statement, parameters).fetchall()
                other.set_progress_handler(None, 0)
                assert len(found) == 100
                assert len(steps) < 400
    with EventStore(path) as store:
        assert store.count() == 90_000
        assert store.count("camera-0") == 10_000
        assert store.count("camera-3") == 20_000
        assert store.count(kind=HealthEvent) == 10_000
    with closing(sqlite3.connect(path)) as other:  # what others delete and change is counted too
        other.execute("DELETE FROM events WHERE camera = 'camera-3'")
        other.execute("UPDATE events SET camera = 'camera-1' WHERE camera = 'camera-2'")
        other.commit()
    with EventStore(path) as store:
        assert (store.count(), store.count("camera-1"), store.count("camera-2")) == (70_000, 40_000, 0)


@pytest.mark.parametrize("since", ["0001-01-01T00:00:00+14:00", "0001-01-01T00:00:00+00:00"])
def test_moments_that_utc_cannot_express_are_moments_all_the_same(store: EventStore, since: str) -> None:
    store.save(make_event())
    assert store.events(since=datetime.fromisoformat(since)) == [make_event_of(store)]
    assert store.events(since=datetime.fromisoformat("9999-12-31T23:59:59-14:00")) == []


def make_event_of(store: EventStore) -> Event:
    (event,) = store.events()
    return event


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


def test_another_program_that_closes_the_file_does_not_remove_the_log_that_is_in_use(
    store: EventStore, path: Path
) -> None:
    """The last connection to a database removes its log; who is the last one, SQLite knows by the locks of others."""
    for number in range(3):
        store.save(make_event(2 * number, state="closed"))
        program = "import sqlite3, sys; print(*sqlite3.connect(sys.argv[1]).execute('SELECT count(*) FROM events'))"
        found = subprocess.run([sys.executable, "-c", program, str(path)], capture_output=True, text=True, check=True)
        assert found.stdout == f"({2 * number + 1},)\n"
        assert path.with_name(f"{path.name}-wal").exists()
        store.save(make_event(2 * number + 1, state="closed"))
    assert len(rows(path)) == store.count() == 6


def test_a_newer_schema_is_refused(path: Path) -> None:
    EventStore(path).close()
    other = sqlite3.connect(path)
    other.execute("PRAGMA user_version = 99")
    other.close()
    with pytest.raises(OutputError, match="schema 99, the newest supported is 6"):
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
    assert other.execute("PRAGMA user_version").fetchone() == (len(database.MIGRATIONS),)
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
    assert "is writable" in (caught.value.hint or "")


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
