"""Marks: an operator's judgment of an event, in a table beside the events to which rows are only ever added.

The newest mark of an event decides; the earlier ones stay as an audit trail. A mark may be written and read while
`streamad run` holds the store: the write is one short transaction, for which SQLite makes either writer wait.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

from streamad.alerts.audit import AuditEntry, Authentication, insert_entry
from streamad.alerts.database import connect_existing, connect_reader, failure
from streamad.alerts.event import Event, utc_text
from streamad.calibration.false_alarms import FalseAlarm
from streamad.errors import UsageError

Verdict = Literal["false_alarm", "reviewed", "none"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

NEWEST_MARKS = (
    "SELECT event, verdict, author, at, note FROM marks WHERE number IN"
    " (SELECT max(number) FROM marks WHERE event IN (SELECT value FROM json_each(?)) GROUP BY event)"
)
"""Selects the newest mark of each event in a JSON list of ids."""

NEWEST_VERDICT = "SELECT verdict FROM marks WHERE event = events.id ORDER BY number DESC LIMIT 1"
"""Selects the newest verdict on a row of `events`."""

_OF_CAMERA = (
    " FROM marks JOIN events ON events.id = marks.event WHERE events.camera = ?"
    " AND marks.event IN (SELECT event FROM marks WHERE verdict = 'false_alarm')"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """One judgment.

    Attributes:
        event: Id of the event.
        verdict: "false_alarm", "reviewed", or "none", which withdraws the marks before it.
        by: Who judged.
        at: When, timezone-aware.
        note: Why, in words; None without a note.
    """

    event: str
    verdict: Verdict
    by: str
    at: datetime
    note: str | None = None

    def __post_init__(self) -> None:
        if self.verdict not in VERDICTS:
            raise UsageError(f"{self.verdict!r} is not a mark; use {', '.join(VERDICTS)}")
        if not self.by.strip():
            raise UsageError("a mark needs the name of who makes it")
        if self.at.utcoffset() is None:
            raise UsageError(f"a mark needs a timezone-aware time, got {self.at!r}")

    def to_dict(self) -> dict[str, Any]:
        """Convert the mark to JSON types, without the event's id."""
        return {"verdict": self.verdict, "by": self.by, "at": utc_text(self.at), "note": self.note}

    @classmethod
    def of_row(cls, row: tuple[Any, ...]) -> Mark:
        """Convert a row of event, verdict, author, time and note."""
        event, verdict, author, at, note = row
        return cls(event=event, verdict=verdict, by=author, at=datetime.fromisoformat(at), note=note)


def add_mark(path: Path, mark: Mark, *, authentication: Authentication = "command", address: str | None = None) -> None:
    """Add a mark to the trail of its event and to the audit trail, durably. `streamad run` may have the file open.

    Args:
        path: The file of the event store.
        mark: The mark.
        authentication: How the one who judged was recognized.
        address: Address of their client; None for a command.

    Raises:
        UsageError: There is no such event.
        OutputError: The file does not exist, is not an event store, or cannot be written.
    """
    try:
        with closing(connect_existing(path)) as connection:
            row = (mark.event, mark.verdict, mark.by, utc_text(mark.at), mark.note)
            connection.execute("BEGIN IMMEDIATE")
            added = connection.execute(
                "INSERT INTO marks (event, verdict, author, at, note) SELECT ?, ?, ?, ?, ?"
                " WHERE EXISTS (SELECT 1 FROM events WHERE id = ? AND type = 'anomaly')",
                (*row, mark.event),
            ).rowcount
            if added:
                detail = {"kind": mark.verdict.replace("_", "-"), "note": mark.note}
                entry = AuditEntry(
                    at=mark.at, who=mark.by, authentication=authentication, address=address, action="event.mark",
                    target=mark.event, detail=detail,
                )  # fmt: skip
                insert_entry(connection, entry)
            connection.execute("COMMIT")
    except sqlite3.Error as error:
        raise failure(path, error) from error
    if not added:
        raise UsageError(f"{path} has no event {mark.event}", hint=f"streamad events list {path}")


def read_marks(path: Path, event: str) -> list[Mark]:
    """Read all marks of an event, oldest first.

    Raises:
        OutputError: The file cannot be read.
    """
    statement = "SELECT event, verdict, author, at, note FROM marks WHERE event = ? ORDER BY number"
    return [Mark.of_row(row) for row in _read(path, statement, event)]


def newest_marks(path: Path, events: Iterable[str]) -> dict[str, Mark]:
    """Read the newest mark of each of these events, by id; events without a mark are missing.

    Raises:
        OutputError: The file cannot be read.
    """
    marks = [Mark.of_row(row) for row in _read(path, NEWEST_MARKS, json.dumps(list(events)))]
    return {mark.event: mark for mark in marks}


def false_alarms(path: Path, camera: str) -> tuple[FalseAlarm, ...]:
    """Read the events of a camera that are marked as false alarms now. Without a file there are none.

    Raises:
        OutputError: The file cannot be read.
    """
    statement = (
        f"SELECT events.document, marks.verdict{_OF_CAMERA}"  # noqa: S608 - no input is in it
        " AND marks.number IN (SELECT max(number) FROM marks GROUP BY event) ORDER BY marks.event"
    )
    found = []
    for document, verdict in _read(path, statement, camera):
        if verdict != "false_alarm":
            continue
        try:
            event = Event.from_json(str(document))
        except ValueError:  # the store reports unreadable events
            continue
        start, zero = event.started_pts_seconds, event.started_at.timestamp() - event.started_pts_seconds
        found.append(FalseAlarm(zero, start, start + event.duration_seconds))
    return tuple(found)


def false_alarms_changed_at(path: Path, camera: str) -> datetime | None:
    """Return when `false_alarms` changed last: by a mark, or by one that replaced or withdrew it; None if never.

    Raises:
        OutputError: The file cannot be read.
    """
    rows = _read(path, f"SELECT max(marks.at){_OF_CAMERA}", camera)
    return datetime.fromisoformat(rows[0][0]).astimezone(UTC) if rows and rows[0][0] is not None else None


def has_marks(connection: sqlite3.Connection) -> bool:
    """Return whether the file has the table; an earlier version made none."""
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'marks'").fetchone() is not None


def _read(path: Path, statement: str, parameter: str) -> list[tuple[Any, ...]]:
    """Query a file that another process may have open; no rows if it is missing or has no marks yet."""
    if not path.exists():
        return []
    try:
        with closing(connect_reader(path)) as connection:
            return connection.execute(statement, (parameter,)).fetchall() if has_marks(connection) else []
    except sqlite3.Error as error:
        raise failure(path, error) from error
