"""Time of frames: presentation times made increasing, and the pace of a replay."""

from __future__ import annotations

from collections.abc import Callable

MAX_JUMP_SECONDS = 5.0
"""A larger step of the clock is a jump: time goes on by one frame instead (our choice, as recorders do)."""


class PtsClock:
    """Turns a stream's own times into seconds since its first frame, strictly increasing.

    - a missing time: one frame's duration after the frame before;
    - a time that does not increase (damaged or wrapped): likewise, and later times count from there;
    - a step of more than 5 s (or 2.5 frames, for slower streams), either way: likewise, and reported as a
      jump.

    Args:
        period_seconds: duration of a frame, > 0.
    """

    def __init__(self, period_seconds: float) -> None:
        if not period_seconds > 0:
            raise ValueError(f"period_seconds must be positive, got {period_seconds}")
        self._period = period_seconds
        self._max_jump = max(MAX_JUMP_SECONDS, 2.5 * period_seconds)
        self._last: float | None = None
        self._offset: float | None = None

    def advance(self, raw_seconds: float | None) -> tuple[float, bool]:
        """The time of the next frame.

        Args:
            raw_seconds: the stream's own time, None where it has none.

        Returns:
            Seconds since the first frame, and whether the stream's clock jumped.
        """
        if self._last is None:
            self._last, self._offset = 0.0, raw_seconds
            return 0.0, False
        following = self._last + self._period
        if raw_seconds is None:
            self._last = following
            return following, False
        if self._offset is None:
            self._offset = raw_seconds - following
        now = raw_seconds - self._offset
        step = now - self._last
        jumped = abs(step) > self._max_jump
        if jumped or step <= 0:
            self._offset, now = raw_seconds - following, following
        self._last = now
        return now, jumped

    def restart(self) -> None:
        """The stream begins anew (a loop): its next frame comes one frame's duration after the last."""
        self._offset = None


class Pacer:
    """Holds frames back until their time has come, so that a file plays like a camera.

    Args:
        speed: 2 plays twice as fast.
        clock: seconds, monotonic.
        sleep: waits for so many seconds.
    """

    def __init__(self, speed: float, *, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._speed, self._clock, self._sleep = speed, clock, sleep
        self._start: float | None = None

    def wait(self, pts_seconds: float) -> None:
        """Return when the frame of that time is due; at once where it is overdue."""
        if self._start is None:
            self._start = self._clock() - pts_seconds / self._speed
        delay = self._start + pts_seconds / self._speed - self._clock()
        if delay > 0:
            self._sleep(delay)
