"""Consequences of an unexpected exception: one traceback in the log, a count, and perhaps the end of a camera."""

from __future__ import annotations

import logging
import time
import traceback
from collections.abc import Callable
from typing import Literal

from streamad.errors import EngineError, ProcessingError, StreamadError
from streamad.preprocessing import FrameSizeError

GiveUpReason = Literal["size", "engine", "processing"]
"""The picture is too small for the model, the engine fails on its frames, or an unexpected exception."""

MAX_FAULTS = 8
"""A camera is given up after this many faults without a score between them."""

PAUSE_SECONDS = 1.0
"""A live camera pauses for this long after the second fault in a row, and twice as long after each further one, a
minute in all, so that a temporarily unusable picture (another resolution, a placeholder) does not end the watch."""

_log = logging.getLogger(__name__)


class FaultLog:
    """Logs exceptions: with a traceback the first time that a line raises, in one line after that."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, type[BaseException], str]] = set()

    def report(self, where: str, error: Exception) -> None:
        """Log an exception.

        Args:
            where: What failed, for the message: "camera gate", "event store".
            error: The exception. Errors that are meant for users (`StreamadError`) need no traceback.
        """
        frames = traceback.extract_tb(error.__traceback__)
        place = f"{frames[-1].filename}:{frames[-1].lineno}" if frames else ""
        key = where, type(error), place
        is_new = key not in self._seen and not isinstance(error, StreamadError)
        self._seen.add(key)
        kind = "" if isinstance(error, StreamadError) else f"{type(error).__name__}: "
        _log.error("%s: %s%s", where, kind, error, exc_info=error if is_new else None)


class CameraFaults:
    """Counts one camera's faults and decides when it pauses and when it is given up.

    Args:
        is_live: Whether frames keep coming, so that a pause helps; a file is simply read on.
        clock: Monotonic seconds.
    """

    def __init__(self, *, is_live: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self._is_live = is_live
        self._clock = clock
        self._in_a_row = 0
        self._newest: Exception | None = None
        self._rests_until: float | None = None
        self.last: StreamadError | None = None
        """The newest fault since the last score; None if there was none."""

    @property
    def is_resting(self) -> bool:
        """Whether the camera pauses now."""
        return self._rests_until is not None and self._clock() < self._rests_until

    def good(self) -> None:
        """A frame was scored: reset the count."""
        if self.last is not None:
            self._in_a_row, self._rests_until, self.last = 0, None, None

    def note(self, error: Exception) -> bool:
        """Count a fault.

        Returns:
            Whether the camera is to be given up.
        """
        if error is self._newest:
            return False  # one failed batch, many frames
        self._newest = error
        self._in_a_row += 1
        if isinstance(error, StreamadError):
            self.last = error
        else:
            self.last = ProcessingError(f"frames cannot be scored: {type(error).__name__}: {error}")
        if self._is_live and self._in_a_row > 1:
            self._rests_until = self._clock() + PAUSE_SECONDS * 2 ** (self._in_a_row - 2)
        return self._in_a_row >= MAX_FAULTS


def reason_of(error: StreamadError) -> GiveUpReason:
    """The reason for giving up a camera, as in `/status` and health events."""
    if isinstance(error, FrameSizeError):
        return "size"
    return "engine" if isinstance(error, EngineError) else "processing"
