"""Sinks that record every change of an event on this machine: JSON lines, and the program's log."""

from __future__ import annotations

import io
import json
import logging
import sys
from pathlib import Path
from typing import Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field

from streamad.alerts.event import Event, EventKind
from streamad.alerts.health import HealthEvent
from streamad.errors import OutputError
from streamad.formatting import number
from streamad.writing import Appender


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
            "%s%s: %s alert %s (%s) at %.2f s, peak %s over threshold %s, %.1f s long%s",
            event.camera,
            "" if event.zone is None else f", {event.zone}",
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
