"""What a sink is, and what a package of one's own derives from."""

from __future__ import annotations

from typing import Protocol

from pydantic import BaseModel, ConfigDict

from streamad.alerts.event import EventKind
from streamad.alerts.store import AnyEvent

Change = tuple[AnyEvent, EventKind]
"""An event, and what happened to it."""


class Sink(Protocol):
    """Receives events as they open, change, and close.

    `SinkFanout` calls each sink on its own thread: an `emit` that waits for a network delays no other sink.
    """

    @property
    def name(self) -> str:
        """Short name, used as the label `sink` of `streamad_notifications_total`."""

    def emit(self, event: AnyEvent, kind: EventKind) -> None:
        """Deliver the event.

        Raises:
            OutputError: Delivery failed; the event is passed again until delivery succeeds. Failures of the outside
                world must not raise anything else.
        """

    def close(self) -> None:
        """Release the sink's resources; `emit` is not called again."""


class PluginSink(BaseModel):
    """Base class for the settings of a sink that another package adds (docs/how-to/extend.md).

    A subclass gives `type` a Literal with a default, adds its own settings, each with a description, and builds its
    sink.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    type: str

    def build(self) -> Sink:
        """Create the sink.

        Raises:
            OutputError: Its output cannot be opened.
        """
        raise NotImplementedError(f"{type(self).__name__} has no method `build`")
