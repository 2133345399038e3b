"""What the gate measures on a frame: a small picture, its contrast, its edges.

Everything works on a picture of about 160 pixels across, so that a frame costs some tenths of a millisecond whatever
its size. Source: our choice throughout.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamad.frame import UInt8Image

Plane = npt.NDArray[np.float32]

SAMPLE_WIDTH = 320
THUMB_WIDTH = 160
REFRESH_SAMPLES = 20
"""Quantiles are computed anew after so many samples."""

EDGE_CAP = 4.0
"""Edges count at most this many times the picture's mean gradient, so that one bright rim does not decide."""


@dataclass(frozen=True, slots=True, eq=False)
class Look:
    """One frame as the gate sees it.

    Attributes:
        sample: pixels picked from the frame without averaging, at least 320 across where the frame has so many: they
            keep the sensor's noise, by which a still scene differs from a frozen picture.
        thumb: (h, w) uint8, 80 to 240 across, areas averaged.
        mean: mean grey level of `thumb`.
        contrast: standard deviation of `thumb`, grey levels.
        sharpness: mean absolute Laplacian of `thumb`, grey levels.
        edges: (h, w) float32 gradient, capped, of zero mean and unit length: the dot product of two is their
            correlation, which no gain or offset of the light changes.
    """

    sample: UInt8Image
    thumb: UInt8Image
    mean: float
    contrast: float
    sharpness: float
    edges: Plane


def picked(pixels: UInt8Image) -> UInt8Image:
    """`Look.sample` of a frame, (H, W) uint8."""
    stride = max(1, pixels.shape[1] // SAMPLE_WIDTH)
    return np.ascontiguousarray(pixels[::stride, ::stride]) if stride > 1 else pixels


def look_at(sample: UInt8Image) -> Look:
    """Measure the pixels picked from a frame."""
    factor = max(1, round(sample.shape[1] / THUMB_WIDTH))
    thumb = sample
    if factor > 1:
        size = (max(1, sample.shape[1] // factor), max(1, sample.shape[0] // factor))
        thumb = np.asarray(cv2.resize(sample, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    mean, deviation = cv2.meanStdDev(thumb)
    plane = thumb.astype(np.float32)
    sharpness = float(cv2.norm(cv2.Laplacian(plane, cv2.CV_32F), cv2.NORM_L1)) / plane.size
    return Look(sample, thumb, float(mean.item()), float(deviation.item()), sharpness, edges_of(plane))


def edges_of(thumb: Plane) -> Plane:
    """The normalised edges of a small picture, (h, w) float32; see `Look.edges`."""
    across = cv2.Sobel(thumb, cv2.CV_32F, 1, 0, ksize=3, scale=1 / 8)
    down = cv2.Sobel(thumb, cv2.CV_32F, 0, 1, ksize=3, scale=1 / 8)
    size = cv2.magnitude(across, down)
    capped = np.minimum(np.asarray(size, dtype=np.float32), np.float32(EDGE_CAP * cv2.mean(size)[0]))
    capped = capped - np.float32(cv2.mean(capped)[0])
    length = float(cv2.norm(capped))
    return np.asarray(capped / length if length > 0 else capped, dtype=np.float32)


def agreement(a: Plane, b: Plane) -> float:
    """Correlation, −1 to 1, of two normalised edge pictures of one size."""
    return float(a.ravel() @ b.ravel())


def correlation(a: npt.NDArray[np.uint8] | Plane, b: npt.NDArray[np.uint8] | Plane) -> float:
    """Correlation, −1 to 1, of the grey levels of two pictures of one size; 0 where one is flat."""
    x, y = a.astype(np.float32).ravel(), b.astype(np.float32).ravel()
    x -= x.mean()
    y -= y.mean()
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length > 0 else 0.0


class Usual:
    """What is usual for a camera: its own measurements of the last minutes, from frames that were good.

    Args:
        span: samples kept.
        least: samples from which on something is known.
    """

    def __init__(self, span: int, least: int) -> None:
        self._values: deque[float] = deque(maxlen=span)
        self._least = least
        self._known: dict[float, float] = {}
        self._added = 0

    def add(self, value: float) -> None:
        """Take a sample."""
        self._values.append(value)
        self._added += 1
        if self._added >= REFRESH_SAMPLES or len(self._values) < 2 * REFRESH_SAMPLES:
            self._added = 0
            self._known.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._known.clear()

    @property
    def is_known(self) -> bool:
        """Whether there are enough samples."""
        return len(self._values) >= self._least

    def quantile(self, share: float) -> float:
        """Quantile of the samples, share 0..1.

        Raises:
            ValueError: there is no sample.
        """
        if share not in self._known:
            if not self._values:
                raise ValueError("nothing is known yet")
            self._known[share] = float(np.quantile(np.fromiter(self._values, np.float64), share))
        return self._known[share]
