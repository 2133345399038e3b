"""Health events: what was wrong with a camera's picture, and when. They are not anomalies and never count as such."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any, ClassVar, Literal

from pydantic import TypeAdapter

from streamad.alerts.event import EventKind, EventState, new_event_id, utc_text

_DATETIMES = ("started_at", "updated_at", "ended_at")
_SLACK_SECONDS = 1e-6

PROGRESS_SECONDS = 5.0
"""An open event is saved this often, so that after a kill its stored state is at most this old."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthEvent:
    """A period in which a camera's frames were rejected, or its scores had drifted, from the first such frame to the
    last.

    Attributes:
        id: Unique id that sorts by time of creation.
        camera: The camera's id.
        topic: "quality" (frames rejected), "drift", or "fault" (the camera was given up: its frames cannot be scored).
        state: "open", "closed", or "interrupted" if the process died while the event was open.
        reason: The current or most recent fault: "frozen", "moved", … (docs/concepts/frame-quality.md), "drift", or why
            the camera was given up.
        reasons: All faults so far, in order of appearance.
        message: Description of the fault, with advice.
        started_index: Index of the first rejected frame.
        started_pts_seconds: Its presentation time.
        started_at: Wall-clock time at that frame (UTC, timezone-aware).
        updated_index: Index of the newest rejected frame.
        updated_pts_seconds: Its presentation time.
        updated_at: Wall-clock time of the last change.
        ended_pts_seconds: Presentation time of the first good frame afterward; None while open.
        ended_at: Wall-clock time at which the end was noticed.
        frames: Number of frames rejected so far.

    Raises:
        ValueError: A number is not finite, or a time has no time zone.
    """

    type: ClassVar[Literal["health"]] = "health"

    id: str
    camera: str
    topic: Literal["quality", "drift", "fault"] = "quality"
    state: EventState
    reason: str
    reasons: tuple[str, ...]
    message: str
    started_index: int
    started_pts_seconds: float
    started_at: datetime
    updated_index: int
    updated_pts_seconds: float
    updated_at: datetime
    ended_pts_seconds: float | None = None
    ended_at: datetime | None = None
    frames: int

    def __post_init__(self) -> None:
        for item in fields(self):
            value = getattr(self, item.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"HealthEvent.{item.name} must be finite, got {value}")
            if isinstance(value, datetime) and value.utcoffset() is None:
                raise ValueError(f"HealthEvent.{item.name} must be a timezone-aware datetime, got {value!r}")

    @property
    def duration_seconds(self) -> float:
        """Seconds from the first rejected frame to the end, or to the newest known frame."""
        end = self.updated_pts_seconds if self.ended_pts_seconds is None else self.ended_pts_seconds
        return end - self.started_pts_seconds

    def to_dict(self) -> dict[str, Any]:
        """Convert the event to JSON types; `type` is "health"."""
        document: dict[str, Any] = {"type": self.type}
        document |= {item.name: getattr(self, item.name) for item in fields(self)}
        for name in _DATETIMES:
            document[name] = None if document[name] is None else utc_text(document[name])
        document["reasons"] = list(self.reasons)
        return document

    def to_json(self) -> str:
        """Convert the event to one line of JSON; every event has the same keys in the same order."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> HealthEvent:
        """Parse an event written by `to_json`.

        Raises:
            ValueError: The text is not such a document, or a value has another type.
        """
        return _READER.validate_json(text)


_READER = TypeAdapter(HealthEvent)


@dataclass(frozen=True, slots=True)
class HealthChange:
    """A health event and what happened to it."""

    event: HealthEvent
    kind: EventKind
    is_progress: bool = False


class HealthTracker:
    """Turns the quality gate's verdicts on one camera's frames into events.

    An event opens after frames have been rejected for `open_seconds` (with pauses shorter than `close_seconds`) and
    closes after good frames for `close_seconds`, so that flickering gives a single event. Its reason is the current
    fault.

    Args:
        camera: The camera's id.
        words: Returns the message for a reason.
        open_seconds: See above.
        close_seconds: See above.
        wall_clock: Returns timezone-aware datetimes; they affect no decision.
    """

    def __init__(
        self,
        camera: str,
        words: Callable[[str], str],
        *,
        open_seconds: float,
        close_seconds: float,
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._camera = camera
        self._words = words
        self._open_seconds = open_seconds
        self._close_seconds = close_seconds
        self._wall_clock = wall_clock
        self._event: HealthEvent | None = None
        self._first: tuple[int, float] | None = None
        self._last = (0, 0.0)
        self._good_since: float | None = None
        self._held = 0
        self._reasons: list[str] = []
        self._saved = 0.0

    @property
    def open_event(self) -> HealthEvent | None:
        """The event that is currently open."""
        return self._event

    def update(self, index: int, pts_seconds: float, reason: str | None) -> HealthChange | None:
        """Process the verdict on the next frame; `reason` is None if the frame is good."""
        if self._first is not None and pts_seconds < self._last[1]:
            change = self._end(self._last[1])  # a new time base
            if change is not None:
                return change
        if reason is None:
            return self._good(pts_seconds)
        self._good_since = None
        if self._first is None:
            self._first, self._held, self._reasons = (index, pts_seconds), 0, []
        self._held += 1
        self._last = index, pts_seconds
        if self._event is None:
            if reason not in self._reasons:
                self._reasons.append(reason)
            if pts_seconds - self._first[1] < self._open_seconds - _SLACK_SECONDS:
                return None
            return self._open(reason)
        if reason != self._event.reason:
            return self._update(reason)
        if pts_seconds - self._saved >= PROGRESS_SECONDS:
            return replace(self._update(reason), is_progress=True)
        return None

    def finish(self) -> HealthChange | None:
        """Process the end of the source."""
        return self._end(self._last[1])

    def _good(self, pts_seconds: float) -> HealthChange | None:
        if self._first is None:
            return None
        self._good_since = pts_seconds if self._good_since is None else self._good_since
        if pts_seconds - self._good_since < self._close_seconds - _SLACK_SECONDS:
            return None
        return self._end(self._good_since)

    def _open(self, reason: str) -> HealthChange:
        assert self._first is not None
        now = self._wall_clock()
        lead = timedelta(seconds=self._last[1] - self._first[1])
        self._saved = self._last[1]
        self._event = HealthEvent(
            id=new_event_id(now), camera=self._camera, state="open", reason=reason, reasons=tuple(self._reasons),
            message=self._words(reason), started_index=self._first[0], started_pts_seconds=self._first[1],
            started_at=now - lead, updated_index=self._last[0], updated_pts_seconds=self._last[1], updated_at=now,
            frames=self._held,
        )  # fmt: skip
        return HealthChange(self._event, "opened")

    def _update(self, reason: str) -> HealthChange:
        assert self._event is not None
        seen = self._event.reasons if reason in self._event.reasons else (*self._event.reasons, reason)
        self._saved = self._last[1]
        self._event = replace(
            self._event, reason=reason, reasons=seen, message=self._words(reason), updated_index=self._last[0],
            updated_pts_seconds=self._last[1], updated_at=self._wall_clock(), frames=self._held,
        )  # fmt: skip
        return HealthChange(self._event, "updated")

    def _end(self, at: float) -> HealthChange | None:
        event, self._event, self._first, self._good_since = self._event, None, None, None
        if event is None:
            return None
        now = self._wall_clock()
        event = replace(
            event, state="closed", updated_index=self._last[0], updated_pts_seconds=self._last[1], updated_at=now,
            ended_pts_seconds=at, ended_at=now, frames=self._held,
        )  # fmt: skip
        return HealthChange(event, "closed")
