"""EventStore: events in SQLite that survive a killed process and a full disk."""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from streamad.alerts.database import WriterLock, connect, connect_reader, failure
from streamad.alerts.event import Event, utc_text
from streamad.alerts.health import HealthEvent
from streamad.errors import OutputError, UsageError

MAX_UNSAVED = 10_000
RETRY_SECONDS = 1.0
BATCH = 500

_log = logging.getLogger(__name__)

AnyEvent = Event | HealthEvent
"""What a store keeps: anomalies, and what was wrong with a camera itself."""

_EventT = TypeVar("_EventT", Event, HealthEvent)
_TYPES: dict[str, type[Event] | type[HealthEvent]] = {"anomaly": Event, "health": HealthEvent}

_UPSERT = (
    "INSERT INTO events (id, camera, state, started_at, document, type) VALUES (?, ?, ?, ?, ?, ?)"
    " ON CONFLICT (id) DO UPDATE SET state = excluded.state, document = excluded.document"
)


class EventStore:
    """The events of all cameras, in one file with one writer.

    An event is saved when it opens and at every change; each save is synced to the disk before `save` returns
    (WAL, synchronous=FULL), so a process killed by SIGKILL loses none. On the next start, events that a dead
    process left open become "interrupted" and end at their last update.

    Where the file cannot be written, `save` does not raise, since watching goes on: the event is kept in
    memory (at most `max_unsaved`, then the oldest are given up and counted in `lost`), `error` says what is
    wrong, and writing is tried again at most every `retry_seconds` by the next `save` or `flush`. Queries see
    what is still unsaved.

    Safe to use from several threads: the main loop saves, the web thread queries on a connection of its own.

    Args:
        path: the SQLite file; its folder is made where missing.
        max_unsaved: bound on the events kept while the file cannot be written, about 1 KB each.
        retry_seconds: time between two attempts to write.
        on_error: called with every failed attempt (for a metric).
        clock: monotonic seconds, for the retries.

    Raises:
        OutputError: the file cannot be opened or written, is locked or in use, is no event store, or is newer
            than this program. At the start this is a mistake to mend, so it is raised.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_unsaved: int = MAX_UNSAVED,
        retry_seconds: float = RETRY_SECONDS,
        on_error: Callable[[OutputError], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.path = path
        self._max_unsaved = max_unsaved
        self._retry_seconds = retry_seconds
        self._on_error = on_error
        self._clock = clock
        self._unsaved: dict[str, AnyEvent] = {}
        self._error: OutputError | None = None
        self._failed_at: float | None = None
        self._lost = 0
        self._write_lock = threading.Lock()
        self._read_lock = threading.Lock()
        self._is_closed = False
        self._writer: sqlite3.Connection | None = None
        self._reader: sqlite3.Connection | None = None

        self._lock = WriterLock(path)
        try:
            self._open()
            self.interrupted = self._interrupt_open_events()
        except OutputError:
            self._close_connections()
            self._lock.release()
            raise

    @property
    def error(self) -> OutputError | None:
        """Why events cannot be written at present, None where all is well."""
        return self._error

    @property
    def lost(self) -> int:
        """Events given up because more than `max_unsaved` were waiting."""
        return self._lost

    def unsaved(self) -> list[AnyEvent]:
        """Events that are in memory alone, oldest first."""
        with self._write_lock:
            return list(self._unsaved.values())

    def save(self, event: AnyEvent) -> None:
        """Insert the event or replace its earlier version, durably where the disk allows it.

        Raises:
            ValueError: the store is closed.
        """
        with self._write_lock:
            self._require_open()
            self._unsaved[event.id] = event
            while len(self._unsaved) > self._max_unsaved:
                self._unsaved.pop(next(iter(self._unsaved)))
                self._lost += 1
                _log.error("event store %s: %d events given up, no room in memory", self.path, self._lost)
            self._try_write(force=False)

    def flush(self) -> bool:
        """Try again to write what waits, if `retry_seconds` have passed; for the main loop to call as it
        ticks.

        Returns:
            True where nothing waits any more.
        """
        with self._write_lock:
            if not self._is_closed and self._unsaved:
                self._try_write(force=False)
            return not self._unsaved

    def events(self, camera: str | None = None, since: datetime | None = None, limit: int = 100) -> list[Event]:
        """The newest events first; anomalies alone, see `health_events`.

        Args:
            camera: only this camera's.
            since: only those that started at or after this moment (aware).
            limit: at most this many, 1 or more.

        Raises:
            UsageError: `since` has no zone, or `limit` is not positive.
            OutputError: the file cannot be read.
        """
        return self._newest(Event, camera, since, limit)

    def health_events(
        self, camera: str | None = None, since: datetime | None = None, limit: int = 100
    ) -> list[HealthEvent]:
        """The newest health events first: held-back frames and drift. See `events`."""
        return self._newest(HealthEvent, camera, since, limit)

    def _newest(self, kind: type[_EventT], camera: str | None, since: datetime | None, limit: int) -> list[_EventT]:
        if since is not None and since.utcoffset() is None:
            raise UsageError(f"since must be an aware datetime, got {since!r}", hint="add a zone, e.g. +00:00")
        if limit < 1:
            raise UsageError(f"limit must be 1 or more, got {limit}")
        start = "" if since is None else utc_text(since)
        where = "type = ? AND started_at >= ?" + ("" if camera is None else " AND camera = ?")
        parameters: tuple[object, ...] = (_type_of(kind), start) + (() if camera is None else (camera,))
        unsaved = {
            event.id: event
            for event in self.unsaved()
            if isinstance(event, kind)
            and (camera is None or event.camera == camera)
            and utc_text(event.started_at) >= start
        }
        rows = self._query(
            f"SELECT document FROM events WHERE {where} ORDER BY started_at DESC, id DESC LIMIT ?",  # noqa: S608
            (*parameters, limit),
        )
        found = {event.id: event for event in (kind.from_json(str(row[0])) for row in rows)}
        newest_first = sorted((found | unsaved).values(), key=lambda e: (e.started_at, e.id), reverse=True)
        return newest_first[:limit]

    def count(self, camera: str | None = None) -> int:
        """How many events there are, of all cameras or of one; anomalies alone.

        Raises:
            OutputError: the file cannot be read.
        """
        unsaved = [
            event.id
            for event in self.unsaved()
            if isinstance(event, Event) and (camera is None or event.camera == camera)
        ]
        where, parameters = ("", ()) if camera is None else (" AND camera = ?", (camera,))
        (total,) = self._query(f"SELECT count(*) FROM events WHERE type = 'anomaly'{where}", parameters)[0]  # noqa: S608
        known = sum(bool(self._query("SELECT 1 FROM events WHERE id = ?", (name,))) for name in unsaved)
        return int(total) + len(unsaved) - known

    def close(self) -> None:
        """Write what waits and close the file.

        Raises:
            OutputError: events could not be written; `unsaved()` still has them.
        """
        with self._write_lock:
            if self._is_closed:
                return
            if self._unsaved:
                self._try_write(force=True)
            self._is_closed = True
            self._close_connections()
            self._lock.release()
            if self._unsaved and self._error is not None:
                raise OutputError(
                    f"{len(self._unsaved)} events could not be written ({self._error})", hint=self._error.hint
                ) from self._error

    def __enter__(self) -> EventStore:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self) -> None:
        self._writer = connect(self.path)
        self._reader = connect_reader(self.path)
        self._identity = _identity(self.path)

    def _interrupt_open_events(self) -> int:
        assert self._writer is not None
        try:
            rows = self._writer.execute("SELECT document, type FROM events WHERE state = 'open'").fetchall()
            self._write([_interrupted(_TYPES[str(row[1])].from_json(str(row[0]))) for row in rows])
            return len(rows)
        except (sqlite3.Error, ValueError, KeyError) as error:
            raise failure(self.path, error) from error

    def _try_write(self, *, force: bool) -> None:
        if not force and self._failed_at is not None and self._clock() - self._failed_at < self._retry_seconds:
            return
        saved = 0
        try:
            if _identity(self.path) != self._identity:
                # Somebody removed or replaced the file: what is written to the old one would be gone.
                self._close_connections()
                self._open()
            # In batches: an attempt that fails costs little however much waits.
            while batch := list(islice(self._unsaved.values(), BATCH)):
                self._write(batch)
                saved += len(batch)
                for event in batch:
                    del self._unsaved[event.id]
        except (sqlite3.Error, OSError) as error:
            was_well = self._error is None
            self._error = error if isinstance(error, OutputError) else failure(self.path, error)
            self._failed_at = self._clock()
            if was_well:
                _log.error("%s; events are kept in memory meanwhile (%s)", self._error, self._error.hint)
            if self._on_error is not None:
                self._on_error(self._error)
            return
        if self._error is not None:
            _log.info("event store %s can be written again, %d events saved", self.path, saved)
        self._error = self._failed_at = None

    def _write(self, events: Iterable[AnyEvent]) -> None:
        if self._writer is None:
            raise sqlite3.OperationalError("the file could not be opened again")
        rows = [(e.id, e.camera, e.state, utc_text(e.started_at), e.to_json(), _type_of(type(e))) for e in events]
        if not rows:
            return
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
                raise self._error or failure(self.path, sqlite3.OperationalError("the file is not open"))
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


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def _type_of(kind: type[AnyEvent]) -> str:
    return "health" if kind is HealthEvent else "anomaly"


def _interrupted(event: AnyEvent) -> AnyEvent:
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
