"""SourceStatus: what an operator needs to know of a supervised source."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streamad.sources.base import SourceInfo
from streamad.sources.failures import FailureReason, SourceError, source_error

SourceState = Literal["starting", "up", "stale", "backoff", "ended", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """What an operator needs to know of a source.

    Attributes:
        state: starting (process or connection is being made), up (frames come), stale (connected, but no
            frame for half of the stall timeout), backoff (failed; waits before the next attempt), ended (a
            file's regular end), failed (given up: a file that cannot be read, or no attempt left), stopped
            (by `stop`).
        reason: of the last failure, None while frames come.
        message: of the last failure, with no credentials in it.
        hint: what to do about it.
        attempts: failures in a row.
        reconnects: for each reason, how often the source was or is to be connected anew.
        frames_decoded: frames decoded so far, the dropped ones too.
        dropped: for each reason, frames dropped.
        last_frame_at: `time.monotonic()` of the newest delivered frame, None before the first.
        info: what the source says of itself, None before the first connection.
        problems: damage that did not end the source, oldest first.
    """

    state: SourceState
    reason: FailureReason | None = None
    message: str | None = None
    hint: str | None = None
    attempts: int = 0
    reconnects: dict[FailureReason, int] = field(default_factory=dict)
    frames_decoded: int = 0
    dropped: dict[str, int] = field(default_factory=dict)
    last_frame_at: float | None = None
    info: SourceInfo | None = None
    problems: tuple[str, ...] = ()

    def error(self) -> SourceError | None:
        """The last failure as an error to raise, None where there is none."""
        if self.reason is None:
            return None
        return source_error(self.reason, self.message or self.reason, hint=self.hint)
