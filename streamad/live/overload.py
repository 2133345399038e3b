"""Overload of the machine by a camera: the share of its frames that were dropped recently, with hysteresis."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable

WINDOW_SECONDS = 6.0
"""Frames are counted over this time. Overload must last for all of it, so that a burst, such as a camera sends when it
connects, does not count."""

BEGIN_SHARE = 0.05
"""Overload begins when more than this share of the frames in the window was dropped …"""

END_SHARE = 0.01
"""… and ends when no more than this share was, so that fluctuations are reported once."""


class Overload:
    """Follows one camera's frame counts.

    Args:
        clock: Monotonic seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._counts: deque[tuple[float, int, int]] = deque()
        self.is_active = False
        """Whether the machine does not keep up with the camera."""
        self.share = 0.0
        """Share of the frames in the window that were dropped, 0..1."""

    def update(self, arrived: int, dropped: int) -> bool:
        """Take the camera's counts since the start; call this about every half second.

        Args:
            arrived: Number of frames decoded, including dropped ones.
            dropped: Number of frames dropped because they were not taken in time.

        Returns:
            Whether `is_active` changed.
        """
        now = self._clock()
        counts = self._counts
        counts.append((now, arrived, dropped))
        while len(counts) > 2 and now - counts[1][0] >= WINDOW_SECONDS:
            counts.popleft()
        middle = next(count for count in counts if now - count[0] <= WINDOW_SECONDS / 2)
        self.share = _share(counts[0], counts[-1])
        was, is_full = self.is_active, now - counts[0][0] >= WINDOW_SECONDS
        if was:
            self.is_active = self.share > END_SHARE
        elif is_full:
            self.is_active = min(_share(counts[0], middle), _share(middle, counts[-1])) > BEGIN_SHARE
        return self.is_active != was


def _share(first: tuple[float, int, int], last: tuple[float, int, int]) -> float:
    """Share of the frames between two counts that were dropped."""
    return (last[2] - first[2]) / max(1, last[1] - first[1])
