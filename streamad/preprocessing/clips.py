"""Whole frames: resizing to a network's input, and windows of consecutive frames."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from streamad.frame import Frame, UInt8Image


class ClipWindow:
    """The most recent frames of one camera, without gaps.

    A gap restarts the window: a frame flagged as discontinuous, a gap in the frame numbers (dropped frames), or another
    frame size.

    Args:
        length: Frames in a window; 16 in the learned-noise paper.
    """

    def __init__(self, length: int = 16) -> None:
        if length < 1:
            raise ValueError(f"a window needs at least one frame, got length {length}")
        self.length = length
        self._frames: deque[Frame] = deque(maxlen=length)
        self.gaps = 0
        """Number of times that a window was discarded because of a gap."""

    def push(self, frame: Frame) -> tuple[Frame, ...] | None:
        """Add the newest frame.

        Returns:
            The `length` newest frames, oldest first; None while fewer have followed the last gap.
        """
        if self._frames:
            last = self._frames[-1]
            if frame.is_discontinuity or frame.index != last.index + 1 or frame.shape != last.shape:
                self._frames.clear()
                self.gaps += 1
        self._frames.append(frame)
        return tuple(self._frames) if len(self._frames) == self.length else None

    def newest(self, age: int) -> Frame:
        """Return the frame from `age` frames ago; 0 is the newest.

        Raises:
            IndexError: If the window does not reach back that far.
        """
        return self._frames[-1 - age]

    def reset(self) -> None:
        """Forget all frames."""
        self._frames.clear()


def resize_frame(pixels: UInt8Image, height: int, width: int) -> UInt8Image:
    """Resize a frame, ignoring its aspect ratio.

    Bilinear, as in other code of the learned-noise paper's authors (to 256×256). Bilinear interpolation undersamples
    large frames, so frames that shrink more than twofold are averaged over areas. Chosen without measurement.

    Args:
        pixels: (rows, cols) uint8.
        height: Target number of rows.
        width: Target number of columns.
    """
    rows, cols = pixels.shape
    if (rows, cols) == (height, width):
        return np.ascontiguousarray(pixels)
    area = rows > 2 * height or cols > 2 * width
    return np.asarray(
        cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR), dtype=np.uint8
    )
