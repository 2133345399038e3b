"""What the gate measures on a frame: a small picture, its contrast, its edges.

Everything works on a picture of about 160 pixels across, so that a frame costs some tenths of a millisecond whatever
its size. Source: our choice throughout.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np
import numpy.typing as npt

from streamad.frame import UInt8Image

Plane = npt.NDArray[np.float32]

SAMPLE_WIDTH, FEW = 320, 4
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
        mean: mean gray level of `thumb`.
        contrast: standard deviation of `thumb`, gray levels.
        sharpness: mean absolute Laplacian of `thumb`, gray levels.
        edges: (h, w) float32 gradient, capped, of zero mean and unit length: the dot product of two is their
            correlation, which no gain or offset of the light changes.
    """

    sample: UInt8Image
    thumb: UInt8Image
    mean: float
    contrast: float
    sharpness: float
    edges: Plane


class Pixels:
    """Pixels picked from a frame: a few at once, which nearly always say enough, and more where they are asked for.

    Args:
        pixels: (H, W) uint8 of the frame.

    Attributes:
        few: (h, w) uint8: every fourth of `sample`, down and across.
    """

    __slots__ = ("_pixels", "_sample", "_stride", "few")

    def __init__(self, pixels: UInt8Image) -> None:
        self._pixels = pixels
        self._stride = max(1, pixels.shape[1] // SAMPLE_WIDTH)
        self._sample: UInt8Image | None = None
        step = FEW * self._stride
        self.few = np.ascontiguousarray(pixels[::step, ::step])

    @property
    def sample(self) -> UInt8Image:
        """(h, w) uint8: see `Look.sample`."""
        if self._sample is None:
            stride = self._stride
            self._sample = np.ascontiguousarray(self._pixels[::stride, ::stride]) if stride > 1 else self._pixels
        return self._sample

    def is_same(self, other: Pixels) -> bool:
        """Whether no pixel of `sample` differs; the few tell two pictures of a live camera apart."""
        return (
            cv2.norm(self.few, other.few, cv2.NORM_INF) == 0 and cv2.norm(self.sample, other.sample, cv2.NORM_INF) == 0
        )


def look_at(sample: UInt8Image) -> Look:
    """Measure the pixels picked from a frame."""
    factor = max(1, round(sample.shape[1] / THUMB_WIDTH))
    thumb = sample
    if factor > 1:
        size = (max(1, sample.shape[1] // factor), max(1, sample.shape[0] // factor))
        thumb = np.asarray(cv2.resize(sample, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    mean, deviation = cv2.meanStdDev(thumb)
    sharpness = float(cv2.norm(cv2.Laplacian(thumb, cv2.CV_16S), cv2.NORM_L1)) / thumb.size
    across, down = cv2.spatialGradient(thumb)
    edges = _normalized(across.astype(np.float32), down.astype(np.float32))
    return Look(sample, thumb, float(mean.item()), float(deviation.item()), sharpness, edges)


def edges_of(thumb: Plane) -> Plane:
    """The normalized edges of a small picture, (h, w) float32; see `Look.edges`."""
    return _normalized(cv2.Sobel(thumb, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(thumb, cv2.CV_32F, 0, 1, ksize=3))


def _normalized(across: npt.ArrayLike, down: npt.ArrayLike) -> Plane:
    """`Look.edges` of a gradient in any unit; a scale that is common to both leaves no trace."""
    size = cv2.magnitude(across, down)  # type: ignore[call-overload]
    capped = cv2.threshold(size, EDGE_CAP * cv2.mean(size)[0], 0, cv2.THRESH_TRUNC, dst=size)[1]
    capped -= np.float32(cv2.mean(capped)[0])
    length = float(cv2.norm(capped))
    if length > 0:
        capped *= np.float32(1 / length)
    return np.asarray(capped, dtype=np.float32)


@lru_cache(maxsize=16)
def _averaging(cells: int, pixels: int) -> Plane:
    """(cells, pixels) float32 weights that average equal stretches of a line, a pixel on a border by its parts."""
    ends = np.linspace(0, pixels, cells + 1)
    at = np.arange(pixels)
    shared = np.minimum(ends[1:, None], at + 1) - np.maximum(ends[:-1, None], at)
    return np.ascontiguousarray(np.clip(shared, 0, 1) * (cells / pixels), dtype=np.float32)


def averaged(plane: Plane, grid: tuple[int, int]) -> Plane:
    """Means over a grid of (columns, rows) areas, (rows, columns) float32: `INTER_AREA`, in a third of its time.

    OpenCV is fast where areas are whole pixels, and takes its time for the few large ones that are needed here.
    """
    columns, rows = grid
    height, width = plane.shape
    return np.asarray(_averaging(rows, height) @ plane @ _averaging(columns, width).T, dtype=np.float32)


def agreement(a: Plane, b: Plane) -> float:
    """Correlation, −1 to 1, of two normalized edge pictures of one size."""
    return float(a.ravel() @ b.ravel())


def correlation(a: npt.NDArray[np.uint8] | Plane, b: npt.NDArray[np.uint8] | Plane) -> float:
    """Correlation, −1 to 1, of the gray levels of two pictures of one size; 0 where one is flat."""
    x, y = a.astype(np.float32).ravel(), b.astype(np.float32).ravel()
    x -= x.mean()
    y -= y.mean()
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length > 0 else 0.0


def quantile(ordered: Sequence[float], share: float) -> float:
    """Quantile of rising values, share 0..1, between two of them by a straight line; `np.quantile` without its cost."""
    place = share * (len(ordered) - 1)
    below = int(place)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return low + (place - below) * (high - low)


class Usual:
    """What is usual for a camera: its own measurements of the last minutes, from frames that were good.

    Args:
        span: samples kept.
        least: samples from which on something is known.
    """

    def __init__(self, span: int, least: int) -> None:
        self._values: deque[float] = deque(maxlen=span)
        self._ordered: list[float] = []  # kept in order, so that a quantile is looked up and not sorted for
        self._least = least
        self._known: dict[float, float] = {}
        self._added = 0

    def add(self, value: float) -> None:
        """Take a sample."""
        if len(self._values) == self._values.maxlen:
            del self._ordered[bisect_left(self._ordered, self._values[0])]
        self._values.append(value)
        insort(self._ordered, value)
        self._added += 1
        if self._added >= REFRESH_SAMPLES or len(self._values) < 2 * REFRESH_SAMPLES:
            self._added = 0
            self._known.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._ordered.clear()
        self._known.clear()

    @property
    def is_known(self) -> bool:
        """Whether there are enough samples."""
        return len(self._values) >= self._least

    def quantile(self, share: float) -> float:
        """Quantile of the samples, share 0..1, between two of them by a straight line.

        Raises:
            ValueError: there is no sample.
        """
        if share not in self._known:
            if not self._values:
                raise ValueError("nothing is known yet")
            self._known[share] = quantile(self._ordered, share)
        return self._known[share]
