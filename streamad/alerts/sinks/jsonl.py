"""JSON lines to a file or to standard output."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Literal, TextIO

from streamad.alerts.event import Event, EventKind
from streamad.alerts.health import HealthEvent
from streamad.errors import OutputError
from streamad.writing import Appender


class JsonlSink:
    """Writes `{"kind": "opened", ...the event's keys}`, one line a change, each line whole or not at all.

    Args:
        path: the file to append to, made with its folder where missing; None: `stream`.
        changes: "all", or "open_close" to leave out "updated".
        stream: where to write without a path; standard output by default.

    Raises:
        OutputError: the file cannot be opened for appending.
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
            # The descriptor itself, not the stream: a thread that hangs in a stream holds its lock to the very end.
            self._file = Appender(path if path is not None else self._stream.fileno())
            self._file.open()
        except io.UnsupportedOperation:
            pass  # a stream in memory
        except OSError as error:
            raise self._failure(error) from error

    def emit(self, event: Event | HealthEvent, kind: EventKind) -> None:
        """Append the line.

        Raises:
            OutputError: it could not be written: disk full, reader of the pipe gone.
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
        """Close the file; standard output is left open."""
        if self._file is not None:
            self._file.close()

    def _failure(self, error: OSError) -> OutputError:
        place = "standard output" if self._path is None else str(self._path)
        return OutputError(
            f"sink jsonl: cannot write to {place}: {error.strerror or error}",
            hint="check that the file can be written to, the disk is not full, the reader still runs",
        )
