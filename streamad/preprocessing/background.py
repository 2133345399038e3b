"""A causal background model, for detecting what differs from the scene at rest."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_LEVELS = np.arange(256)


class BackgroundModel:
    """Running median of past frames, per pixel.

    Each step moves the background by one gray level toward the frame, so its fixed point is the temporal median (the
    "approximate median" of McFarlane and Schofield 1995). It needs one byte per pixel and no history, and a passer-by
    moves it by only a few gray levels, where a running mean would keep a ghost. The first steps are larger, so that
    people in the first frame are forgotten within about `warmup` frames.

    Global changes of light are followed immediately: the median of (frame − background) over the picture is added to
    the background before the comparison, so that a cloud does not make every patch appear to move.

    Args:
        period: Frames per step of one gray level after the warm-up. At 10 frames per second and the default 4, a
            stationary object with a contrast of 40 gray levels is absorbed after 16 s.
        warmup: Frames over which the steps shrink from 28 gray levels (with the default) to one.
    """

    def __init__(self, *, period: int = 4, warmup: int = 32) -> None:
        if period < 1 or warmup < 1:
            raise ValueError(f"period and warmup must be at least 1 frame, got {period} and {warmup}")
        self._period = period
        self._warmup = warmup
        self.reset()

    @property
    def image(self) -> npt.NDArray[np.uint8] | None:
        """The background, (H, W) uint8; None before the first frame."""
        return self._image

    @property
    def is_warm(self) -> bool:
        """Whether the warm-up is over. Before that, ghosts of the first frame may remain."""
        return self._seen > self._warmup

    def reset(self) -> None:
        """Forget everything, for another scene or frame size."""
        self._image: npt.NDArray[np.uint8] | None = None
        self._seen = 0

    def difference(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Return the absolute difference to the background of past frames, then learn from the frame.

        Args:
            pixels: (H, W) uint8 luma. A change of size resets the model.

        Returns:
            (H, W) uint8; all zero for the first frame.
        """
        if self._image is None or self._image.shape != pixels.shape:
            self.reset()
            self._image = pixels.copy()
            self._seen = 1
            return np.zeros_like(pixels)
        self._follow_light(pixels)
        difference: npt.NDArray[np.uint8] = np.asarray(cv2.absdiff(pixels, self._image), dtype=np.uint8)
        self._seen += 1
        step = max(1, (2 * 16 * self._warmup) // (self._seen * self._seen + self._warmup)) if not self.is_warm else 1
        if not self.is_warm or self._seen % self._period == 0:
            self._step_towards(pixels, step)
        return difference

    def _step_towards(self, pixels: npt.NDArray[np.uint8], step: int) -> None:
        assert self._image is not None
        # Saturating uint8 arithmetic: step by min(step, |difference|), up where the frame is brighter, else down.
        up = cv2.min(cv2.subtract(pixels, self._image), step)  # type: ignore[call-overload]
        down = cv2.min(cv2.subtract(self._image, pixels), step)  # type: ignore[call-overload]
        self._image = np.asarray(cv2.subtract(cv2.add(self._image, up), down), dtype=np.uint8)

    def _follow_light(self, pixels: npt.NDArray[np.uint8]) -> None:
        assert self._image is not None
        sample = (slice(None, None, 8), slice(None, None, 8))
        shift = int(np.median(pixels[sample].astype(np.int16) - self._image[sample]))
        if abs(shift) > 2:  # the steps themselves follow a gray level or two
            table = np.clip(_LEVELS + shift, 0, 255).astype(np.uint8)
            self._image = cv2.LUT(self._image, table).astype(np.uint8)
