"""FrameSampler: from clips of normal video to whole frames and the windows over them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from streamad.errors import UsageError
from streamad.frame import Frame
from streamad.preprocessing.clips import resize_frame

SEGMENT = 64
"""Frames that are kept or dropped together, so that windows can be cut from them."""


class FrameSampler:
    """Keeps a bounded random sample of frames at the network's size, in segments without gaps.

    Args:
        height: Rows of the network's input.
        width: Its columns.
        window: Frames in a window; shorter segments are dropped.
        max_frames: Maximum number of frames; beyond it, segments are sampled uniformly (reservoir sampling).
        seed: Seed of the sample.
    """

    def __init__(self, height: int, width: int, *, window: int, max_frames: int, seed: int) -> None:
        self._size = (height, width)
        self._window = window
        self._most = max(1, max_frames // SEGMENT)
        self._rng = np.random.default_rng(seed)
        self._segments: list[npt.NDArray[np.uint8]] = []
        self._seen = 0
        self.frames = 0

    def feed(self, frames: Iterable[Frame]) -> None:
        """Add the frames of one clip."""
        segment: list[npt.NDArray[np.uint8]] = []
        last: Frame | None = None
        for frame in frames:
            self.frames += 1
            if last is not None and (frame.is_discontinuity or frame.index != last.index + 1):
                self._keep(segment)
                segment = []
            elif len(segment) >= SEGMENT + self._window - 1:
                self._keep(segment)
                segment = segment[SEGMENT:]  # keep the windows across the cut
            segment.append(resize_frame(frame.pixels, *self._size))
            last = frame
        self._keep(segment)

    def windows(self) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.intp]]:
        """Return all frames, (n, height, width) uint8, and the first frame of each window, (m,).

        Raises:
            UsageError: No segment is as long as a window, or all frames are equal or of one gray level.
        """
        if not self._segments:
            raise UsageError(
                f"{self.frames} frames contain no {self._window} consecutive ones, which a window needs",
                hint="give longer clips of normal video",
            )
        frames = np.concatenate(self._segments)
        if frames.min() == frames.max():
            raise UsageError(
                f"all {len(frames)} frames have one gray level ({int(frames.min())}); nothing can be learned from them",
                hint="check the recording: a covered or broken camera produces such frames",
            )
        if len(frames) > 1 and (frames == frames[0]).all():
            raise UsageError(
                f"all {len(frames)} frames are the same picture, so there is nothing to learn from",
                hint="check the recording: a frozen camera produces such frames",
            )
        starts, begin = [], 0
        for segment in self._segments:
            starts.append(begin + np.arange(len(segment) - self._window + 1))
            begin += len(segment)
        return frames, np.concatenate(starts)

    def _keep(self, segment: list[npt.NDArray[np.uint8]]) -> None:
        if len(segment) < self._window:
            return
        self._seen += 1
        if len(self._segments) < self._most:
            self._segments.append(np.stack(segment))
            return
        place = int(self._rng.integers(self._seen))
        if place < self._most:
            self._segments[place] = np.stack(segment)
