"""The SQLite file of the event store: opening, schema, migration, and the lock that allows a single writer."""

from __future__ import annotations

import logging
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from streamad.errors import OutputError

_log = logging.getLogger(__name__)

APPLICATION_ID = 0x53414445
"""Marks the file as ours ("SADE"), so that another program's database is never modified."""

BUSY_TIMEOUT_SECONDS = 0.25
"""How long a statement waits for another process's lock. It is short because the main loop waits, too; what cannot be
written now is kept in memory and retried."""

MARK_TIMEOUT_SECONDS = 10.0
"""How long a mark waits for the process that watches, which locks the file for milliseconds at a time."""


def _create_events(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE events (id TEXT PRIMARY KEY, camera TEXT NOT NULL, state TEXT NOT NULL,"
        " started_at TEXT NOT NULL, document TEXT NOT NULL) WITHOUT ROWID"
    )
    connection.execute("CREATE INDEX events_by_time ON events (started_at)")
    connection.execute("CREATE INDEX events_by_camera ON events (camera, started_at)")
    connection.execute("CREATE INDEX events_open ON events (state) WHERE state = 'open'")


def _tell_types_apart(connection: sqlite3.Connection) -> None:
    connection.execute("ALTER TABLE events ADD COLUMN type TEXT NOT NULL DEFAULT 'anomaly'")
    connection.execute("CREATE INDEX events_by_type ON events (type, started_at)")


def _count_events(connection: sqlite3.Connection) -> None:
    # The page asks for the newest events and a total every few seconds: neither may read more rows than it returns.
    connection.execute("CREATE INDEX events_by_type_and_camera ON events (type, camera, started_at)")
    connection.execute("DROP INDEX events_by_camera")
    connection.execute("DROP INDEX events_by_time")
    connection.execute(
        "CREATE TABLE event_counts (type TEXT, camera TEXT, events INTEGER NOT NULL, PRIMARY KEY (type, camera))"
        " WITHOUT ROWID"
    )
    connection.execute("INSERT INTO event_counts SELECT type, camera, count(*) FROM events GROUP BY type, camera")
    add = (
        "INSERT INTO event_counts VALUES (new.type, new.camera, 1)"
        " ON CONFLICT (type, camera) DO UPDATE SET events = events + 1;"
    )
    subtract = "UPDATE event_counts SET events = events - 1 WHERE type = old.type AND camera = old.camera;"
    connection.execute(f"CREATE TRIGGER events_added AFTER INSERT ON events BEGIN {add} END")
    connection.execute(f"CREATE TRIGGER events_removed AFTER DELETE ON events BEGIN {subtract} END")
    connection.execute(f"CREATE TRIGGER events_moved AFTER UPDATE OF type, camera ON events BEGIN {subtract} {add} END")


def _create_marks(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE marks (number INTEGER PRIMARY KEY AUTOINCREMENT, event TEXT NOT NULL,"
        " verdict TEXT NOT NULL CHECK (verdict IN ('false_alarm', 'reviewed', 'none')), author TEXT NOT NULL,"
        " at TEXT NOT NULL, note TEXT)"
    )
    connection.execute("CREATE INDEX marks_by_event ON marks (event, number)")
    # An audit trail.
    for change in ("UPDATE", "DELETE"):
        connection.execute(
            f"CREATE TRIGGER marks_stay_on_{change.lower()} BEFORE {change} ON marks"
            " BEGIN SELECT RAISE(ABORT, 'marks are only ever added'); END"
        )


def _filter_events(connection: sqlite3.Connection) -> None:
    # What a page is filtered by is in columns of its own, and totals are kept for each combination and day, so that a
    # page and its total read about as many rows as they return, also of a million events.
    connection.execute("ALTER TABLE events ADD COLUMN severity TEXT NOT NULL DEFAULT ''")
    connection.execute("ALTER TABLE events ADD COLUMN mark TEXT NOT NULL DEFAULT 'none'")
    for trigger in ("added", "removed", "moved"):
        connection.execute(f"DROP TRIGGER events_{trigger}")
    connection.execute("DROP TABLE event_counts")
    connection.execute(
        "UPDATE events SET severity = coalesce(json_extract(document, '$.severity'), '')"
        " WHERE type = 'anomaly' AND json_valid(document)"
    )
    newest = "SELECT verdict FROM marks WHERE event = events.id ORDER BY number DESC LIMIT 1"
    connection.execute(f"UPDATE events SET mark = ({newest}) WHERE id IN (SELECT event FROM marks)")  # noqa: S608
    connection.execute("CREATE INDEX events_by_judgment ON events (type, severity, mark, started_at)")
    connection.execute(
        "CREATE INDEX events_by_camera_and_judgment ON events (type, camera, severity, mark, started_at)"
    )
    connection.execute(
        "CREATE TRIGGER marks_apply AFTER INSERT ON marks"
        " BEGIN UPDATE events SET mark = new.verdict WHERE id = new.event; END"
    )
    key = "type, camera, day, severity, mark"
    connection.execute(
        "CREATE TABLE event_totals (type TEXT, camera TEXT, day TEXT, severity TEXT, mark TEXT,"
        f" events INTEGER NOT NULL, PRIMARY KEY ({key})) WITHOUT ROWID"
    )
    connection.execute(
        f"INSERT INTO event_totals SELECT type, camera, substr(started_at, 1, 10) AS day, severity, mark, count(*)"  # noqa: S608
        f" FROM events GROUP BY {key}"
    )
    add = (
        f"INSERT INTO event_totals ({key}, events)"  # noqa: S608 - no input is in it
        " VALUES (new.type, new.camera, substr(new.started_at, 1, 10), new.severity, new.mark, 1)"
        f" ON CONFLICT ({key}) DO UPDATE SET events = events + 1;"
    )
    subtract = (
        "UPDATE event_totals SET events = events - 1 WHERE type = old.type AND camera = old.camera"
        " AND day = substr(old.started_at, 1, 10) AND severity = old.severity AND mark = old.mark;"
    )
    columns = ("type", "camera", "started_at", "severity", "mark")
    changed = " OR ".join(f"old.{column} IS NOT new.{column}" for column in columns)
    connection.execute(f"CREATE TRIGGER events_added AFTER INSERT ON events BEGIN {add} END")
    connection.execute(f"CREATE TRIGGER events_removed AFTER DELETE ON events BEGIN {subtract} END")
    connection.execute(
        f"CREATE TRIGGER events_moved AFTER UPDATE OF {', '.join(columns)} ON events WHEN {changed}"
        f" BEGIN {subtract} {add} END"
    )


def _create_audit(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE audit (number INTEGER PRIMARY KEY AUTOINCREMENT, at TEXT NOT NULL, who TEXT NOT NULL,"
        " authentication TEXT NOT NULL, address TEXT, action TEXT NOT NULL, target TEXT, detail TEXT NOT NULL)"
    )
    connection.execute(
        "INSERT INTO audit (at, who, authentication, action, target, detail)"
        " SELECT at, author, 'command', 'event.mark', event,"
        " json_object('kind', replace(verdict, '_', '-'), 'note', note) FROM marks ORDER BY number"
    )
    for change in ("UPDATE", "DELETE"):
        connection.execute(
            f"CREATE TRIGGER audit_stays_on_{change.lower()} BEFORE {change} ON audit"
            " BEGIN SELECT RAISE(ABORT, 'the audit trail is only ever added to'); END"
        )
    connection.execute("CREATE TABLE token_uses (token TEXT PRIMARY KEY, at TEXT NOT NULL) WITHOUT ROWID")


MIGRATIONS: tuple[Callable[[sqlite3.Connection], None], ...] = (
    _create_events,
    _tell_types_apart,
    _count_events,
    _create_marks,
    _filter_events,
    _create_audit,
)
"""Step i upgrades a file from `user_version` i to i + 1. Steps are only ever appended."""


def failure(path: Path, error: Exception) -> OutputError:
    """Convert a failure to the error that the user sees."""
    text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    hint = "check that the folder exists and is writable, and that the disk is not full"
    if "locked" in text:
        hint = "another program has locked the file; close it, or set another events path"
    elif "not a database" in text or "malformed" in text:
        hint = "move the file away (it was not changed) or set another events path"
    elif "no such column" in text or "no such table" in text:
        text = f"an earlier version of streamad wrote the file ({text})"
        hint = "`streamad run` upgrades it when it starts; make a backup before (docs/how-to/upgrade.md)"
    return OutputError(f"event store {path}: {text}", hint=hint)


def connect(path: Path) -> sqlite3.Connection:
    """Open the file for writing, durable at every commit, and upgrade its schema if necessary.

    Raises:
        OutputError: The file cannot be opened or written, is not an event store, or is newer than this version.
    """
    with _opening(path, create_folder=True) as connection:
        # Check before changing anything: another program's file must stay byte for byte as it is.
        version = schema_of(connection, path)
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        _migrate(connection, version)
        return connection


def connect_existing(path: Path) -> sqlite3.Connection:
    """Open the file of a store for one short write, beside the process that may hold its `WriterLock`.

    Raises:
        OutputError: The file does not exist, is not an event store, is newer than this version, or is older and in use.
    """
    if not path.is_file():
        raise OutputError(f"event store {path} does not exist", hint="give the configuration, or its events.path")
    with _opening(path, timeout=MARK_TIMEOUT_SECONDS) as connection:
        if schema_of(connection, path) < len(MIGRATIONS):
            # Its writer is of an earlier version, which must not find another schema when it reopens the file.
            lock = WriterLock(path)
            try:
                connect(path).close()
            finally:
                lock.release()
        connection.execute("PRAGMA synchronous = FULL")
        return connection


def connect_reader(path: Path) -> sqlite3.Connection:
    """Open the file for queries only.

    Raises:
        OutputError: The file cannot be opened.
    """
    with _opening(path) as connection:
        connection.execute("PRAGMA query_only = ON")
        return connection


@contextmanager
def _opening(
    path: Path, *, timeout: float = BUSY_TIMEOUT_SECONDS, create_folder: bool = False
) -> Iterator[sqlite3.Connection]:
    """Connect to the file. The connection is closed if the block fails, and stays open otherwise."""
    connection: sqlite3.Connection | None = None
    try:
        if create_folder:
            path.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, timeout=timeout, isolation_level=None, check_same_thread=False)
        # One damaged text must not make the other rows unreadable.
        connection.text_factory = lambda text: text.decode(errors="replace")
        yield connection
    except (sqlite3.Error, OSError) as error:
        if connection is not None:
            connection.close()
        if isinstance(error, OutputError):
            raise
        raise failure(path, error) from error


def schema_of(connection: sqlite3.Connection, path: Path) -> int:
    """Schema version of an open event store; 0 for an empty file.

    Raises:
        OutputError: The file belongs to another program, or is newer than this version.
    """
    version = int(connection.execute("PRAGMA user_version").fetchone()[0])
    application = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
    if application != APPLICATION_ID and (application != 0 or version != 0 or tables != 0):
        raise OutputError(
            f"event store {path}: the file belongs to another program (application id {application}, {tables} tables)",
            hint="set another events path",
        )
    if version > len(MIGRATIONS):
        raise OutputError(
            f"event store {path}: the file has schema {version}, the newest supported is {len(MIGRATIONS)}",
            hint="a newer streamad wrote it: use that version, or set another events path",
        )
    return version


def _migrate(connection: sqlite3.Connection, version: int) -> None:
    if version == len(MIGRATIONS):
        return
    if version:  # of a million events, it takes a minute or so
        _log.info("upgrading the event store from schema %d to %d", version, len(MIGRATIONS))
    connection.execute("BEGIN IMMEDIATE")
    try:
        for step in MIGRATIONS[version:]:
            step(connection)
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {len(MIGRATIONS)}")
        connection.execute("COMMIT")
    except sqlite3.Error:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


class WriterLock:
    """The exclusive right to write an event store. It is held by one `EventStore` and ends with the process.

    Only the holder has open events, so every open event that a new holder finds belongs to a dead process. Child
    processes do not inherit the lock: a decoder that outlives its parent keeps nothing locked.

    Raises:
        OutputError: The lock is already held, by another process or by another store of this process, or the lock
            file cannot be written.
    """

    def __init__(self, database: Path) -> None:
        self._database = database
        self._path = Path(f"{os.path.abspath(database)}.lock")
        self._lock, self._identity = self._acquire()

    def _acquire(self) -> tuple[FileLock, os.stat_result]:
        held: list[os.stat_result] = []
        lock = FileLock(
            self._path,
            blocking=False,
            thread_local=False,
            fallback_to_soft=False,  # a soft lock would outlive a killed process
            on_acquired=lambda descriptor: held.append(os.fstat(descriptor)),
        )
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            lock.acquire()
        except Timeout as error:
            raise OutputError(
                f"event store {self._database}: in use by another streamad process or by another EventStore",
                hint="stop that process, or give each its own events path",
            ) from error
        except OSError as error:
            raise failure(self._database, error) from error
        return lock, held[0]

    def renew(self) -> None:
        """Acquire the lock again if its file was moved away or deleted.

        Raises:
            OutputError: Another process holds the lock now, or the file cannot be written.
        """
        try:
            is_there = os.path.samestat(self._identity, os.stat(self._path))
        except OSError:
            is_there = False
        if not is_there:
            old = self._lock
            self._lock, self._identity = self._acquire()
            old.release()

    def release(self) -> None:
        """Release the lock. The lock file stays: removing it would let two processes lock different files."""
        self._lock.release()
