"""Frame times: strictly increasing presentation times, and pacing of replays."""

from __future__ import annotations

from collections.abc import Callable

MAX_JUMP_SECONDS = 5.0
"""A larger step of a stream's clock counts as a jump, and time continues by one frame. Recorders jump alike. Chosen
without measurement."""

_MIN_STEP_SECONDS = 1e-6
"""A smaller step is a rounding error."""
_LATE_FRAMES = 3
"""A time that is behind by more frames than this means that the clock was set back; by fewer, that frames are out of
order. Chosen without measurement."""


class BestEffort:
    """Presentation time of each decoded frame from its two timestamps: FFmpeg's `best_effort_timestamp`.

    FFmpeg computes it for every frame, but PyAV does not expose it, so this class repeats the rule (`guess_correct_pts`
    in libavcodec/decode.c). It is the frame's `pts`, unless that is missing (AVI with B-frames stores none) or has
    failed to increase more often than `dts`; then it is `dts`.
    """

    def __init__(self) -> None:
        self._pts: int | None = None
        self._dts: int | None = None
        self._faulty_pts = 0
        self._faulty_dts = 0

    def of(self, pts: int | None, dts: int | None) -> int | None:
        """Return the time of the next frame in presentation order, in the unit of the arguments; None if it has none.

        Args:
            pts: The frame's presentation timestamp.
            dts: The decoding timestamp of the packet that completed the frame.
        """
        if dts is not None:
            self._faulty_dts += self._dts is not None and dts <= self._dts
        if pts is not None:
            self._faulty_pts += self._pts is not None and pts <= self._pts
        self._dts = pts if dts is None else dts
        self._pts = dts if pts is None else pts
        return pts if pts is not None and (dts is None or self._faulty_pts <= self._faulty_dts) else dts


class PtsClock:
    """Converts a stream's own times to strictly increasing seconds since its first frame.

    - A missing or repeated time becomes the previous time plus one frame duration.
    - A time that is behind by up to three frames (frames out of order) becomes the previous time plus half a frame
      duration until the stream's time is ahead again, so that a few wrong times do not shift later ones.
    - A time that is further behind, or more than 5 s (2.5 frames for slower streams) ahead, means that the stream's
      clock was set. Time continues by one frame, and later times count from there. More than 5 s in either direction
      is reported as a jump.

    The frame duration is the last step between two good times.

    Args:
        period_seconds: Frame duration to assume until one is known, > 0.
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
        """Return the time of the next frame.

        Args:
            raw_seconds: The stream's own time; None if it has none.

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
            if before is not None and raw_seconds - before >= _MIN_STEP_SECONDS:
                self._period = raw_seconds - before
            if step < _MIN_STEP_SECONDS:
                now = self._last + self._period / 2
        self._last = now
        return now, jumped

    def restart(self) -> None:
        """Restart the stream (for a loop): its next frame comes one frame duration after the last."""
        self._offset = self._raw = None


class Pacer:
    """Delays frames until they are due, so that a file plays like a camera.

    Args:
        speed: Playback speed; 2 plays twice as fast.
        clock: Monotonic clock, seconds.
        sleep: Function that waits for a number of seconds.
    """

    def __init__(self, speed: float, *, clock: Callable[[], float], sleep: Callable[[float], None]) -> None:
        self._speed, self._clock, self._sleep = speed, clock, sleep
        self._start: float | None = None

    def wait(self, pts_seconds: float) -> None:
        """Return when the frame with that time is due; immediately if it is overdue."""
        if self._start is None:
            self._start = self._clock() - pts_seconds / self._speed
        delay = self._start + pts_seconds / self._speed - self._clock()
        if delay > 0:
            self._sleep(delay)
