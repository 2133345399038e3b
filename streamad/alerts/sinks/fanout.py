"""SinkFanout: delivers events to every sink."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from streamad.alerts.event import Event, EventKind
from streamad.alerts.sinks.base import Change, Sink
from streamad.alerts.sinks.delivery import Delivery, NotificationOutcome
from streamad.alerts.sinks.settings import NotifierSpec
from streamad.alerts.store import AnyEvent
from streamad.writing import CAPACITY, BackgroundWriter

CLOSE_SECONDS = 1.0
"""At shutdown, how long a sink may go without delivering anything before its queued events are discarded."""
NOTIFY_SECONDS = 1.5
"""At shutdown, how long all sinks with an outbox together may go on sending; what is left is sent at the next start."""


class SinkFanout:
    """Delivers events to every sink, in order, each on its own thread (see `BackgroundWriter` and `Delivery`).

    A sink that fails or hangs affects neither the other sinks nor the main loop.

    Args:
        sinks: The sinks to deliver to.
        on_outcome: Called with the sink's name and what `BackgroundWriter` and `Delivery` report.
        capacity: Number of changes that can be queued for a sink.
        retry_seconds: Time between two attempts of a sink without an outbox.
    """

    def __init__(
        self,
        sinks: Sequence[Sink | Delivery],
        *,
        on_outcome: Callable[[str, NotificationOutcome, int, str], None] | None = None,
        capacity: int = CAPACITY,
        retry_seconds: float = 1.0,
    ) -> None:
        self._sinks = tuple(sinks)
        self.writers: tuple[BackgroundWriter[Change] | Delivery, ...] = tuple(
            sink
            if isinstance(sink, Delivery)
            else BackgroundWriter[Change](
                sink.name,
                partial(_deliver, sink),
                capacity=capacity,
                retry_seconds=retry_seconds,
                on_outcome=None if on_outcome is None else partial(on_outcome, sink.name),
            )
            for sink in sinks
        )
        for writer in self.writers:
            if isinstance(writer, Delivery):
                writer.start(None if on_outcome is None else partial(on_outcome, writer.name))

    def emit(self, event: AnyEvent, kind: EventKind) -> None:
        """Queue the event for every sink and return at once. Updates whose reason is "progress" are not delivered."""
        if isinstance(event, Event) and event.reason == "progress":
            return
        for writer in self.writers:
            writer.put((event, kind))

    def follow(self, specs: Sequence[NotifierSpec], cameras: Sequence[str]) -> None:
        """Let sinks that notify route by other settings, and know of other cameras; sinks are found by their names.

        Args:
            specs: The settings of sinks.
            cameras: Ids of all cameras.
        """
        routing = {spec.label: spec for spec in specs}
        for writer in self.writers:
            if isinstance(writer, Delivery) and writer.name in routing:
                writer.follow(routing[writer.name], cameras)

    def close(self) -> None:
        """Deliver queued events where possible, and close every sink that does not hang."""
        for writer in self.writers:
            if isinstance(writer, Delivery):
                writer.end()
        for sink, writer in zip(self._sinks, self.writers, strict=True):
            if isinstance(writer, BackgroundWriter):
                writer.close(CLOSE_SECONDS)
                if writer.is_over and not isinstance(sink, Delivery):
                    sink.close()
        deadline = time.monotonic() + NOTIFY_SECONDS
        for writer in self.writers:
            if isinstance(writer, Delivery):
                writer.close(max(deadline - time.monotonic(), 0.0))


def _deliver(sink: Sink, changes: Sequence[Change]) -> None:
    for event, kind in changes:
        sink.emit(event, kind)
