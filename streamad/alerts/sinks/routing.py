"""Routing: which changes of events a receiver is notified of, quiet hours, and the rate limit.

A receiver is notified of an event's end if, and only if, it was notified of the event before. Events that quiet hours
or the rate limit suppress are counted, and one summary is sent when that is allowed again. The event store has all of
them.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from streamad.alerts.event import Event, EventKind
from streamad.alerts.sinks.notification import Notification, of_event, summary
from streamad.alerts.state_machine import Severity
from streamad.alerts.store import AnyEvent
from streamad.hours import Hours, TimeZoneName, zone

Why = Literal["quiet hours", "rate limit"]
Changes = Literal["all", "open_close", "opened"]
CHANGES = (
    "all: every change; open_close: start and end; opened: the start. That an alert becomes critical is always sent"
)


class QuietHours(Hours):
    """A time of the day in which a receiver is only notified of what cannot wait."""

    except_severities: tuple[Severity, ...] = Field(
        ("critical",), description="alerts of these severities are sent all the same"
    )


class RateLimit(BaseModel):
    """The largest number of events that a receiver is notified of in a period."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    events: int = Field(ge=1, le=10_000, description="largest number of events; their changes and ends do not count")
    seconds: float = Field(600.0, gt=0, le=86_400, description="length of the time, seconds")


class Routing(BaseModel):
    """The settings that decide what a receiver is told; common to all sinks that notify."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    cameras: tuple[str, ...] = Field((), description="ids of the cameras that it is notified of; empty: all")
    severities: tuple[Severity, ...] = Field(
        ("warning", "critical"),
        min_length=1,
        description="severities of alerts that it is notified of; with `critical` alone, an alert that becomes "
        "critical counts as new",
    )
    types: tuple[Literal["anomaly", "health"], ...] = Field(
        ("anomaly", "health"), min_length=1, description="anomaly: alerts; health: faults of a camera or its picture"
    )
    changes: Changes = Field("all", description=CHANGES)
    time_zone: TimeZoneName = Field(
        None,
        description="time zone of quiet hours and of times in messages, such as Europe/Berlin; empty: the machine's",
    )
    quiet_hours: tuple[QuietHours, ...] = Field(
        (), description="times of the day in which only critical alerts are sent"
    )
    rate_limit: RateLimit | None = Field(None, description="most events in a time; the others are summarized")


class Router:
    """Decides what one receiver is told, in the order in which events change. Thread-safe.

    Args:
        routing: The settings.
        on_suppressed: Called with the reason for each event that is left to a summary.
        clock: Monotonic seconds.
        wall_clock: Returns timezone-aware datetimes.
    """

    def __init__(
        self,
        routing: Routing,
        *,
        on_suppressed: Callable[[Why], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._routing = routing
        self._zone = zone(routing.time_zone)
        self._on_suppressed = on_suppressed
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = threading.Lock()
        self._told: dict[str, Severity | None] = {}
        self._sent: deque[float] = deque()
        self._suppressed: dict[Why, Counter[str]] = {}
        self._suppressed_ids: set[str] = set()
        self._since: dict[Why, datetime] = {}

    def use(self, routing: Routing) -> None:
        """Decide by other settings from now on."""
        with self._lock:
            self._routing, self._zone = routing, zone(routing.time_zone)

    def route(self, event: AnyEvent, kind: EventKind) -> Notification | None:
        """Return the notification of a change; None if the receiver is not notified of it."""
        with self._lock:
            return of_event(event, kind, self._wall_clock(), self._zone) if self._is_sent(event, kind) else None

    def summary(self, *, at_end: bool = False) -> Notification | None:
        """Return a summary of suppressed events if it may be sent now, or at the end of the program in any case."""
        with self._lock:
            now = self._wall_clock()
            for why, amounts in list(self._suppressed.items()):
                if not at_end and (self._is_quiet(now) if why == "quiet hours" else not self._has_room()):
                    continue
                if why == "rate limit" and not at_end:
                    self._sent.append(self._clock())
                del self._suppressed[why]
                return summary(amounts, self._since.pop(why), now, why, self._zone)
        return None

    def _is_sent(self, event: AnyEvent, kind: EventKind) -> bool:
        routing, severity = self._routing, event.severity if isinstance(event, Event) else None
        if routing.cameras and event.camera not in routing.cameras:
            return False
        if ("anomaly" if isinstance(event, Event) else "health") not in routing.types:
            return False
        if event.state == "interrupted":  # of a process that died, so what the receiver was notified of is not known
            return routing.changes != "opened" and (severity is None or severity in routing.severities)
        if kind == "closed":
            self._suppressed_ids.discard(event.id)
            was_told = event.id in self._told
            self._told.pop(event.id, None)
            return was_told and routing.changes != "opened"
        if severity is not None and severity not in routing.severities:
            return False
        if event.id in self._told:
            is_escalated = severity is not None and self._told[event.id] != severity
            self._told[event.id] = severity
            return is_escalated or (routing.changes == "all" and kind == "updated")
        # The first change that the receiver may be notified of.
        why = self._obstacle(severity)
        if why is not None:
            if event.id not in self._suppressed_ids:
                self._suppressed_ids.add(event.id)
                self._suppressed.setdefault(why, Counter())[event.camera] += 1
                self._since.setdefault(why, event.started_at)
                self._on_suppressed(why)
            return False
        if event.id in self._suppressed_ids and kind == "updated" and severity != "critical":
            return False  # its summary stands for it
        self._told[event.id] = severity
        self._sent.append(self._clock())
        return True

    def _obstacle(self, severity: Severity | None) -> Why | None:
        if self._is_quiet(self._wall_clock(), severity):
            return "quiet hours"
        return None if self._has_room() else "rate limit"

    def _is_quiet(self, now: datetime, severity: Severity | None = None) -> bool:
        return any(
            hours.covers(now, self._zone) and severity not in hours.except_severities
            for hours in self._routing.quiet_hours
        )

    def _has_room(self) -> bool:
        limit = self._routing.rate_limit
        if limit is None:
            self._sent.clear()
            return True
        oldest = self._clock() - limit.seconds
        while self._sent and self._sent[0] <= oldest:
            self._sent.popleft()
        return len(self._sent) < limit.events
