"""Sink: what everything that receives events has in common.

Beside anomalies, sinks are given health events: what is wrong with a camera itself. Their documents carry the key
`type` with the value "health", which those of anomalies do not have.
"""

from __future__ import annotations

from typing import Protocol

from streamad.alerts.event import Event, EventKind
from streamad.alerts.health import HealthEvent


class Sink(Protocol):
    """Receives events as they open, change and close.

    `SinkFanout` calls each sink on a thread of its own: an `emit` may wait for a network, and delays no other sink.
    """

    @property
    def name(self) -> str:
        """Short name, the label `sink` of `streamad_notifications_total`."""

    def emit(self, event: Event | HealthEvent, kind: EventKind) -> None:
        """Pass the event on.

        Raises:
            OutputError: it could not be passed on; it will be given again, until that works. Nothing else may be
                raised for a fault of the outside world.
        """

    def close(self) -> None:
        """Release what the sink holds; `emit` is not called again."""
