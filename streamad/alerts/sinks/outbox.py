"""Outbox: the notifications of one sink that wait to be sent, in memory and on disk.

The disk is what survives a killed process. Where it cannot be written, notifications are still sent from memory.
"""

from __future__ import annotations

import logging
import os
import sqlite3
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from filelock import FileLock, Timeout

from streamad.alerts.sinks.notification import Notification
from streamad.errors import OutputError

APPLICATION_ID = 0x5341444F
"""Marks the file as ours ("SADO"), so that another program's database is never modified."""

SCHEMA = 0
"""Version of the tables, `user_version` of the file."""

BUSY_SECONDS = 1.0

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Waiting:
    """A notification in the outbox.

    Attributes:
        number: Its place in the order.
        notification: What is to be sent.
        is_saved: Whether it is on disk.
        attempts: Failed attempts since another notification was last delivered.
        overtaken: How often others were delivered while this one was not.
    """

    number: int
    notification: Notification
    is_saved: bool = False
    attempts: int = 0
    overtaken: int = 0


class Outbox:
    """Notifications in the order in which they were accepted. Thread-safe.

    Every accepted notification is synced to disk (SQLite, WAL) and removed when it was sent or dropped. A failure to
    write is in `error`, and does not lose what is in memory.

    Args:
        path: The file, created with its folder if missing.
        max_waiting: Largest number of notifications; beyond it, the oldest are dropped.
        max_age: Older ones are dropped.
        on_dropped: Called with the number of dropped ones and the reason, "outbox_full" or "expired".

    Raises:
        OutputError: The file cannot be opened, is in use by another process, or is not an outbox.
    """

    def __init__(
        self,
        path: Path,
        *,
        max_waiting: int,
        max_age: timedelta,
        on_dropped: Callable[[int, str], None] = lambda amount, reason: None,
    ) -> None:
        self.path = path
        self.error: OutputError | None = None
        self._max_waiting = max_waiting
        self._max_age = max_age
        self._on_dropped = on_dropped
        self._changed = threading.RLock()
        self._items: dict[int, Waiting] = {}
        self._next = 1
        self._gone: set[int] = set()
        self._connection: sqlite3.Connection | None = None
        self._lock = _locked(path)
        try:
            self._connection = _connect(path)
            self._load()
        except (sqlite3.Error, OSError) as error:
            self.close()
            raise error if isinstance(error, OutputError) else _failure(path, error) from error

    def __len__(self) -> int:
        return len(self._items)

    def add(self, notification: Notification) -> None:
        """Append a notification, and drop the oldest if there are too many."""
        with self._changed:
            item = Waiting(self._next, notification)
            self._next += 1
            self._items[item.number] = item
            excess = list(self._items)[: max(len(self._items) - self._max_waiting, 0)]
            for number in excess:
                self._forget(number)
            self.save()
        if excess:
            self._on_dropped(len(excess), "outbox_full")

    def heads(self) -> list[Waiting]:
        """The first notification of every event, oldest first: what may be sent next."""
        with self._changed:
            firsts: dict[str, Waiting] = {}
            for item in self._items.values():
                firsts.setdefault(item.notification.thread, item)
            return list(firsts.values())

    def remove(self, item: Waiting) -> None:
        """Remove a notification that was sent or dropped."""
        with self._changed:
            self._forget(item.number)
            self.save()

    def expire(self, now: datetime) -> None:
        """Drop what is too old."""
        with self._changed:
            old = [n for n, item in self._items.items() if now - item.notification.created_at > self._max_age]
            for number in old:
                self._forget(number)
            if old:
                self.save()
        if old:
            self._on_dropped(len(old), "expired")

    @property
    def is_saved(self) -> bool:
        """Whether the file has exactly what waits."""
        return not self._gone and all(item.is_saved for item in self._items.values())

    def save(self) -> None:
        """Bring the file up to date; a failure is kept in `error`, and the next call tries again."""
        with self._changed:
            try:
                self._save()
            except (sqlite3.Error, OSError) as error:
                failure = _failure(self.path, error)
                if self.error is None:
                    _log.error("%s; notifications are kept in memory (%s)", failure, failure.hint)
                self.error = failure
            else:
                if self.error is not None:
                    _log.warning("outbox %s can be written again", self.path)
                self.error = None

    def close(self) -> None:
        """Close the file, which keeps what was not sent."""
        with self._changed:
            if self._connection is not None:
                with suppress(sqlite3.Error):
                    self._connection.close()
                self._connection = None
        self._lock.release()

    def _forget(self, number: int) -> None:
        if self._items.pop(number).is_saved:
            self._gone.add(number)

    def _save(self) -> None:
        if not self.path.exists():  # deleted or moved away: all that waits goes to a new file
            if self._connection is not None:
                self._connection.close()
                self._connection = None
            self._gone.clear()
            for item in self._items.values():
                item.is_saved = False
        new = [item for item in self._items.values() if not item.is_saved]
        gone = [(number,) for number in self._gone]
        if not new and not gone:
            return
        if self._connection is None:
            self._connection = _connect(self.path)
        rows = [(item.number, item.notification.to_json()) for item in new]
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            self._connection.executemany("DELETE FROM notifications WHERE number = ?", gone)
            self._connection.executemany("INSERT INTO notifications (number, document) VALUES (?, ?)", rows)
            self._connection.execute("COMMIT")
        except sqlite3.Error:
            with suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise
        self._gone.clear()
        for item in new:
            item.is_saved = True

    def _load(self) -> None:
        assert self._connection is not None
        for number, document in self._connection.execute("SELECT number, document FROM notifications ORDER BY number"):
            self._next = int(number) + 1
            try:
                self._items[int(number)] = Waiting(int(number), Notification.from_json(document), is_saved=True)
            except ValueError as error:
                _log.warning("outbox %s: skipping notification %s, which cannot be read: %s", self.path, number, error)
                self._gone.add(int(number))


def _locked(path: Path) -> FileLock:
    lock = FileLock(f"{os.path.abspath(path)}.lock", blocking=False, thread_local=False, fallback_to_soft=False)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout as error:
        raise OutputError(
            f"outbox {path}: in use by another streamad process",
            hint="stop that process, or give each its own outbox folder",
        ) from error
    except OSError as error:
        raise _failure(path, error) from error
    return lock


def _connect(path: Path) -> sqlite3.Connection:
    path.parent.mkdir(parents=True, exist_ok=True)
    connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    try:
        application = int(connection.execute("PRAGMA application_id").fetchone()[0])
        tables = int(connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0])
        if application != APPLICATION_ID and (application != 0 or tables != 0):
            raise OutputError(
                f"outbox {path}: the file belongs to another program", hint="set another folder for the outbox"
            )
        version = int(connection.execute("PRAGMA user_version").fetchone()[0])
        if version > SCHEMA:
            raise OutputError(
                f"outbox {path}: the file has schema {version}, the newest supported is {SCHEMA}",
                hint="a newer streamad wrote it: use that version, or set another folder for the outbox",
            )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS notifications (number INTEGER PRIMARY KEY, document TEXT NOT NULL)"
        )
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    except (sqlite3.Error, OSError):
        connection.close()
        raise
    return connection


def _failure(path: Path, error: Exception) -> OutputError:
    if isinstance(error, OutputError):
        return error
    text = error.strerror or str(error) if isinstance(error, OSError) else str(error)
    hint = "check that the folder exists and is writable, and that the disk is not full"
    if "not a database" in text or "malformed" in text:
        hint = "move the file away; what waited in it is lost"
    return OutputError(f"outbox {path}: {text}", hint=hint)
