"""Time of frames: presentation times made increasing, and the pace of a replay."""

from __future__ import annotations

from collections.abc import Callable

MAX_JUMP_SECONDS = 5.0
"""A larger step of the clock is a jump: time goes on by one frame instead (our choice, as recorders do)."""

_LEAST_STEP_SECONDS = 1e-6
"""A smaller step is one of rounding."""
_LATE_FRAMES = 3
"""A time that is behind by more frames than this was set back; by fewer, frames came out of order (our choice)."""


class BestEffort:
    """The presentation time of each decoded frame, from its two timestamps: FFmpeg's `best_effort_timestamp`.

    FFmpeg computes it for every frame, but PyAV does not expose it, so this repeats the rule (`guess_correct_pts` in
    libavcodec/decode.c). A frame's `pts` counts, unless it is missing (AVI with B-frames stores none) or has failed to
    increase more often than `dts`; then `dts` counts.
    """

    def __init__(self) -> None:
        self._pts: int | None = None
        self._dts: int | None = None
        self._faulty_pts = 0
        self._faulty_dts = 0

    def of(self, pts: int | None, dts: int | None) -> int | None:
        """The time of the next frame in presentation order, None where it has none; in the unit of the arguments.

        Args:
            pts: the frame's presentation timestamp.
            dts: the decoding timestamp of the packet that completed the frame.
        """
        if dts is not None:
            self._faulty_dts += self._dts is not None and dts <= self._dts
        if pts is not None:
            self._faulty_pts += self._pts is not None and pts <= self._pts
        self._dts = pts if dts is None else dts
        self._pts = dts if pts is None else pts
        return pts if pts is not None and (dts is None or self._faulty_pts <= self._faulty_dts) else dts


class PtsClock:
    """Turns a stream's own times into seconds since its first frame, strictly increasing.

    - a missing time, or one that repeats the time before: one frame's duration after the frame before;
    - a time that is behind by up to three frames (frames out of order): half a frame after the frame before, until
      the stream's own time is ahead again, so that a few wrong times do not shift the later ones;
    - a time that is further behind, or more than 5 s (2.5 frames, for slower streams) ahead: the stream's clock was
      set. Time goes on by one frame and later times count from there. More than 5 s either way is reported as a jump.

    A frame's duration is the last step between two good times.

    Args:
        period_seconds: duration of a frame until one is known, > 0.
    """

    def __init__(self, period_seconds: float) -> None:
        if not period_seconds > 0:
            raise ValueError(f"period_seconds must be positive, got {period_seconds}")
        self._period = period_seconds
        self._max_jump = max(MAX_JUMP_SECONDS, 2.5 * period_seconds)
        self._last: float | None = None
        self._offset: float | None = None
        self._raw: float | None = None

    def advance(self, raw_seconds: float | None) -> tuple[float, bool]:
        """The time of the next frame.

        Args:
            raw_seconds: the stream's own time, None where it has none.

        Returns:
            Seconds since the first frame, and whether the stream's clock jumped.
        """
        before, self._raw = self._raw, raw_seconds
        if self._last is None:
            self._last, self._offset = 0.0, raw_seconds
            return 0.0, False
        following = self._last + self._period
        if raw_seconds is None or (raw_seconds == before and self._offset is not None):
            self._last = following
            return following, False
        if self._offset is None:
            self._offset = raw_seconds - following
        now = raw_seconds - self._offset
        step = now - self._last
        jumped = abs(step) > self._max_jump
        if jumped or step < -_LATE_FRAMES * self._period:
            self._offset, now = raw_seconds - following, following
        else:
            if before is not None and raw_seconds - before >= _LEAST_STEP_SECONDS:
                self._period = raw_seconds - before
            if step < _LEAST_STEP_SECONDS:
                now = self._last + self._period / 2
        self._last = now
        return now, jumped

    def restart(self) -> None:
        """The stream starts again (a loop): its next frame comes one frame's duration after the last."""
        self._offset = self._raw = None


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
