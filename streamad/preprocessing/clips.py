"""Whole frames: resized to a network's input, and as windows of consecutive frames for detectors that score clips."""

from __future__ import annotations

from collections import deque

import cv2
import numpy as np

from streamad.frame import Frame, UInt8Image


class ClipWindow:
    """The last frames of one camera, without a hole between them.

    Args:
        length: frames in a window (source: 16 in the learned-noise paper).

    A window starts anew after a gap: a frame flagged as discontinuous, a hole in the frame numbers (frames were
    dropped), or another frame size.
    """

    def __init__(self, length: int = 16) -> None:
        if length < 1:
            raise ValueError(f"a window needs at least one frame, got length {length}")
        self.length = length
        self._frames: deque[Frame] = deque(maxlen=length)
        self.gaps = 0
        """Times that a window was thrown away because of a gap."""

    def push(self, frame: Frame) -> tuple[Frame, ...] | None:
        """Add the newest frame.

        Returns:
            The `length` newest frames, oldest first, or None while fewer than that follow the last gap.
        """
        if self._frames:
            last = self._frames[-1]
            if frame.is_discontinuity or frame.index != last.index + 1 or frame.shape != last.shape:
                self._frames.clear()
                self.gaps += 1
        self._frames.append(frame)
        return tuple(self._frames) if len(self._frames) == self.length else None

    def newest(self, age: int) -> Frame:
        """The frame that came `age` frames ago; 0 is the newest.

        Raises:
            IndexError: the window does not reach back so far.
        """
        return self._frames[-1 - age]

    def reset(self) -> None:
        """Forget all frames."""
        self._frames.clear()


def resize_frame(pixels: UInt8Image, height: int, width: int) -> UInt8Image:
    """A frame at another size, its aspect ignored, bilinear.

    Source: the learned-noise paper's authors' other code (bilinear to 256×256). Bilinear alone samples a large frame
    thinly, so one that is to shrink more than twofold is averaged over areas (our choice).

    Args:
        pixels: (rows, cols) uint8.
        height: rows wanted.
        width: columns wanted.
    """
    rows, cols = pixels.shape
    if (rows, cols) == (height, width):
        return np.ascontiguousarray(pixels)
    area = rows > 2 * height or cols > 2 * width
    return np.asarray(
        cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR), dtype=np.uint8
    )
