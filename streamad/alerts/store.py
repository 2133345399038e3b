"""EventStore: events in SQLite that survive a killed process, a full disk, and a file that is moved away."""

from __future__ import annotations

import json
import logging
import os
import sqlite3
import threading
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from streamad.alerts.database import WriterLock, connect, connect_reader, failure
from streamad.alerts.event import Event, utc_text
from streamad.alerts.health import HealthEvent
from streamad.alerts.marks import NEWEST_MARKS, NEWEST_VERDICT, Mark, Verdict, has_marks
from streamad.alerts.queries import EventFilter, count_query, page_query
from streamad.alerts.state_machine import Severity
from streamad.errors import OutputError, UsageError
from streamad.files import open_regular
from streamad.protocols import Closeable
from streamad.writing import BackgroundWriter, Outcome

MAX_UNSAVED = 10_000
RETRY_SECONDS = 1.0
BATCH = 500
MAGIC = b"SQLite format 3\x00"
SAVE_SECONDS = 2.0
"""`save` waits this long, once, for a disk that does not respond. Until the disk responds again, no further save
waits."""

_log = logging.getLogger(__name__)

AnyEvent = Event | HealthEvent
"""What a store holds: anomalies, and problems of the cameras themselves."""

_EventT = TypeVar("_EventT", Event, HealthEvent)

_UPSERT = (
    "INSERT INTO events (id, camera, state, started_at, document, type, severity) VALUES (?, ?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET state = excluded.state, document = excluded.document, severity = excluded.severity"
)


