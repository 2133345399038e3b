"""Moving patches of a camera, each with a short history as channels."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamad.frame import Frame, LocationBoxes
from streamad.preprocessing.background import BackgroundModel
from streamad.preprocessing.grid import PATCH_SIZE, FrameSizeError, PatchGrid


@dataclass(frozen=True, slots=True)
class Patches:
    """The moving patches of one frame.

    Attributes:
        pixels: (n, channels, size, size) uint8; channel 0 is the newest frame, channel k is `lags[k]` frames older.
        locations: (n, 2) row and column of each patch.
        grid: The grid from which they were cut.
        boxes: Boxes of the grid's patches in the source's frame (before shrinking).
        warming_up: Whether a channel's frame is missing (at the start, after a gap, or dropped), or the background has
            not settled. Such a frame has no patches.
        dropped: Whether the reason is frames dropped under load rather than the start of the stream.
    """

    pixels: npt.NDArray[np.uint8]
    locations: npt.NDArray[np.intp]
    grid: PatchGrid
    boxes: LocationBoxes
    warming_up: bool
    dropped: bool = False


class PatchHistory:
    """Cuts moving patches out of a camera's frames.

    A patch moves if |frame − background| > `level` gray levels on at least a `share` of its pixels. This is our reading
    of the papers' "patches with pedestrians".

    Args:
        lags: Age of each channel, frames; (0,) is the papers' single picture, (0, 2, 4) shows the network how the
            content moves.
        level: Gray levels by which a pixel must differ.
        share: Share of a patch's pixels that must differ, in (0, 1].
        max_height: Height to which taller frames are shrunk (area averaging, same aspect ratio), pixels. Default:
            frames are not shrunk.
        background: The model of the scene at rest.
    """

    def __init__(
        self,
        *,
        lags: tuple[int, ...] = (0,),
        level: int = 15,
        share: float = 0.10,
        max_height: int | None = None,
        background: BackgroundModel | None = None,
    ) -> None:
        if not lags or lags[0] != 0 or list(lags) != sorted(set(lags)):
            raise ValueError(f"lags must start at 0 and increase, got {lags}")
        self._lags = lags
        self._level = level
        self._share = share
        self._max_height = max_height
        self._background = background or BackgroundModel()
        self._past: dict[int, npt.NDArray[np.uint8]] = {}
        self._first = 0
        self._grid: PatchGrid | None = None
        self._boxes: LocationBoxes | None = None
        self.gaps = 0
        """Number of times that the history was discarded because of a gap."""

    def push(self, frame: Frame) -> Patches:
        """Add the camera's next frame and return its moving patches.

        Raises:
            FrameSizeError: If the frame is smaller than one patch.
        """
        pixels = self._resized(frame.pixels)
        if self._grid is None or (self._grid.height, self._grid.width) != pixels.shape:
            if min(pixels.shape) < PATCH_SIZE <= min(frame.shape):
                raise FrameSizeError(
                    f"the frame of {frame.shape[1]}×{frame.shape[0]} pixels, shrunk to a height of "
                    f"{self._max_height} as the model requires, is {pixels.shape[1]} pixels wide: less than one patch "
                    f"of {PATCH_SIZE}×{PATCH_SIZE}",
                    hint="use a wider stream, or a model with a larger max_height",
                )
            self._grid = PatchGrid(pixels.shape[0], pixels.shape[1], PATCH_SIZE)
            self._boxes = None
        if self._boxes is None or self._boxes.shape != frame.shape:
            self._boxes = self._grid.boxes.scaled(frame.shape)
        self._forget_across_gap(frame, pixels)
        self._past = {k: past for k, past in self._past.items() if k >= frame.index - self._lags[-1]}
        self._past[frame.index] = pixels
        difference = self._background.difference(pixels)
        if not self._background.is_warm or any(frame.index - lag not in self._past for lag in self._lags):
            none = np.zeros((0, len(self._lags), PATCH_SIZE, PATCH_SIZE), np.uint8)
            full = self._background.is_warm and frame.index - self._first >= self._lags[-1]
            return Patches(none, np.zeros((0, 2), np.intp), self._grid, self._boxes, warming_up=True, dropped=full)
        changed = cv2.threshold(difference, self._level, 1, cv2.THRESH_BINARY)[1]
        locations = np.argwhere(self._grid.share(np.asarray(changed, np.uint8)) >= self._share)
        channels = [self._grid.cut(self._past[frame.index - lag], locations) for lag in self._lags]
        return Patches(np.stack(channels, axis=1), locations, self._grid, self._boxes, warming_up=False)

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Box (x0, y0, x1, y1) of a patch in pixels of the source's newest frame (before shrinking).

        Raises:
            ValueError: If no frame has been added, so there is no grid yet.
        """
        if self._boxes is None:
            raise ValueError("there is no grid before the first frame")
        return self._boxes.box(row, col)

    def reset(self) -> None:
        """Forget the frames and the background."""
        self._past.clear()
        self._background.reset()

    def _forget_across_gap(self, frame: Frame, pixels: npt.NDArray[np.uint8]) -> None:
        """Discard the history if the frame does not continue the stream.

        Dropped frames (gaps in the numbers) discard nothing: channels are found by age, and a frame whose older frames
        were dropped has no patches. A camera that loses every other frame is therefore still scored. The background
        even survives a discontinuity unless the size changes: it is a slow median, and a camera that reconnects shows
        the same scene.
        """
        if not self._past:
            self._first = frame.index
            return
        last = max(self._past)
        if frame.is_discontinuity or frame.index <= last or self._past[last].shape != pixels.shape:
            self._past.clear()
            self._first = frame.index
            self.gaps += 1

    def _resized(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        height, width = pixels.shape
        if self._max_height is None or height <= self._max_height:
            return pixels
        scaled = (max(1, round(width * self._max_height / height)), self._max_height)
        return np.asarray(cv2.resize(pixels, scaled, interpolation=cv2.INTER_AREA), dtype=np.uint8)
