"""Logging: text or JSON lines, with credentials redacted and repeated messages aggregated."""

from __future__ import annotations

import io
import json
import logging
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Literal, TextIO

from pydantic import BaseModel, ConfigDict, Field
from rich.console import Console
from rich.logging import RichHandler

from streamad.redaction import redact
from streamad.writing import Appender, BackgroundWriter, Outcome

Level = Literal["debug", "info", "warning", "error"]
Format = Literal["text", "json"]

REPEAT_SECONDS = 10.0
LOG_CAPACITY = 10_000
"""Lines queued for a log reader that has stopped reading, about 2 MB."""
MAX_KEYS = 1000
"""Maximum number of messages remembered for aggregation; beyond it, all are reported and forgotten."""

_STANDARD_FIELDS = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class LoggingSpec(BaseModel):
    """How the program logs; always to standard error."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    level: Level = Field("info", description="the lowest level that is logged")
    format: Format = Field("text", description="text: for people; json: one object per line")
    repeat_seconds: float = Field(
        REPEAT_SECONDS,
        ge=0,
        le=3600,
        description="a repeated warning or error is logged once in this time, with its count; 0: all are logged",
    )


class RedactionFilter(logging.Filter):
    """Redacts a record in place: message with arguments, traceback, stack, and extra fields.

    The arguments are merged into the message first, because a secret can be in either or span both.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record; every record passes."""
        try:
            message = record.getMessage()
        except (TypeError, ValueError) as error:
            # A message that does not match its arguments is a bug of the caller, but must not be lost.
            message = f"{record.msg} {record.args!r} (cannot be formatted: {error})"
        record.msg, record.args = redact(message), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = redact(record.exc_text)
        if record.stack_info:
            record.stack_info = redact(record.stack_info)
        for name, value in record.__dict__.items():
            if name not in _STANDARD_FIELDS and value is not None and not isinstance(value, bool | int | float):
                record.__dict__[name] = redact(str(value))
        return True


class JsonFormatter(logging.Formatter):
    """Formats a record as one JSON object: time (UTC), level, logger, message, the extra fields, exception."""

    def format(self, record: logging.LogRecord) -> str:
        """Format the record as one line, without the line end."""
        document: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        extra = {k: v for k, v in record.__dict__.items() if k not in _STANDARD_FIELDS and k not in document}
        document.update(extra)
        if record.exc_text:
            document["exception"] = record.exc_text
        if record.stack_info:
            document["stack"] = record.stack_info
        return json.dumps(document, ensure_ascii=False, default=str)


class AggregatingHandler(logging.Handler):
    """Redacts records, passes on each warning or error once per `repeat_seconds`, and counts its repetitions.

    "... repeated 124 times" is logged with the first record after that time, or at `flush` and `close`. Two records are
    repetitions of each other if logger, level, and message are equal.

    Args:
        target: The handler that writes.
        repeat_seconds: 0 disables aggregation.
        clock: Returns monotonic seconds.
    """

    def __init__(
        self,
        target: logging.Handler,
        *,
        repeat_seconds: float = REPEAT_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._target = target
        self._repeat_seconds = repeat_seconds
        self._clock = clock
        self._seen: dict[tuple[str, int, str], tuple[float, int]] = {}
        self.addFilter(RedactionFilter())

    def emit(self, record: logging.LogRecord) -> None:
        """Write the record, or count it."""
        now = self._clock()
        self._report(before=now - self._repeat_seconds)
        if record.levelno < logging.WARNING or self._repeat_seconds == 0:
            self._target.handle(record)
            return
        key = (record.name, record.levelno, record.getMessage())
        if key in self._seen:
            since, repeated = self._seen[key]
            self._seen[key] = since, repeated + 1
            return
        if len(self._seen) >= MAX_KEYS:
            self._report(before=now)
        self._seen[key] = now, 0
        self._target.handle(record)

    def flush(self) -> None:
        """Report all repetitions so far."""
        self.acquire()
        try:
            self._report(before=self._clock())
            self._target.flush()
        finally:
            self.release()

    def close(self) -> None:
        """Report all repetitions, then close; nothing is written to a stream that is already closed."""
        with suppress(OSError, ValueError):  # as `logging.shutdown` does
            self.flush()
        self._target.close()
        super().close()

    def _report(self, *, before: float) -> None:
        # Insertion order is chronological, so the expired ones come first.
        expired = []
        for key, (since, _) in self._seen.items():
            if since > before:
                break
            expired.append(key)
        for key in expired:
            _, repeated = self._seen.pop(key, (0.0, 0))  # writing may log, which calls this again
            if repeated:
                name, level, message = key
                text = f"{message} … repeated {repeated} time{'s' if repeated > 1 else ''}"
                self._target.handle(logging.LogRecord(name, level, "", 0, text, None, None))


class BackgroundStream(io.TextIOBase):
    """A text stream whose `write` returns immediately, whatever its file descriptor does (see `BackgroundWriter`).

    Args:
        stream: Where the text goes; a stream without a file descriptor is written to directly.
        on_outcome: See `BackgroundWriter`.
    """

    def __init__(self, stream: TextIO, *, on_outcome: Callable[[Outcome, int, str], None] | None = None) -> None:
        self._stream = stream
        try:
            self._output: Appender | None = Appender(stream.fileno())
        except io.UnsupportedOperation:
            self._output = None
        self._is_ended = False
        self.writer = BackgroundWriter[str]("stderr", self._pass_on, capacity=LOG_CAPACITY, on_outcome=on_outcome)

    @property
    def encoding(self) -> str:  # type: ignore[override]
        """Encoding of the underlying stream."""
        return self._stream.encoding or "utf-8"

    def write(self, text: str) -> int:
        """Queue the text."""
        if not self._is_ended:
            self.writer.put(text)
        elif self.writer.is_over and self.writer.error is None:
            self._stream.write(text)
        return len(text)

    def fileno(self) -> int:
        """File descriptor of the underlying stream."""
        return self._stream.fileno()

    def isatty(self) -> bool:
        """Whether the underlying stream is a terminal."""
        return self._stream.isatty()

    def writable(self) -> bool:
        """Return True."""
        return True

    def end(self) -> None:
        """Write the queued text if possible. Later text is written directly, unless writing failed."""
        self.writer.close()
        self._is_ended = True

    def _pass_on(self, texts: Sequence[str]) -> None:
        text = "".join(texts)
        if self._output is not None:
            self._output.append(text.encode(self.encoding, errors="backslashreplace"))
        else:
            self._stream.write(text)


@contextmanager
def background_stderr(on_outcome: Callable[[Outcome, int, str], None] | None = None) -> Iterator[BackgroundStream]:
    """Within the context, nothing written to `sys.stderr` waits for its reader, neither logs nor messages."""
    before = sys.stderr
    stream = BackgroundStream(before, on_outcome=on_outcome)
    sys.stderr = stream
    try:
        yield stream
    finally:
        sys.stderr = before
        stream.end()


def setup_logging(
    level: Level = "info",
    format: Format = "text",
    *,
    stream: TextIO | None = None,
    repeat_seconds: float = REPEAT_SECONDS,
) -> logging.Handler:
    """Log to `stream` (standard error by default) from now on; a second call replaces the first.

    Text is colored on a terminal and plain elsewhere, with one line per record regardless of the width. `level` applies
    to streamad's own loggers; other libraries log from WARNING on.

    Returns:
        The handler; its `flush` reports repetitions immediately.
    """
    stream = stream if stream is not None else sys.stderr
    target: logging.Handler
    if format == "json":
        target = logging.StreamHandler(stream)
        target.setFormatter(JsonFormatter())
    elif stream.isatty():
        target = RichHandler(console=Console(file=stream), show_path=False, markup=False)
        target.setFormatter(logging.Formatter("%(message)s", datefmt="[%X]"))
    else:
        target = logging.StreamHandler(stream)
        target.setFormatter(logging.Formatter("%(asctime)s %(levelname)-7s %(name)s: %(message)s"))
    handler = AggregatingHandler(target, repeat_seconds=repeat_seconds)
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, AggregatingHandler)]:
        root.removeHandler(old)
        old.close()
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger("streamad").setLevel(level.upper())
    return handler
