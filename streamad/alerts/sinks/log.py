"""Events in the program's own log."""

from __future__ import annotations

import logging

from streamad.alerts.event import Event, EventKind
from streamad.alerts.health import HealthEvent
from streamad.formatting import number


class LogSink:
    """One log line a change, under the logger `streamad.alerts`; the event's id is in the record as
    `event_id`.
    """

    name = "log"

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger if logger is not None else logging.getLogger("streamad.alerts")

    def emit(self, event: Event | HealthEvent, kind: EventKind) -> None:
        """Log the change: warnings as WARNING, critical ones as ERROR, the end as INFO."""
        if isinstance(event, HealthEvent):
            self._logger.log(
                logging.INFO if kind == "closed" else logging.WARNING,
                "%s: %s %s at %.2f s (%s), %.1f s long, %d frames: %s",
                *(event.camera, event.topic, kind, event.updated_pts_seconds, event.reason, event.duration_seconds),
                *(event.frames, event.message),
                extra={"event_id": event.id, "camera": event.camera},
            )
            return
        level = logging.ERROR if event.severity == "critical" else logging.WARNING
        if kind == "closed":
            level = logging.INFO
        self._logger.log(
            level,
            "%s: %s alert %s (%s) at %.2f s, peak %s over threshold %s, %.1f s long%s",
            event.camera,
            event.severity,
            kind,
            event.reason,
            event.updated_pts_seconds,
            number(event.peak_score),
            number(event.threshold),
            event.duration_seconds,
            f": {event.explanation}" if event.explanation else "",
            extra={"event_id": event.id, "camera": event.camera},
        )

    def close(self) -> None:
        """Nothing is held."""