class EventsSpec(BaseModel):
    """Where events are stored."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(Path("runs/events.sqlite"), description="the SQLite file that stores the events")
    max_unsaved: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="events held in memory while the file cannot be written (about 1 KB each); beyond this limit, "
        "the oldest are discarded, counted, and logged",
    )


class EventStore(Closeable):
    """The events of all cameras, in one file with one writer.

    An event is saved when it opens and at every change. Each save is synced to disk before `save` returns (WAL,
    synchronous=FULL), so a process killed by SIGKILL loses no event. At the next start, events that a dead process left
    open become "interrupted" and end at their last update.

    If the file cannot be written, `save` does not raise, because watching must go on. The event is kept in memory (at
    most `max_unsaved` events; beyond that, the oldest are discarded and counted in `lost`), `error` describes the
    problem, and writing is retried every `retry_seconds`. Queries include unsaved events.

    If the file is moved away, deleted, or replaced while in use, the next `save` or `flush` notices and reports it, and
    events continue in the file that is then at the path. The old file has all events up to then; the new one starts
    with those that are open.

    The store is thread-safe: the main loop saves, and the web thread queries on its own connection.

    Args:
        path: The SQLite file, created with its folder if missing.
        max_unsaved: Maximum number of events kept in memory while the file cannot be written, about 1 KB each.
        retry_seconds: Time between two attempts to write.
        on_error: Called for every failed attempt and every file found missing (for a metric).
        on_outcome: See `BackgroundWriter`.

    Raises:
        OutputError: The file cannot be opened or written, is locked or in use, is not an event store, or is newer than
            this version. At start-up this is an error for the user to fix, so it is raised.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        max_unsaved: int = MAX_UNSAVED,
        retry_seconds: float = RETRY_SECONDS,
        on_error: Callable[[OutputError], None] | None = None,
        on_outcome: Callable[[Outcome, int, str], None] | None = None,
    ) -> None:
        self.path = Path(path)
        self._on_error = on_error
        self.writer = BackgroundWriter[AnyEvent](
            "events",
            self._write_batch,
            capacity=max_unsaved,
            batch=BATCH,
            retry_seconds=retry_seconds,
            on_outcome=on_outcome,
            on_poke=self._look_after_file,
        )
        self._open_events: dict[str, AnyEvent] = {}
        self._read_lock = threading.Lock()
        self._is_closed = False
        self._must_reopen = False
        self._is_new_file = False
        self._unreadable: set[str] = set()
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None
        self._file: BinaryIO | None = None

        self._lock = WriterLock(self.path)
        try:
            self._open()
            self.interrupted_events = self._interrupt_open_events()
        except OutputError:
            self._close_connections()
            self._lock.release()
            raise

    @property
    def interrupted(self) -> int:
        """Number of events that a dead process had left open."""
        return len(self.interrupted_events)

    @property
    def error(self) -> OutputError | None:
        """Why events currently cannot be written; None if all is well."""
        error = self.writer.error
        return error if error is None or isinstance(error, OutputError) else failure(self.path, error)

    @property
    def lost(self) -> int:
        """Number of events discarded because more than `max_unsaved` were waiting."""
        return self.writer.dropped

    def unsaved(self) -> list[AnyEvent]:
        """Events that are only in memory, oldest first."""
        return self.writer.waiting()

    def save(self, event: AnyEvent) -> None:
        """Insert the event or replace its earlier version, durably if the disk allows it.

        Raises:
            ValueError: The store is closed.
        """
        self._require_open()
        if event.state == "open":
            self._open_events[event.id] = event
        else:
            self._open_events.pop(event.id, None)
        self.writer.put(event, key=event.id)
        self.writer.flush(SAVE_SECONDS)

    def flush(self) -> bool:
        """Check the file without waiting for it; the main loop calls this regularly.

        Returns:
            Whether all events have been written.
        """
        self.writer.poke()
        return not self.writer.waiting()

    def events(
        self,
        camera: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        before: str | None = None,
        *,
        until: datetime | None = None,
        severity: Severity | None = None,
        marks: Iterable[Verdict] = (),
    ) -> list[Event]:
        """Return the newest anomalies first (for health events, see `health_events`). Unreadable events are skipped and
        logged.

        Args:
            camera: Only events of this camera.
            since: Only events that started at or after this time (timezone-aware).
            limit: Maximum number of events, at least 1.
            before: Only events that come after the event with this id in the list: the id of a page's last event yields
                the next page.
            until: Only events that started before this time (timezone-aware).
            severity: Only events of this severity.
            marks: Only events whose newest mark is one of these; "none" stands for no mark.

        Raises:
            UsageError: A time has no time zone, `limit` is not positive, or the event `before` does not exist.
            OutputError: The file cannot be read.
        """
        return self._newest(Event, EventFilter(camera, since, until, severity, frozenset(marks)), limit, before)

    def health_events(
        self,
        camera: str | None = None,
        since: datetime | None = None,
        limit: int = 100,
        before: str | None = None,
        *,
        until: datetime | None = None,
    ) -> list[HealthEvent]:
        """Return the newest health events first: rejected frames and drift. See `events`."""
        return self._newest(HealthEvent, EventFilter(camera, since, until), limit, before)

    def event(self, name: str) -> Event | None:
        """Return the anomaly with this id; None if there is none.

        Raises:
            OutputError: The file cannot be read.
        """
        for event in self.unsaved():
            if event.id == name and isinstance(event, Event):
                return event
        rows = self._query("SELECT id, document FROM events WHERE id = ? AND type = 'anomaly'", (name,))
        return self._read(Event, *rows[0]) if rows else None

    def marks(self, events: Iterable[str]) -> dict[str, Mark]:
        """Return the newest mark of each of these events, by id; events without a mark are missing.

        Raises:
            OutputError: The file cannot be read.
        """
        rows = self._query(NEWEST_MARKS, (json.dumps(list(events)),))
        return {mark.event: mark for mark in map(Mark.of_row, rows)}

    def _newest(self, kind: type[_EventT], wanted: EventFilter, limit: int, before: str | None) -> list[_EventT]:
        if limit < 1:
            raise UsageError(f"limit must be 1 or more, got {limit}")
        unsaved = {event.id: event for event in self.unsaved() if isinstance(event, kind)}
        end = None if before is None else self._place_of(before, unsaved)
        found = [event for event in self._fitting(unsaved.values(), wanted) if end is None or _place(event) < end]
        readable = 0
        while readable < limit:
            rows = self._query(*page_query(_type_of(kind), wanted, end, limit))
            for name, _, document in rows:
                event = None if name in unsaved else self._read(kind, name, document)
                if event is not None:
                    readable += 1
                    found.append(event)
            if len(rows) < limit:
                break
            end = (str(rows[-1][1]), str(rows[-1][0]))
        return sorted(found, key=_place, reverse=True)[:limit]

    def _fitting(self, unsaved: Collection[_EventT], wanted: EventFilter) -> list[_EventT]:
        """Those of the events in memory that a filter selects."""
        marks = self.marks(event.id for event in unsaved) if unsaved and wanted.marks else {}
        return [
            event
            for event in unsaved
            if wanted.fits(
                event.camera,
                event.started_at,
                _severity(event),
                marks[event.id].verdict if event.id in marks else "none",
            )
        ]

    def _place_of(self, name: str, unsaved: dict[str, _EventT]) -> tuple[str, str]:
        if name in unsaved:
            return _place(unsaved[name])
        rows = self._query("SELECT started_at FROM events WHERE id = ?", (name,))
        if not rows:
            raise UsageError(f"event {name!r} does not exist", hint="`before` takes the id of the last event of a page")
        return str(rows[0][0]), name

    def _read(self, kind: type[_EventT], name: object, document: object) -> _EventT | None:
        try:
            return kind.from_json(str(document))
        except ValueError as error:
            if str(name) not in self._unreadable:
                self._unreadable.add(str(name))
                first = str(error).replace("\n", " ")[:200]
                _log.warning("event store %s: skipping event %s, which cannot be read: %s", self.path, name, first)
            return None

    def count(
        self,
        camera: str | None = None,
        kind: type[Event] | type[HealthEvent] = Event,
        wanted: EventFilter | None = None,
    ) -> int:
        """Number of events of all cameras or of one; anomalies by default.

        Args:
            camera: Only events of this camera.
            kind: `Event` or `HealthEvent`.
            wanted: Only events that this selects, in place of `camera`.

        Raises:
            OutputError: The file cannot be read.
        """
        wanted = wanted or EventFilter(camera)
        unsaved: list[Any] = [event for event in self.unsaved() if isinstance(event, kind)]
        # One statement, so that both numbers describe the same moment.
        total, known = self._query(*count_query(_type_of(kind), wanted, [event.id for event in unsaved]))[0]
        return int(total) - int(known) + len(self._fitting(unsaved, wanted))

    def close(self) -> None:
        """Write pending events and close the file.

        Raises:
            OutputError: Some events could not be written; `unsaved()` still has them.
        """
        if self._is_closed:
            return
        self._is_closed = True
        error = self.error
        rest = self.writer.close()
        if self.writer.is_over:  # otherwise a call hangs, and closing would wait for it
            self._close_connections()
        self._lock.release()
        error = self.error or error
        if rest:
            raise OutputError(
                f"{len(rest)} events could not be written ({error})", hint=None if error is None else error.hint
            ) from error

    def _open(self) -> None:
        writer = connect(self.path)
        try:
            reader = connect_reader(self.path)
            try:
                file = open_regular(self.path)
            except (OSError, ValueError) as error:
                reader.close()
                raise failure(self.path, error) from error
        except OutputError:
            writer.close()
            raise
        with self._read_lock:
            self._writer, self._reader, self._file = writer, reader, file
        self._identity = _identity(self.path)

    def _interrupt_open_events(self) -> list[AnyEvent]:
        assert self._writer is not None
        try:
            rows = self._writer.execute("SELECT id, document, type FROM events WHERE state = 'open'").fetchall()
            found = [
                self._read(HealthEvent, name, document) if kind == "health" else self._read(Event, name, document)
                for name, document, kind in rows
            ]
            ended = [interrupted(event) for event in found if event is not None]
            self._write(ended)
            return ended
        except sqlite3.Error as error:
            raise failure(self.path, error) from error

    # The methods below run on the writer's thread.

    def _write_batch(self, events: Sequence[AnyEvent]) -> None:
        try:
            self._reopen_where_needed()
            self._write(events)
            while self._reopen_where_needed():  # it disappeared between the check and the commit
                self._write(events)
        except (sqlite3.Error, OSError) as error:
            code = getattr(error, "sqlite_errorname", "")
            self._must_reopen = code != "" and not code.startswith(("SQLITE_FULL", "SQLITE_BUSY", "SQLITE_LOCKED"))
            known = error if isinstance(error, OutputError) else failure(self.path, error)
            if self._on_error is not None:
                self._on_error(known)
            raise known from error.__cause__ or error

    def _look_after_file(self) -> None:
        self._write_batch(())
        assert self._writer is not None
        try:
            # Events that are still in the log beside the file would be lost to whoever moves or copies only the file.
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        except sqlite3.Error as error:  # the log keeps them; the next event reports a full disk
            _log.debug("event store %s: no checkpoint: %s", self.path, error)

    def _reopen_where_needed(self) -> bool:
        """Reopen the file after a failure, or if the path has another file or none; True if it was opened."""
        is_gone = self._writer is not None and _identity(self.path) != self._identity
        if self._writer is not None and not is_gone and not self._is_database():
            # Overwritten in place. SQLite may not notice for a long time, and everything written until then would be
            # lost.
            raise sqlite3.DatabaseError("the file was overwritten and is no longer a database")
        if not is_gone and not self._must_reopen and self._writer is not None:
            return False
        if is_gone:
            gone = OutputError(
                f"event store {self.path} was moved away, deleted, or replaced while in use",
                hint="new events go to the file that is now at this path; earlier events are in the old file",
            )
            _log.error("%s; %s", gone, gone.hint)
            if self._on_error is not None:
                self._on_error(gone)
            self._complete_old_file()
            self._is_new_file = True
        self._close_connections()
        self._lock.renew()
        self._open()
        self._must_reopen = False
        if self._is_new_file:
            self._write(list(self._open_events.values()))
            self._is_new_file = False
        return True

    def _complete_old_file(self) -> None:
        # SQLite does not do this when it closes a file that was moved, and the log stays behind at the old path.
        assert self._writer is not None
        try:
            self._writer.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            _log.error("event store %s: the old file lacks the newest events: %s", self.path, error)

    def _write(self, events: Iterable[AnyEvent]) -> None:
        rows = [
            (e.id, e.camera, e.state, utc_text(e.started_at), e.to_json(), _type_of(type(e)), _severity(e))
            for e in events
        ]
        if not rows:
            return
        if self._writer is None:
            raise sqlite3.OperationalError("the file could not be reopened")
        try:
            self._writer.execute("BEGIN IMMEDIATE")
            self._writer.executemany(_UPSERT, rows)
            self._writer.execute("COMMIT")
        except sqlite3.Error:
            if self._writer.in_transaction:
                self._writer.execute("ROLLBACK")
            raise

    def _query(self, statement: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]]:
        with self._read_lock:
            self._require_open()
            if self._reader is None:
                raise self.error or failure(self.path, sqlite3.OperationalError("the file is not open"))
            try:
                return self._reader.execute(statement, parameters).fetchall()
            except sqlite3.Error as error:
                raise failure(self.path, error) from error

    def _require_open(self) -> None:
        if self._is_closed:
            raise ValueError(f"event store {self.path} is closed")

    def _close_connections(self) -> None:
        with self._read_lock:
            for connection in (self._reader, self._writer):
                if connection is not None:
                    connection.close()
            self._reader = self._writer = None
            if self._file is not None:
                self._file.close()
                self._file = None

    def _is_database(self) -> bool:
        assert self._file is not None
        try:
            # Opening and closing the file here would end the locks that SQLite holds on it in this process
            # (https://www.sqlite.org/howtocorrupt.html, 2.2): another program that closes the file would then take
            # itself for the last one, and remove the log that the newest events are in.
            return os.pread(self._file.fileno(), len(MAGIC), 0) == MAGIC
        except OSError:  # SQLite will report what is wrong
            return True


