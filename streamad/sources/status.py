"""SourceStatus: the state of a supervised source, for operators."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from streamad.sources.base import SourceInfo
from streamad.sources.failures import FailureReason, SourceError, source_error

SourceState = Literal["starting", "up", "stale", "backoff", "ended", "failed", "stopped"]


@dataclass(frozen=True, slots=True)
class SourceStatus:
    """State of a supervised source, for operators.

    Attributes:
        state: "starting" (the process or connection is being made), "up" (frames arrive), "stale" (connected, but no
            frame for half of the stall timeout), "backoff" (failed; waiting for the next attempt), "ended" (regular
            end of a file), "failed" (given up: an unreadable file, or no attempts left) or "stopped" (by `stop`).
        reason: Reason of the last failure; None while frames arrive.
        message: Message of the last failure, without credentials.
        hint: How to fix the last failure.
        attempts: Number of consecutive failures.
        reconnects: Number of reconnections, including the pending one, by reason.
        frames_decoded: Number of frames decoded so far, including dropped ones.
        dropped: Number of dropped frames, by reason.
        last_frame_at: `time.monotonic()` of the newest delivered frame; None before the first.
        info: Properties reported by the source; None before the first connection.
        problems: Messages about damage that did not end the source, oldest first.
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
        """Return the last failure as an exception; None if there is none."""
        if self.reason is None:
            return None
        return source_error(self.reason, self.message or self.reason, hint=self.hint)
