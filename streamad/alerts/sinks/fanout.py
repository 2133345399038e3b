"""One event to all sinks; the fault of one never reaches another, nor the main loop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from streamad.alerts.event import Event, EventKind
from streamad.alerts.health import HealthEvent
from streamad.alerts.sinks.base import Sink
from streamad.writing import CAPACITY, BackgroundWriter, Outcome

_Change = tuple[Event | HealthEvent, EventKind]

CLOSE_SECONDS = 1.0
"""At the end a sink may go this long without delivering anything before what it still has is given up."""


class SinkFanout:
    """Passes events on to every sink, in order, each on a thread of its own (see `BackgroundWriter`).

    Args:
        sinks: where to.
        on_outcome: called with the sink's name and what `BackgroundWriter` reports.
        capacity: changes that may wait for a sink.
        retry_seconds: time between two attempts.
    """

    def __init__(
        self,
        sinks: Sequence[Sink],
        *,
        on_outcome: Callable[[str, Outcome, int, str], None] | None = None,
        capacity: int = CAPACITY,
        retry_seconds: float = 1.0,
    ) -> None:
        self._sinks = tuple(sinks)
        self.writers = tuple(
            BackgroundWriter[_Change](
                sink.name,
                partial(_deliver, sink),
                capacity=capacity,
                retry_seconds=retry_seconds,
                on_outcome=None if on_outcome is None else partial(on_outcome, sink.name),
            )
            for sink in sinks
        )

    def emit(self, event: Event | HealthEvent, kind: EventKind) -> None:
        """Give the event to every sink; returns at once. Mere progress is passed to none."""
        if isinstance(event, Event) and event.reason == "progress":
            return
        for writer in self.writers:
            writer.put((event, kind))

    def close(self) -> None:
        """Deliver what waits where that is possible, and close every sink that does not hang."""
        for sink, writer in zip(self._sinks, self.writers, strict=True):
            writer.close(CLOSE_SECONDS)
            if writer.is_over:
                sink.close()


def _deliver(sink: Sink, changes: Sequence[_Change]) -> None:
    for event, kind in changes:
        sink.emit(event, kind)
