"""Frame: the one record that flows from a source to a score."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntFlag

import numpy as np
import numpy.typing as npt

UInt8Image = npt.NDArray[np.uint8]


class FrameFlags(IntFlag):
    """What a decoder knows of a frame beside its picture."""

    NONE = 0
    KEY = 1
    """The frame is a key frame: it was decoded without reference to earlier ones."""
    CORRUPT = 2
    """The decoder met errors in this frame, or in one since the last clean key frame, on which it may build."""
    DISCONTINUITY = 4
    """First frame after a (re)connect, a seek or loop, a jump of the clock or a change of size: whatever
    remembers earlier frames (clips, backgrounds) must start anew."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame of one camera.

    Attributes:
        camera: the configured id of the camera (never a URL).
        index: running number of the frame in decode order, from 0, never reused within one process of a
            camera. A hole in the numbers means that frames were dropped.
        pts_seconds: presentation time, seconds since the source's first frame; increasing.
        received_at: seconds of the clock `time.monotonic()` when the decoder delivered the frame (on Linux this
            clock is common to all processes of the machine).
        pixels: (H, W) uint8 luma, full range 0..255: a source expands limited-range video (16..235).
        flags: what the decoder said of the frame.
    """

    camera: str
    index: int
    pts_seconds: float
    received_at: float
    pixels: UInt8Image = field(repr=False)
    flags: FrameFlags = FrameFlags.NONE

    def __post_init__(self) -> None:
        if self.pixels.ndim != 2 or self.pixels.dtype != np.uint8:
            raise ValueError(
                f"Frame.pixels must be a (H, W) uint8 array of luma, got shape {self.pixels.shape} "
                f"and dtype {self.pixels.dtype}"
            )

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @property
    def is_discontinuity(self) -> bool:
        """True where everything that remembers earlier frames must start anew."""
        return bool(self.flags & FrameFlags.DISCONTINUITY)
