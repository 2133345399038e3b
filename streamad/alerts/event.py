"""Event: one anomaly as it is stored, sent, and displayed."""

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
    """Create a ULID: 26 characters that sort by the millisecond of `at`, then by 80 random bits
    (https://github.com/ulid/spec).
    """
    # A clock before 1970 gives valid ids that do not sort.
    value = (max(0, int(at.timestamp() * 1000)) << 80) | secrets.randbits(80)
    return "".join(_CROCKFORD[(value >> shift) & 31] for shift in range(125, -1, -5))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One anomaly of one camera, from its first anomalous frame to its end.

    All wall-clock times are timezone-aware and in UTC; all `pts_seconds` count from the source's first frame.

    Attributes:
        id: Unique id that sorts by time of creation.
        camera: The camera's id.
        state: "open", "closed", or "interrupted" if the process died while the event was open.
        severity: "warning" or "critical".
        started_index: Index of the first frame over the threshold.
        started_pts_seconds: Its presentation time.
        started_at: Wall-clock time at that frame.
        raised_index: Index of the frame at which the alert was raised, `min_duration_seconds` later.
        raised_pts_seconds: Its presentation time.
        updated_index: Index of the newest frame that the event covers.
        updated_pts_seconds: Its presentation time.
        updated_at: Wall-clock time of the last change.
        ended_index: Index of the first frame below the release score, or of the last scored frame if the stream broke
            off; None while open.
        ended_pts_seconds: Its presentation time.
        ended_at: Wall-clock time at which the end was noticed.
        peak_score: Highest displayed score: calibrated, or raw if the camera has only a threshold.
        peak_index: Index of the frame with that score.
        peak_pts_seconds: Its presentation time.
        threshold: The threshold, on the same scale.
        cell: (row, col) of the highest cell of the anomaly map at the peak; None if the detector does not localize.
        box: (x0, y0, x1, y1) of that cell in pixels of the source's frame, x1 and y1 exclusive.
        model: Name of the model bundle.
        model_sha256: SHA-256 of its weights.
        reason: Why the event changed last: "score", "escalated", "reopened", "progress", "gap", "end",
            "inactive", "reconfigured" or "process_died".
        explanation: What is unusual at the peak, as text; None if the detector does not explain its scores.
        zone: Name of the include zone that holds that cell; None if it is in none.

    Raises:
        ValueError: A number is not finite, or a time has no time zone.
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
    zone: str | None = None

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"Event.{item.name} must be finite, got {value}")
            if isinstance(value, datetime) and value.utcoffset() is None:
                raise ValueError(f"Event.{item.name} must be a timezone-aware datetime, got {value!r}")

    @property
    def duration_seconds(self) -> float:
        """Seconds from the first anomalous frame to the end, or to the newest known frame."""
        end = self.updated_pts_seconds if self.ended_pts_seconds is None else self.ended_pts_seconds
        return end - self.started_pts_seconds

    def to_dict(self) -> dict[str, Any]:
        """Convert the event to JSON types, keys in the order of the attributes."""
        document = {item.name: getattr(self, item.name) for item in fields(self)}
        for name in _DATETIMES:
            document[name] = None if document[name] is None else utc_text(document[name])
        for name in _TUPLES:
            document[name] = None if document[name] is None else list(document[name])
        return document

    def to_json(self) -> str:
        """Convert the event to one line of JSON; every event has the same keys in the same order."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Event:
        """Parse an event written by `to_json`.

        Raises:
            ValueError: The text is not such a document, or a value has another type.
        """
        return _READER.validate_json(text)


_READER = TypeAdapter(Event)


def utc_text(moment: datetime) -> str:
    """Format a time as ISO 8601 in UTC with microseconds. The width is fixed, so texts sort like the times.

    A time that UTC cannot express (the first or last hours of the calendar in another zone) becomes the nearest one
    that it can.
    """
    try:
        moment = moment.astimezone(UTC)
    except OverflowError:
        moment = (datetime.min if moment.year == 1 else datetime.max).replace(tzinfo=UTC)
    return moment.isoformat(timespec="microseconds")