def _place(event: AnyEvent) -> tuple[str, str]:
    return utc_text(event.started_at), event.id


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return status.st_dev, status.st_ino


def _severity(event: AnyEvent) -> str:
    return event.severity if isinstance(event, Event) else ""


def _type_of(kind: type[AnyEvent]) -> str:
    return "health" if kind is HealthEvent else "anomaly"


def interrupted(event: AnyEvent) -> AnyEvent:
    """The event as it ends where the process died that had it open."""
    if isinstance(event, HealthEvent):
        return replace(
            event, state="interrupted", ended_pts_seconds=event.updated_pts_seconds, ended_at=event.updated_at
        )
    return replace(
        event,
        state="interrupted",
        ended_index=event.updated_index,
        ended_pts_seconds=event.updated_pts_seconds,
        ended_at=event.updated_at,
        reason="process_died",
    )


def read_events(
    path: Path,
    *,
    camera: str | None = None,
    since: datetime | None = None,
    state: str | None = None,
    verdict: Verdict | None = None,
    limit: int = 100,
    event: str | None = None,
) -> list[Event]:
    """Read the newest anomalies from a store that another process may have open; unreadable ones are left out.

    Args:
        path: The SQLite file.
        camera: Only events of this camera.
        since: Only events that started at or after this time (timezone-aware).
        state: Only events in this state.
        verdict: Only events whose newest mark is this one; "none": only those without a mark, or with a withdrawn one.
        limit: Maximum number of events.
        event: Only the event with this id.

    Raises:
        OutputError: The file does not exist or cannot be read.
    """
    if not path.is_file():
        raise OutputError(f"event store {path}: no such file", hint="give the configuration, or its events.path")
    start = None if since is None else utc_text(since)
    wanted = {"camera = ?": camera, "started_at >= ?": start, "state = ?": state, "id = ?": event}
    with closing(connect_reader(path)) as connection:
        try:
            if verdict is not None and has_marks(connection):
                wanted[f"coalesce(({NEWEST_VERDICT}), 'none') = ?"] = verdict
            elif verdict not in (None, "none"):
                return []
            where = " AND ".join(["type = 'anomaly'", *(key for key, value in wanted.items() if value is not None)])
            rows = connection.execute(
                f"SELECT id, document FROM events WHERE {where} ORDER BY started_at DESC, id DESC LIMIT ?",  # noqa: S608
                (*(value for value in wanted.values() if value is not None), limit),
            ).fetchall()
        except sqlite3.Error as error:
            raise failure(path, error) from error
    found = []
    for name, document in rows:
        try:
            found.append(Event.from_json(str(document)))
        except ValueError:
            _log.warning("event store %s: skipping event %s, which cannot be read", path, name)
    return found
