"""JSON lines to a file or to standard output."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Literal, TextIO

from streamad.alerts.event import Event, EventKind
from streamad.alerts.health import HealthEvent
from streamad.errors import OutputError


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
        self._descriptor: int | None = None
        if path is not None:
            try:
                self._descriptor = _open(path)
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
            if self._path is None:
                self._stream.write(line)
                self._stream.flush()
            else:
                self._append(self._path, line.encode())
        except (OSError, ValueError) as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close the file; standard output is left open."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, path: Path, line: bytes) -> None:
        if self._descriptor is None or not _is_same_file(self._descriptor, path):
            # Log rotation moved the file away, or an earlier attempt to open it failed.
            self.close()
            self._descriptor = _open(path)
        size = os.fstat(self._descriptor).st_size
        written = 0
        try:
            written = os.write(self._descriptor, line)
        finally:
            if 0 < written < len(line):
                os.ftruncate(self._descriptor, size)
        if written < len(line):
            raise OSError(28, "No space left on device")

    def _failure(self, error: OSError | ValueError) -> OutputError:
        place = "standard output" if self._path is None else str(self._path)
        text = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        return OutputError(
            f"sink jsonl: cannot write to {place}: {text}",
            hint="check that the file can be written to, the disk is not full, the reader still runs",
        )


def _open(path: Path) -> int:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    size = os.fstat(descriptor).st_size
    if size and os.pread(descriptor, 1, size - 1) != b"\n":
        # The last writer died within a line; without this our first line would be lost with it.
        os.write(descriptor, b"\n")
    return descriptor


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
