"""Event: one anomaly as it is stored, sent and shown."""

from __future__ import annotations

import json
import math
import secrets
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from typing import Any, Literal

from pydantic import TypeAdapter

from streamad.alerts.state_machine import Severity

EventState = Literal["open", "closed", "interrupted"]
EventKind = Literal["opened", "updated", "closed"]

_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
_DATETIMES = ("started_at", "updated_at", "ended_at")
_TUPLES = ("cell", "box")


def new_event_id(at: datetime) -> str:
    """A ULID: 26 characters that sort by the millisecond of `at`, then by 80 random bits
    (https://github.com/ulid/spec).
    """
    # A clock that stands before 1970 gives ids that do not sort, but valid ones.
    value = (max(0, int(at.timestamp() * 1000)) << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One anomaly of one camera, from its first anomalous frame to its end.

    All times of the wall clock are aware and in UTC; all `pts_seconds` count from the source's first frame.

    Attributes:
        id: unique, sorts by time of creation.
        camera: the configured id.
        state: "open", "closed", or "interrupted" where the process died while the event was open.
        severity: "warning" or "critical".
        started_index: first frame over the threshold.
        started_pts_seconds: its presentation time.
        started_at: the wall clock then.
        raised_index: the frame at which the alert was raised, `min_duration_seconds` later.
        raised_pts_seconds: its presentation time.
        updated_index: newest frame that the event knows of.
        updated_pts_seconds: its presentation time.
        updated_at: wall clock of the last change.
        ended_index: first frame under the release, or the last scored one where the stream broke off; None
            while open.
        ended_pts_seconds: its presentation time.
        ended_at: wall clock when the end was noticed.
        peak_score: highest score, as people see it: calibrated, or raw where the camera has a bare threshold.
        peak_index: its frame.
        peak_pts_seconds: its presentation time.
        threshold: the threshold, on the same scale.
        cell: (row, col) of the heat map's highest cell at the peak; None where the detector localizes
            nothing.
        box: (x0, y0, x1, y1) of that cell in pixels of the source's frame, x1 and y1 exclusive.
        model: name of the model bundle.
        model_sha256: hash of its weights.
        reason: why it changed last: "score", "escalated", "reopened", "progress", "gap", "end" or
            "process_died".
        explanation: what is unusual at the peak, in words; None where the detector gives none.

    Raises:
        ValueError: a number is not finite or a time has no zone.
    """

    id: str
    camera: str
    state: EventState
    severity: Severity
    started_index: int
    started_pts_seconds: float
    started_at: datetime
    raised_index: int
    raised_pts_seconds: float
    updated_index: int
    updated_pts_seconds: float
    updated_at: datetime
    ended_index: int | None = None
    ended_pts_seconds: float | None = None
    ended_at: datetime | None = None
    peak_score: float
    peak_index: int
    peak_pts_seconds: float
    threshold: float
    cell: tuple[int, int] | None = None
    box: tuple[int, int, int, int] | None = None
    model: str
    model_sha256: str
    reason: str
    explanation: str | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"Event.{item.name} must be finite, got {value}")
            if isinstance(value, datetime) and value.utcoffset() is None:
                raise ValueError(f"Event.{item.name} must be an aware datetime, got {value!r}")

    @property
    def duration_seconds(self) -> float:
        """Seconds from the first anomalous frame to the end, or to the newest frame known."""
        end = self.updated_pts_seconds if self.ended_pts_seconds is None else self.ended_pts_seconds
        return end - self.started_pts_seconds

    def to_dict(self) -> dict[str, Any]:
        """The event as JSON types, keys in the order of the attributes."""
        document = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in _DATETIMES:
            document[name] = None if document[name] is None else utc_text(document[name])
        for name in _TUPLES:
            document[name] = None if document[name] is None else list(document[name])
        return document

    def to_json(self) -> str:
        """One line of JSON, the same keys in the same order for every event."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Event:
        """The event that `to_json` wrote.

        Raises:
            ValueError: the text is no such document, or a value has another type.
        """
        return _READER.validate_json(text)


_READER = TypeAdapter(Event)


def utc_text(moment: datetime) -> str:
    """ISO 8601 in UTC with microseconds: of fixed width, so texts sort as the moments do.

    A moment that UTC cannot express (the first or last hours of the calendar in another zone) becomes the nearest one
    that it can.
    """
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = (datetime.min if moment.year == 1 else datetime.max).replace(tzinfo=UTC)
    return moment.isoformat(timespec="microseconds")
