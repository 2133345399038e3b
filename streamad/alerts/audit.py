"""The audit trail: who changed what, and when, in a table beside the events to which rows are only ever added."""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Literal

from streamad.alerts.database import WriterLock, connect, connect_existing, connect_reader, failure
from streamad.alerts.event import utc_text
from streamad.errors import OutputError, UsageError

Authentication = Literal["none", "session", "token", "proxy", "command"]
"""How the one who acted was recognized; "command": by the login name on the command line."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """One change.

    Attributes:
        at: When, timezone-aware.
        who: Name of the user or token.
        authentication: How they were recognized.
        address: Address of the client; None for a command.
        action: What was done: "event.mark", "login", "logout", "user.add", "config.reload", …
        target: What it was done to: the id of an event, the name of a user or camera; None if the action says it.
        detail: Further values of JSON types.
    """

    at: datetime
    who: str
    authentication: Authentication
    address: str | None = None
    action: str
    target: str | None = None
    detail: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """Convert the entry to JSON types."""
        return {
            "at": utc_text(self.at), "who": self.who, "authentication": self.authentication, "address": self.address,
            "action": self.action, "target": self.target, "detail": dict(self.detail),
        }  # fmt: skip


def insert_entry(connection: sqlite3.Connection, entry: AuditEntry) -> None:
    """Add an entry in the transaction of the change that it is about."""
    row = entry.to_dict() | {"detail": json.dumps(dict(entry.detail), ensure_ascii=False)}
    connection.execute(
        "INSERT INTO audit (at, who, authentication, address, action, target, detail)"
        " VALUES (:at, :who, :authentication, :address, :action, :target, :detail)",
        row,
    )


def record_change(path: Path, entry: AuditEntry) -> bool:
    """Add an entry for a change that has happened. `streamad run` may have the file open.

    Args:
        path: The file of the event store, created if it is missing.
        entry: The entry.

    Returns:
        Whether it was stored. If the file cannot be written, the entry goes to the log.
    """
    try:
        if not path.exists():
            lock = WriterLock(path)
            try:
                connect(path).close()
            finally:
                lock.release()
        with closing(connect_existing(path)) as connection:
            insert_entry(connection, entry)
    except (OutputError, sqlite3.Error) as error:
        known = error if isinstance(error, OutputError) else failure(path, error)
        text = json.dumps(entry.to_dict(), ensure_ascii=False)
        _log.error("the audit trail lacks an entry (%s): %s", known, text)
        return False
    return True


def read_audit(
    path: Path,
    *,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int = 100,
    cursor: str | None = None,
) -> tuple[list[AuditEntry], str | None]:
    """Read the newest entries first, and the cursor of the next page; None on the last one.

    Args:
        path: The file of the event store; without one, there are no entries.
        since: Only entries of this time and later.
        until: Only entries before this time.
        limit: Largest number of entries.
        cursor: What came with the page before.

    Raises:
        UsageError: The cursor is not one.
        OutputError: The file cannot be read.
    """
    if cursor is not None and not (cursor.isdecimal() and cursor.isascii() and len(cursor) < 19):
        raise UsageError(f"{cursor!r} is not a cursor", hint="it is `next` of the page before")
    wanted = {
        "number < ?": None if cursor is None else int(cursor),
        "at >= ?": None if since is None else utc_text(since),
        "at < ?": None if until is None else utc_text(until),
    }
    where = " AND ".join(["1", *(key for key, value in wanted.items() if value is not None)])
    statement = (
        "SELECT number, at, who, authentication, address, action, target, detail FROM audit"  # noqa: S608
        f" WHERE {where} ORDER BY number DESC LIMIT ?"
    )
    if not path.exists():
        return [], None
    try:
        with closing(connect_reader(path)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'audit'").fetchone() is None:
                return [], None
            values = [value for value in wanted.values() if value is not None]
            rows = connection.execute(statement, (*values, limit + 1)).fetchall()
    except sqlite3.Error as error:
        raise failure(path, error) from error
    entries = [
        AuditEntry(
            at=datetime.fromisoformat(at), who=who, authentication=how, address=address, action=action, target=target,
            detail=json.loads(detail),
        )
        for _, at, who, how, address, action, target, detail in rows[:limit]
    ]  # fmt: skip
    return entries, str(rows[limit - 1][0]) if len(rows) > limit else None


def note_token_use(path: Path, token: str, at: datetime) -> None:
    """Store when a token was used last. A file that cannot be written is no error: the time is for information."""
    try:
        with closing(connect_existing(path)) as connection:
            connection.execute("INSERT OR REPLACE INTO token_uses VALUES (?, ?)", (token, utc_text(at)))
    except (OutputError, sqlite3.Error) as error:
        _log.debug("cannot note the use of a token: %s", error)


def token_uses(path: Path) -> dict[str, datetime]:
    """Read when each token was used last, by id; those never used are missing."""
    if not path.exists():
        return {}
    try:
        with closing(connect_reader(path)) as connection:
            if connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'token_uses'").fetchone() is None:
                return {}
            rows = connection.execute("SELECT token, at FROM token_uses").fetchall()
    except sqlite3.Error as error:
        raise failure(path, error) from error
    return {token: datetime.fromisoformat(at) for token, at in rows}
