"""Sinks: where events go besides the store, and the fan-out that delivers to all of them.

A sink receives health events (problems of a camera itself) in addition to anomalies. Their documents have the key
`type` with the value "health", which documents of anomalies lack.
"""

from __future__ import annotations

import io
import json
import logging
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Literal, Protocol, TextIO

from pydantic import BaseModel, ConfigDict, Field

from streamad.alerts.event import Event, EventKind
from streamad.alerts.health import HealthEvent
from streamad.errors import OutputError
from streamad.formatting import number
from streamad.plugins import SINKS, OrPlugin
from streamad.writing import CAPACITY, Appender, BackgroundWriter, Outcome

CLOSE_SECONDS = 1.0
"""At shutdown, how long a sink may go without delivering anything before its queued events are discarded."""

_Change = tuple[Event | HealthEvent, EventKind]


class JsonlSinkSpec(BaseModel):
    """One line of JSON for every change of an event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["jsonl"] = Field("jsonl", description="JSON lines")
    path: Path | None = Field(None, description="the file to append to; null: standard output")
    changes: Literal["all", "open_close"] = Field(
        "all",
        description="all: also when an event becomes critical or reopens; open_close: only its start and end",
    )


class LogSinkSpec(BaseModel):
    """A line in the program's log for every change of an event."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    type: Literal["log"] = Field("log", description="the program's log")


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


SinkSpec = Annotated[JsonlSinkSpec | LogSinkSpec | PluginSink, OrPlugin(SINKS, PluginSink)]
"""Any sink, discriminated by `type`."""


class Sink(Protocol):
    """Receives events as they open, change, and close.

    `SinkFanout` calls each sink on its own thread: an `emit` that waits for a network delays no other sink.
    """

    @property
    def name(self) -> str:
        """Short name, used as the label `sink` of `streamad_notifications_total`."""

    def emit(self, event: Event | HealthEvent, kind: EventKind) -> None:
        """Deliver the event.

        Raises:
            OutputError: Delivery failed; the event is passed again until delivery succeeds. Failures of the outside
                world must not raise anything else.
        """

    def close(self) -> None:
        """Release the sink's resources; `emit` is not called again."""


def build_sink(spec: SinkSpec) -> Sink:
    """Create the sink that `spec` describes.

    Raises:
        OutputError: The sink's output cannot be opened.
    """
    if isinstance(spec, JsonlSinkSpec):
        return JsonlSink(spec.path, changes=spec.changes)
    if isinstance(spec, PluginSink):
        return spec.build()
    return LogSink()


class JsonlSink:
    """Writes `{"kind": "opened", ...the event's keys}`, one line per change. A line is written whole or not at all.

    Args:
        path: The file to append to, created with its folder if missing. Default: `stream`.
        changes: "all", or "open_close" to skip "updated".
        stream: Where to write if no path is given. Default: standard output.

    Raises:
        OutputError: The file cannot be opened for appending.
    """

    name = "jsonl"

    def __init__(
        self,
        path: Path | None = None,
        *,
        changes: Literal["all", "open_close"] = "all",
        stream: TextIO | None = None,
    ) -> None:
        self._path = path
        self._changes = changes
        self._stream = stream if stream is not None else sys.stdout
        self._file: Appender | None = None
        try:
            # Write to the descriptor, not the stream: a thread that hangs in a stream holds its lock until exit.
            self._file = Appender(path if path is not None else self._stream.fileno())
            self._file.open()
        except io.UnsupportedOperation:
            pass  # a stream in memory
        except OSError as error:
            raise self._failure(error) from error

    def emit(self, event: Event | HealthEvent, kind: EventKind) -> None:
        """Append a line for the event.

        Raises:
            OutputError: The line cannot be written, for example because the disk is full or the pipe is closed.
        """
        if kind == "updated" and self._changes == "open_close":
            return
        document = {"kind": kind, **event.to_dict()}
        line = json.dumps(document, ensure_ascii=False, allow_nan=False, separators=(",", ":")) + "\n"
        try:
            if self._file is None:
                self._stream.write(line)
                self._stream.flush()
            else:
                self._file.append(line.encode(errors="backslashreplace"))
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the file; standard output stays open."""
        if self._file is not None:
            self._file.close()

    def _failure(self, error: OSError) -> OutputError:
        place = "standard output" if self._path is None else str(self._path)
        return OutputError(
            f"sink jsonl: cannot write to {place}: {error.strerror or error}",
            hint="check that the file is writable, the disk is not full, and the reader is still running",
        )


class LogSink:
    """Logs one line per change under `streamad.alerts`. The log record carries the event's id as `event_id`."""

    name = "log"

    def __init__(self, logger: logging.Logger | None = None) -> None:
        self._logger = logger if logger is not None else logging.getLogger("streamad.alerts")

    def emit(self, event: Event | HealthEvent, kind: EventKind) -> None:
        """Log the change: warnings as WARNING, critical events as ERROR, closed events as INFO."""
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
        """Do nothing: there is nothing to release."""


class SinkFanout:
    """Delivers events to every sink, in order, each on its own thread (see `BackgroundWriter`).

    A sink that fails or hangs affects neither the other sinks nor the main loop.

    Args:
        sinks: The sinks to deliver to.
        on_outcome: Called with the sink's name and what `BackgroundWriter` reports.
        capacity: Number of changes that can be queued for a sink.
        retry_seconds: Time between two attempts.
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
        """Queue the event for every sink and return at once. Updates whose reason is "progress" are not delivered."""
        if isinstance(event, Event) and event.reason == "progress":
            return
        for writer in self.writers:
            writer.put((event, kind))

    def close(self) -> None:
        """Deliver queued events where possible, and close every sink that does not hang."""
        for sink, writer in zip(self._sinks, self.writers, strict=True):
            writer.close(CLOSE_SECONDS)
            if writer.is_over:
                sink.close()


def _deliver(sink: Sink, changes: Sequence[_Change]) -> None:
    for event, kind in changes:
        sink.emit(event, kind)
