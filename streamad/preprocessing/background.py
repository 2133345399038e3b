"""A causal background model, and the cells in which something differs from it."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

_LEVELS = np.arange(256)

_SAMPLES = 32
"""Most frames of a median of all that was seen, half as many the fewest (our choice): of a place that is free for more
than half of the time, the median of 16 shows what is there at rest."""


class BackgroundModel:
    """Running median of the past frames, pixel by pixel.

    Each step moves the background one gray level towards the frame: its fixed point is the temporal median (the
    "approximate median" of McFarlane and Schofield 1995; source of the choice: ours). It needs one byte a pixel, no
    history, and a passer-by moves it by a few gray levels where a running mean would keep a ghost. The first steps are
    larger, so that people who stand in the first frame are forgotten within about `warmup` frames.

    A global change of light is followed at once: the median of (frame − background) over the picture is added to the
    background before the comparison, so that a cloud does not make every cell move.

    Args:
        period: frames for one step of one gray level once warm. At 10 frames a second and the default 4, an object
            of 40 gray levels contrast that stays is absorbed after 16 s.
        warmup: frames over which the steps shrink from 28 gray levels (with the default) to one.
        settling: frames in which the background is set anew, first after `warmup` and then whenever twice as many were
            seen, to the temporal median of 16 to 32 frames spread over all of them. A person who stood in a crowd
            of the first seconds would otherwise be a ghost for as long as his contrast takes to be absorbed. 0 does
            without. Costs up to 32 pictures of memory until then.
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
        """(H, W) uint8 background, None before the first frame."""
        return self._image

    @property
    def is_warm(self) -> bool:
        """False while the first, larger steps are taken and ghosts of the first frame may remain."""
        return self._seen > self._warmup

    def reset(self) -> None:
        """Forget everything (another scene, another size)."""
        self._image: npt.NDArray[np.uint8] | None = None
        self._samples: list[npt.NDArray[np.uint8]] = []
        self._spacing = 1
        self._next_settling = self._warmup
        self._seen = 0

    def difference(self, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
        """Absolute difference to the background of the past, then learn from the frame.

        Args:
            pixels: (H, W) uint8 luma. Another size than before starts the model anew.

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
        """Keep one frame in so many; when it is time, their median is the background."""
        if self._seen % self._spacing == 0:
            self._samples.append(pixels.copy())
            if len(self._samples) == _SAMPLES:  # from here on one in twice as many
                self._samples = self._samples[1::2]
                self._spacing *= 2
        if self._seen == self._next_settling:
            middle = len(self._samples) // 2
            self._image = np.partition(np.stack(self._samples), middle, axis=0)[middle].copy()
            self._next_settling *= 2

    def _step_towards(self, pixels: npt.NDArray[np.uint8], step: int) -> None:
        assert self._image is not None
        # Saturating uint8 arithmetic: min(step, |difference|) up where the frame is brighter, down where darker.
        up = cv2.min(cv2.subtract(pixels, self._image), step)  # type: ignore[call-overload]
        down = cv2.min(cv2.subtract(self._image, pixels), step)  # type: ignore[call-overload]
        self._image = np.asarray(cv2.subtract(cv2.add(self._image, up), down), dtype=np.uint8)

    def _follow_light(self, pixels: npt.NDArray[np.uint8]) -> None:
        assert self._image is not None
        sample = (slice(None, None, 8), slice(None, None, 8))
        shift = int(np.median(pixels[sample].astype(np.int16) - self._image[sample]))
        if abs(shift) > 2:  # a gray level or two is what the steps follow by themselves
            table = np.clip(_LEVELS + shift, 0, 255).astype(np.uint8)
            self._image = cv2.LUT(self._image, table).astype(np.uint8)
            self._samples = [cv2.LUT(sample, table).astype(np.uint8) for sample in self._samples]
