"""One event to all sinks; the fault of one never reaches another, nor the main loop."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Literal

from streamad.alerts.event import Event, EventKind
from streamad.alerts.health import HealthEvent
from streamad.alerts.sinks.base import Sink
from streamad.errors import OutputError

Outcome = Literal["delivered", "failed"]

_log = logging.getLogger(__name__)


class SinkFanout:
    """Passes events on to every sink in turn.

    Args:
        sinks: where to.
        on_outcome: called with the sink's name and what came of it (for `streamad_notifications_total`).
    """

    def __init__(self, sinks: Sequence[Sink], *, on_outcome: Callable[[str, Outcome], None] | None = None) -> None:
        self._sinks = tuple(sinks)
        self._on_outcome = on_outcome

    def emit(self, event: Event | HealthEvent, kind: EventKind) -> None:
        """Give the event to every sink; failures are logged and counted. Mere progress is passed to none."""
        if isinstance(event, Event) and event.reason == "progress":
            return
        for sink in self._sinks:
            outcome: Outcome = "delivered"
            try:
                sink.emit(event, kind)
            except OutputError as error:
                outcome = "failed"
                _log.error("event %s not delivered: %s", event.id, error)
            if self._on_outcome is not None:
                self._on_outcome(sink.name, outcome)

    def close(self) -> None:
        """Close every sink."""
        for sink in self._sinks:
            sink.close()
