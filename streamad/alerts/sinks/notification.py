"""Notification: one message to one receiver, as it waits in the outbox and is sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from pathlib import Path
from typing import Any, Literal

from streamad.alerts.event import Event, EventKind, new_event_id, utc_text
from streamad.alerts.health import HealthEvent
from streamad.alerts.store import AnyEvent
from streamad.formatting import counted, number, readable, span
from streamad.redaction import redact

NotificationKind = Literal["opened", "updated", "closed", "summary", "test"]

_HEALTH_TOPICS = {"quality": "picture rejected", "drift": "scores have drifted", "fault": "camera given up"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Notification:
    """What one receiver is told.

    Attributes:
        id: Unique; the same at every attempt, so that a receiver can drop duplicates.
        kind: What happened to the event; "summary" of suppressed events; "test".
        created_at: When it was accepted for sending (UTC, timezone-aware).
        subject: One line for a person.
        text: The whole message for a person.
        event: The event; None for summaries and tests.
        picture: A JPEG file that shows the event; None if there is none.
    """

    id: str
    kind: NotificationKind
    created_at: datetime
    subject: str
    text: str
    event: AnyEvent | None = None
    picture: Path | None = None

    @property
    def thread(self) -> str:
        """What is delivered in order: the id of the event, or of the notification if it has none."""
        return self.id if self.event is None else self.event.id

    @property
    def camera(self) -> str | None:
        """The camera's id; None for summaries and tests."""
        return None if self.event is None else self.event.camera

    @property
    def type(self) -> Literal["anomaly", "health", "summary", "test"]:
        """The type of the event, or the kind of a notification without one."""
        if self.event is None:
            return "test" if self.kind == "test" else "summary"
        return "health" if isinstance(self.event, HealthEvent) else "anomaly"

    @property
    def severity(self) -> str | None:
        """The severity of an anomaly."""
        return self.event.severity if isinstance(self.event, Event) else None

    def with_picture(self, picture: Path | None) -> Notification:
        """Return the notification with a picture."""
        return replace(self, picture=picture)

    def to_dict(self) -> dict[str, Any]:
        """The document that receivers get (docs/reference/alerts.md); it does not say where the picture lies."""
        return {
            "id": self.id,
            "kind": self.kind,
            "type": self.type,
            "created_at": utc_text(self.created_at),
            "subject": self.subject,
            "text": self.text,
            "event": None if self.event is None else self.event.to_dict(),
        }

    def to_json(self) -> str:
        """The document as one line of JSON."""
        return json.dumps(self.to_dict(), ensure_ascii=False, allow_nan=False, separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Notification:
        """Parse what `to_json` wrote.

        Raises:
            ValueError: The text is not such a document.
        """
        try:
            document = json.loads(text)
            event = document["event"]
            if event is not None:
                kind = HealthEvent if document["type"] == "health" else Event
                event = kind.from_json(json.dumps({key: value for key, value in event.items() if key != "type"}))
            return cls(
                id=document["id"],
                kind=document["kind"],
                created_at=datetime.fromisoformat(document["created_at"]),
                subject=document["subject"],
                text=document["text"],
                event=event,
            )
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"not a notification: {error!r}") from error


def of_event(event: AnyEvent, kind: EventKind, now: datetime, zone: tzinfo | None) -> Notification:
    """Create the notification of a change of an event.

    Args:
        event: The event.
        kind: What happened to it.
        now: The present time (UTC).
        zone: Time zone of the times in the text; None: the machine's.
    """
    subject, detail = _health_words(event, kind, zone) if isinstance(event, HealthEvent) else _words(event, kind, zone)
    subject = redact(readable(subject))
    text = f"{subject} – {redact(readable(detail))}" if detail else subject
    if isinstance(event, Event):
        text += f" (peak {number(event.peak_score)}, threshold {number(event.threshold)})"
    return Notification(
        id=new_event_id(now),
        kind=kind,
        created_at=now,
        subject=subject,
        text=text,
        event=event,
    )


def summary(amounts: Mapping[str, int], since: datetime, now: datetime, why: str, zone: tzinfo | None) -> Notification:
    """Create the notification that stands for events which were not sent one by one.

    Args:
        amounts: Number of events by camera.
        since: When the first of them began.
        now: The present time (UTC).
        why: "quiet hours" or "rate limit".
        zone: Time zone of the times in the text; None: the machine's.
    """
    subject = f"and {counted(sum(amounts.values()), 'more event')} since {clock_time(since, zone)} ({why})"
    listed = ", ".join(f"{camera}: {amount}" for camera, amount in sorted(amounts.items()))
    return Notification(
        id=new_event_id(now), kind="summary", created_at=now, subject=subject, text=f"{subject} – {listed}"
    )


def notification_of_test(sink: str) -> Notification:
    """Create the notification that `streamad sinks test` sends."""
    now = datetime.now(UTC)
    text = f"This is a test of the sink {sink}. Nothing has happened."
    return Notification(id=new_event_id(now), kind="test", created_at=now, subject="streamad: test", text=text)


def clock_time(moment: datetime, zone: tzinfo | None) -> str:
    """The time of day in a zone, as messages show it."""
    return f"{moment.astimezone(zone):%H:%M:%S}"


def _words(event: Event, kind: EventKind, zone: tzinfo | None) -> tuple[str, str]:
    critical = "critical: " if event.severity == "critical" else ""
    if event.state == "interrupted":
        rest = (
            f"unusual movement since {clock_time(event.started_at, zone)}, not followed to its end (streamad stopped)"
        )
    elif kind == "closed":
        end = event.ended_at or event.updated_at
        rest = f"unusual movement ended at {clock_time(end, zone)} after {span(round(event.duration_seconds, 1))}"
    else:
        again = "again " if event.reason == "reopened" else ""
        rest = f"unusual movement {again}since {clock_time(event.started_at, zone)}"
    where = event.camera if event.zone is None else f"{event.camera}, {event.zone}"
    return f"{where}: {critical}{rest}", event.explanation or ""


def _health_words(event: HealthEvent, kind: EventKind, zone: tzinfo | None) -> tuple[str, str]:
    what = f"{_HEALTH_TOPICS[event.topic]}" + ("" if event.topic == "drift" else f" ({event.reason})")
    if kind == "closed":
        end = event.ended_at or event.updated_at
        return f"{event.camera}: {what}: over since {clock_time(end, zone)}", ""
    return f"{event.camera}: {what} since {clock_time(event.started_at, zone)}", event.message
