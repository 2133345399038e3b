"""Frozen pictures: repeats of one picture, distinguished from a still scene by the sensor's noise."""

from __future__ import annotations

import cv2
import numpy as np

from streamad.frame import UInt8Image
from streamad.sources.quality.measures import Pixels, RollingQuantiles, area_average, quantile

NO_KEY_FACTOR = 3.0
"""Factor on the required duration if exact repeats contain no key frame. An efficient encoder repeats the blocks of a
still scene exactly, but a key frame encodes them again with the noise of that moment."""

NEAR_SHARE = 0.2
"""Key frames count as near-exact repeats if they differ by less than this share of the difference that the camera's
noise causes in its stillest blocks. Noise does not drop to a fifth by itself, whereas a re-encoded frozen picture
differs only by rounding."""

KEY_SECONDS = 0.99
"""Minimum time between compared key frames: in a folder of images every frame is one."""

BLOCKS = 8
KEYS_KEPT, MIN_KEYS = 200, 10


class FreezeDetector:
    """Detects that a camera's picture has not changed for a time, as no live picture can.

    There are two criteria. Exact: no sampled pixel has changed, and a key frame was among the repeats. Near-exact:
    consecutive key frames differ by only a small part of the camera's own noise, as when the stuck picture of a hung
    sensor is still being encoded. Blocks covering a tenth of the picture may change, because encoders overlay clocks.

    Args:
        seconds: The required duration.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._noise = RollingQuantiles(KEYS_KEPT, MIN_KEYS)
        self.reset()

    def reset(self) -> None:
        """Restart after a gap in the stream. The camera's noise statistics are kept."""
        self._anchor: Pixels | None = None
        self._same_since = 0.0
        self._keys = 0
        self._key: UInt8Image | None = None
        self._near_since: float | None = None
        self._near_until = 0.0

    def update(self, pixels: Pixels, seconds: float, *, is_key: bool) -> bool:
        """Check the next frame; return whether the picture is frozen.

        Args:
            pixels: The frame's pixels.
            seconds: The frame's time.
            is_key: Whether it is a key frame.
        """
        exact = self._repeats(pixels, seconds, is_key)
        if is_key and (self._key is None or seconds - self._near_until >= KEY_SECONDS):
            self._compare_keys(pixels.sample, seconds)
        near = self._near_since is not None and self._near_until - self._near_since >= self._seconds
        return exact or near

    def _repeats(self, pixels: Pixels, seconds: float, is_key: bool) -> bool:
        if self._anchor is None or not pixels.is_same(self._anchor):
            self._anchor, self._same_since, self._keys = pixels, seconds, 0
            return False
        self._keys += is_key
        lasted = seconds - self._same_since
        return lasted >= self._seconds and (self._keys > 0 or lasted >= NO_KEY_FACTOR * self._seconds)

    def _compare_keys(self, sample: UInt8Image, seconds: float) -> None:
        before, self._key = self._key, sample
        if before is None:
            self._near_until = seconds
            return
        difference = np.asarray(cv2.absdiff(sample, before), dtype=np.float32)
        blocks = np.sort(area_average(difference, (BLOCKS, BLOCKS)).ravel()).tolist()
        still, busy = quantile(blocks, 0.2), quantile(blocks, 0.9)
        if self._noise.is_ready and busy <= NEAR_SHARE * self._noise.quantile(0.1):
            self._near_since = self._near_until if self._near_since is None else self._near_since
        else:
            self._near_since = None
            self._noise.add(still)
        self._near_until = seconds
