"""A causal background model, for detecting what differs from the scene at rest."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_LEVELS = np.arange(256)

_SAMPLES = 32
"""Maximum number of frames in a median over all frames seen; the minimum is half of it. If a location is free for more
than half of the time, the median of 16 frames shows it at rest. Chosen without measurement."""


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
        settling: Frames during which the background is reset to the temporal median of 16 to 32 frames spread over
            all of them, first after `warmup` and then whenever twice as many have been seen. Otherwise a person who
            stood in a crowd in the first seconds would remain as a ghost until absorbed. 0 disables it. Takes up to
            32 pictures of memory until then.
    """

    def __init__(self, *, period: int = 4, warmup: int = 32, settling: int = 0) -> None:
        if period < 1 or warmup < 1 or settling < 0:
            raise ValueError(
                f"period and warmup must be at least 1 frame and settling at least 0, got {period}, {warmup} and "
                f"{settling}"
            )
        self._period = period
        self._warmup = warmup
        self._settling = settling
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
        self._samples: list[npt.NDArray[np.uint8]] = []
        self._spacing = 1
        self._next_settling = self._warmup
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
        if self._seen <= self._settling:
            self._settle(pixels)
        elif self._samples:
            self._samples = []
        return difference

    def _settle(self, pixels: npt.NDArray[np.uint8]) -> None:
        """Collect sample frames; when due, reset the background to their median."""
        if self._seen % self._spacing == 0:
            self._samples.append(pixels.copy())
            if len(self._samples) == _SAMPLES:  # double the spacing from here on
                self._samples = self._samples[1::2]
                self._spacing *= 2
        if self._seen == self._next_settling:
            middle = len(self._samples) // 2
            self._image = np.partition(np.stack(self._samples), middle, axis=0)[middle].copy()
            self._next_settling *= 2

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
            self._samples = [cv2.LUT(sample, table).astype(np.uint8) for sample in self._samples]
