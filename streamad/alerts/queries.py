"""The statements that select one page of events, and that count them, without reading more rows than needed.

A page without a severity or mark is a range of one index. With them, every combination that fits is a range of another
index, and the page is merged from as many rows of each. Totals come from counts per day that triggers maintain
(`streamad.alerts.database`), less what lies outside the range on its first and last day.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import product
from typing import get_args

from streamad.alerts.event import utc_text
from streamad.alerts.marks import VERDICTS, Verdict
from streamad.alerts.state_machine import Severity
from streamad.errors import UsageError

Statement = tuple[str, tuple[object, ...]]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)


@dataclass(frozen=True, slots=True)
class EventFilter:
    """Which events a query is about; by default all.

    Attributes:
        camera: Only events of this camera.
        since: Only events that started at or after this time (timezone-aware).
        until: Only events that started before this time (timezone-aware).
        severity: Only events of this severity.
        marks: Only events whose newest mark is one of these; "none" stands for no mark and for a withdrawn one. Empty:
            whatever their mark.

    Raises:
        UsageError: A time has no time zone.
    """

    camera: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    severity: Severity | None = None
    marks: frozenset[Verdict] = field(default_factory=frozenset)

    def __post_init__(self) -> None:
        for name, moment in (("since", self.since), ("until", self.until)):
            if moment is not None and moment.utcoffset() is None:
                raise UsageError(
                    f"{name} must be a timezone-aware datetime, got {moment!r}", hint="add a time zone, e.g. +00:00"
                )

    @property
    def start(self) -> str:
        """`since` as the database has it."""
        return "" if self.since is None else utc_text(self.since)

    @property
    def end(self) -> str | None:
        """`until` as the database has it."""
        return None if self.until is None else utc_text(self.until)

    def fits(self, camera: str, started_at: datetime, severity: str, mark: Verdict) -> bool:
        """Whether an event with these values is selected."""
        started = utc_text(started_at)
        return (
            self.camera in (None, camera)
            and self.start <= started
            and (self.end is None or started < self.end)
            and self.severity in (None, severity)
            and (not self.marks or mark in self.marks)
        )


def page_query(kind: str, wanted: EventFilter, after: tuple[str, str] | None, limit: int) -> Statement:
    """Build the statement that selects one page, newest first, as (id, started_at, document).

    Args:
        kind: "anomaly" or "health".
        wanted: Which events.
        after: (started_at, id) of the event that the page comes after.
        limit: Number of rows.
    """
    order = "ORDER BY started_at DESC, id DESC LIMIT ?"
    ranges = list(_ranges(kind, wanted, after))
    if len(ranges) == 1:
        where, parameters = ranges[0]
        return f"SELECT id, started_at, document FROM events WHERE {where} {order}", (*parameters, limit)  # noqa: S608
    parts = " UNION ALL ".join(
        f"SELECT * FROM (SELECT id, started_at FROM events WHERE {where} {order})"  # noqa: S608
        for where, _ in ranges
    )
    # Documents are read only for the rows of the page.
    statement = (
        f"SELECT id, started_at, (SELECT document FROM events WHERE id = page.id) FROM ({parts}) AS page {order}"  # noqa: S608
    )
    return statement, (*(value for _, parameters in ranges for value in (*parameters, limit)), limit)


def _ranges(kind: str, wanted: EventFilter, after: tuple[str, str] | None) -> Iterator[Statement]:
    ends, limits = " AND started_at >= ?", [wanted.start]
    if wanted.end is not None and after is not None and wanted.end <= after[0]:
        after = wanted.end, ""  # one upper bound, so that the index has both ends of the range
    if after is not None:
        ends, limits = ends + " AND (started_at, id) < (?, ?)", [*limits, *after]
    elif wanted.end is not None:
        ends, limits = ends + " AND started_at < ?", [*limits, wanted.end]
    for where, parameters in _judgments(kind, wanted):
        yield where + ends, (*parameters, *limits)


def _judgments(kind: str, wanted: EventFilter) -> Iterator[Statement]:
    """The conditions of all combinations of severity and mark that are wanted; one without either if all are."""
    where, parameters = "type = ?", [kind]
    if wanted.camera is not None:
        where, parameters = where + " AND camera = ?", [*parameters, wanted.camera]
    if wanted.severity is None and not wanted.marks:
        yield where, tuple(parameters)
        return
    severities = SEVERITIES if wanted.severity is None else (wanted.severity,)
    for severity, mark in product(severities, sorted(wanted.marks) or VERDICTS):
        yield f"{where} AND severity = ? AND mark = ?", (*parameters, severity, mark)


def count_query(kind: str, wanted: EventFilter, ids: list[str]) -> Statement:
    """Build the statement that selects two numbers of one moment: of the events, and of those of them with these ids.

    Args:
        kind: "anomaly" or "health".
        wanted: Which events.
        ids: Ids to count apart.
    """
    start, end = wanted.start, wanted.end
    if end is not None and end <= start:
        return "SELECT 0, 0", ()
    first, last = start[:10], "~" if end is None else end[:10]
    totals, known, values, counted = [], [], list[object](), list[object]()
    outside = [(first, start)] * bool(start) + ([] if end is None else [(end, f"{last}~")])
    for where, parameters in _judgments(kind, wanted):
        total = f"(SELECT coalesce(sum(events), 0) FROM event_totals WHERE {where} AND day >= ? AND day <= ?)"  # noqa: S608
        values += [*parameters, first, last]
        for edge in outside:
            total += f" - (SELECT count(*) FROM events WHERE {where} AND started_at >= ? AND started_at < ?)"  # noqa: S608
            values += [*parameters, *edge]
        totals.append(total)
        known.append(
            # A cross join is read from the left: each id is looked up.
            "(SELECT count(*) FROM json_each(?) AS ids CROSS JOIN events ON events.id = ids.value"  # noqa: S608
            f" WHERE {where.replace('type', 'events.type', 1)} AND started_at >= ? AND started_at < ?)"
        )
        counted += [json.dumps(ids), *parameters, start, end or "~"]
    return f"SELECT {' + '.join(totals)}, {' + '.join(known) if ids else '0'}", (*values, *(counted if ids else ()))
