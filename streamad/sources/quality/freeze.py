"""Frozen pictures: the same one again and again, told from a scene at rest by the sensor's noise."""

from __future__ import annotations

import cv2
import numpy as np

from streamad.frame import UInt8Image
from streamad.sources.quality.measures import Pixels, Usual, averaged, quantile

WITHOUT_KEY = 3.0
"""Exact repeats without a key frame among them count after so many times the span: a thrifty encoder repeats the blocks
of a still scene exactly, but a key frame codes them all anew, with the noise of that moment."""

NEAR = 0.2
"""Key frames are near-exact repeats where they differ by less than this share of what the camera's noise makes them
differ by in its stillest blocks. Noise does not fall to a fifth by itself; a picture that is coded again comes out the
same but for a rounding."""

KEY_SECONDS = 0.99
"""Key frames are compared about a second apart at least: in a folder of images each is one."""

BLOCKS = 8
KEYS_KEPT, KEYS_KNOWN = 200, 10


class FreezeDetector:
    """Says whether a camera's picture has stood still for a span, as no live picture can.

    Two ways lead there. Exact: no sampled pixel has changed, and a key frame was among the repeats. Near-exact: key
    frame after key frame differs by a small part of the camera's own noise, as where a hung sensor is still encoded.
    Blocks of a tenth of the picture may change, since encoders burn clocks into dead pictures.

    Args:
        seconds: the span.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._noise = Usual(KEYS_KEPT, KEYS_KNOWN)
        self.reset()

    def reset(self) -> None:
        """The stream broke off; the camera's noise is remembered."""
        self._anchor: Pixels | None = None
        self._same_since = 0.0
        self._keys = 0
        self._key: UInt8Image | None = None
        self._near_since: float | None = None
        self._near_until = 0.0

    def update(self, pixels: Pixels, seconds: float, *, is_key: bool) -> bool:
        """Take the next frame.

        Args:
            pixels: of the frame.
            seconds: its time.
            is_key: whether it is a key frame.
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
        return lasted >= self._seconds and (self._keys > 0 or lasted >= WITHOUT_KEY * self._seconds)

    def _compare_keys(self, sample: UInt8Image, seconds: float) -> None:
        before, self._key = self._key, sample
        if before is None:
            self._near_until = seconds
            return
        difference = np.asarray(cv2.absdiff(sample, before), dtype=np.float32)
        blocks = np.sort(averaged(difference, (BLOCKS, BLOCKS)).ravel()).tolist()
        still, busy = quantile(blocks, 0.2), quantile(blocks, 0.9)
        if self._noise.is_known and busy <= NEAR * self._noise.quantile(0.1):
            self._near_since = self._near_until if self._near_since is None else self._near_since
        else:
            self._near_since = None
            self._noise.add(still)
        self._near_until = seconds
