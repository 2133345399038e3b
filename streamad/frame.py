"""Frame: the record that flows from a source to a score; LocationBoxes: where an anomaly map's locations lie on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag
from typing import Self

import numpy as np
import numpy.typing as npt

UInt8Image = npt.NDArray[np.uint8]


class FrameFlags(IntFlag):
    """What a decoder knows about a frame apart from its pixels."""

    NONE = 0
    KEY = 1
    """Key frame: decoded without reference to earlier frames."""
    CORRUPT = 2
    """The decoder found errors in this frame, or in one since the last clean key frame that it may depend on."""
    DISCONTINUITY = 4
    """First frame after a (re)connect, a seek, a loop, a clock jump or a change of size. All state from earlier frames
    (windows, backgrounds) must be reset."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One decoded frame of one camera.

    Attributes:
        camera: The camera's configured id (never a URL).
        index: Number of the frame in decode order, from 0, never reused within one process of a camera. A gap in the
            numbers means that frames were dropped.
        pts_seconds: Presentation time, seconds since the source's first frame; increasing.
        received_at: `time.monotonic()` when the decoder delivered the frame, seconds. On Linux, all processes of a
            machine share this clock.
        pixels: (H, W) uint8 luma, full range 0..255: a source expands limited-range video (16..235).
        flags: What the decoder reported about the frame.
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
        """True if all state from earlier frames must be reset."""
        return bool(self.flags & FrameFlags.DISCONTINUITY)


@dataclass(frozen=True, slots=True)
class LocationBoxes:
    """Where the locations of an anomaly map lie on one frame. Stored with each score, because frame sizes can change.

    Attributes:
        shape: (height, width) of the frame, pixels.
        rows: (top, bottom) of each row of locations, pixels of the frame, bottom exclusive. Rows may overlap.
        cols: (left, right) of each column of locations, likewise.
    """

    shape: tuple[int, int]
    rows: tuple[tuple[int, int], ...]
    cols: tuple[tuple[int, int], ...]

    @classmethod
    def between(cls, shape: tuple[int, int], ys: Sequence[int], xs: Sequence[int], *, span: int = 1) -> Self:
        """Create the locations between grid lines.

        Args:
            shape: (height, width) of the frame, pixels.
            ys: Pixel row of each horizontal line, from the top.
            xs: Pixel column of each vertical line, from the left.
            span: Number of grid steps that a location covers; with more than 1, locations overlap.
        """
        return cls(shape, tuple(zip(ys, ys[span:], strict=False)), tuple(zip(xs, xs[span:], strict=False)))

    @property
    def grid(self) -> tuple[int, int]:
        """(rows, cols)."""
        return len(self.rows), len(self.cols)

    def box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of a location, pixels of the frame; right and bottom edges exclusive.

        Raises:
            IndexError: There is no such location.
        """
        if not (0 <= row < len(self.rows) and 0 <= col < len(self.cols)):
            raise IndexError(
                f"the anomaly map has {len(self.rows)}×{len(self.cols)} cells, got row {row} and column {col}"
            )
        (y0, y1), (x0, x1) = self.rows[row], self.cols[col]
        return x0, y0, x1, y1

    def scaled(self, shape: tuple[int, int]) -> LocationBoxes:
        """Return the same locations on the frame resized to `shape`, (height, width)."""
        if shape == self.shape:
            return self
        (height, width), (tall, wide) = self.shape, shape
        return LocationBoxes(
            shape,
            tuple((round(a * tall / height), round(b * tall / height)) for a, b in self.rows),
            tuple((round(a * wide / width), round(b * wide / width)) for a, b in self.cols),
        )
