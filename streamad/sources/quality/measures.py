"""Measurements of the quality gate: a small picture, its contrast and its edges.

All of them use a picture about 160 pixels wide, so that a frame costs a few tenths of a millisecond at any size. The
constants were chosen by hand; see `gate.QualityGate`.
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
"""Number of new samples after which quantiles are recomputed."""

EDGE_CAP = 4.0
"""Cap on edges as a multiple of the mean gradient, so that a single bright rim does not dominate."""


@dataclass(frozen=True, slots=True, eq=False)
class FrameMeasures:
    """Measurements of one frame.

    Attributes:
        sample: Pixels picked from the frame without averaging, at least 320 across if the frame has that many. They
            keep the sensor's noise, which distinguishes a still scene from a frozen picture.
        thumb: (h, w) uint8 picture, 80 to 240 wide, area-averaged.
        mean: Mean gray level of `thumb`.
        contrast: Standard deviation of `thumb`, gray levels.
        sharpness: Mean absolute Laplacian of `thumb`, gray levels.
        edges: (h, w) float32 gradient, capped, with zero mean and unit norm. The dot product of two is their
            correlation, which is invariant to gain and offset of the light.
    """

    sample: UInt8Image
    thumb: UInt8Image
    mean: float
    contrast: float
    sharpness: float
    edges: Plane


class Pixels:
    """Pixels picked from a frame: a few immediately, which nearly always suffice, and more on request.

    Args:
        pixels: (H, W) uint8 pixels of the frame.

    Attributes:
        few: (h, w) uint8: every fourth pixel of `sample`, down and across.
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
        """(h, w) uint8 pixels; see `FrameMeasures.sample`."""
        if self._sample is None:
            stride = self._stride
            self._sample = np.ascontiguousarray(self._pixels[::stride, ::stride]) if stride > 1 else self._pixels
        return self._sample

    def is_same(self, other: Pixels) -> bool:
        """Whether `sample` is identical in both. Comparing `few` first rules out nearly all live pictures."""
        return (
            cv2.norm(self.few, other.few, cv2.NORM_INF) == 0 and cv2.norm(self.sample, other.sample, cv2.NORM_INF) == 0
        )


def measure(sample: UInt8Image) -> FrameMeasures:
    """Measure the sampled pixels of a frame."""
    factor = max(1, round(sample.shape[1] / THUMB_WIDTH))
    thumb = sample
    if factor > 1:
        size = (max(1, sample.shape[1] // factor), max(1, sample.shape[0] // factor))
        thumb = np.asarray(cv2.resize(sample, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
    mean, deviation = cv2.meanStdDev(thumb)
    sharpness = float(cv2.norm(cv2.Laplacian(thumb, cv2.CV_16S), cv2.NORM_L1)) / thumb.size
    across, down = cv2.spatialGradient(thumb)
    edges = _normalized(across.astype(np.float32), down.astype(np.float32))
    return FrameMeasures(sample, thumb, float(mean.item()), float(deviation.item()), sharpness, edges)


def edges_of(thumb: Plane) -> Plane:
    """Return the normalized edges of a small picture, (h, w) float32; see `FrameMeasures.edges`."""
    return _normalized(cv2.Sobel(thumb, cv2.CV_32F, 1, 0, ksize=3), cv2.Sobel(thumb, cv2.CV_32F, 0, 1, ksize=3))


def _normalized(across: npt.ArrayLike, down: npt.ArrayLike) -> Plane:
    """Compute `FrameMeasures.edges` from a gradient in any unit; a scale common to both components cancels out."""
    size = cv2.magnitude(across, down)  # type: ignore[call-overload]
    capped = cv2.threshold(size, EDGE_CAP * cv2.mean(size)[0], 0, cv2.THRESH_TRUNC, dst=size)[1]
    capped -= np.float32(cv2.mean(capped)[0])
    length = float(cv2.norm(capped))
    if length > 0:
        capped *= np.float32(1 / length)
    return np.asarray(capped, dtype=np.float32)


@lru_cache(maxsize=16)
def _area_weights(parts: int, pixels: int) -> Plane:
    """(parts, pixels) float32 weights that average equal parts of a line and split pixels that straddle a border."""
    ends = np.linspace(0, pixels, parts + 1)
    at = np.arange(pixels)
    shared = np.minimum(ends[1:, None], at + 1) - np.maximum(ends[:-1, None], at)
    return np.ascontiguousarray(np.clip(shared, 0, 1) * (parts / pixels), dtype=np.float32)


def area_average(plane: Plane, grid: tuple[int, int]) -> Plane:
    """Average over a grid of (columns, rows) areas; (rows, columns) float32. Equals `INTER_AREA` in a third of its
    time.

    OpenCV is fast if the areas are whole pixels, and slow for the few large areas needed here.
    """
    columns, rows = grid
    height, width = plane.shape
    return np.asarray(_area_weights(rows, height) @ plane @ _area_weights(columns, width).T, dtype=np.float32)


def agreement(a: Plane, b: Plane) -> float:
    """Correlation, −1 to 1, of two normalized edge pictures of the same size."""
    return float(a.ravel() @ b.ravel())


def correlation(a: npt.NDArray[np.uint8] | Plane, b: npt.NDArray[np.uint8] | Plane) -> float:
    """Correlation, −1 to 1, of the gray levels of two pictures of the same size; 0 if one is flat."""
    x, y = a.astype(np.float32).ravel(), b.astype(np.float32).ravel()
    x -= x.mean()
    y -= y.mean()
    length = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / length if length > 0 else 0.0


def quantile(ordered: Sequence[float], share: float) -> float:
    """Quantile (share 0..1) of sorted values with linear interpolation: `np.quantile` without its overhead."""
    position = share * (len(ordered) - 1)
    below = int(position)
    low, high = ordered[below], ordered[min(below + 1, len(ordered) - 1)]
    return low + (position - below) * (high - low)


class RollingQuantiles:
    """Recent measurements of a camera, from good frames only, and their quantiles.

    Args:
        span: Number of samples kept.
        min_samples: Number of samples required before statistics are used.
    """

    def __init__(self, span: int, min_samples: int) -> None:
        self._values: deque[float] = deque(maxlen=span)
        self._ordered: list[float] = []  # kept sorted, so that quantiles need no sorting
        self._min_samples = min_samples
        self._known: dict[float, float] = {}
        self._added = 0

    def add(self, value: float) -> None:
        """Add a sample."""
        if len(self._values) == self._values.maxlen:
            del self._ordered[bisect_left(self._ordered, self._values[0])]
        self._values.append(value)
        insort(self._ordered, value)
        self._added += 1
        if self._added >= REFRESH_SAMPLES or len(self._values) < 2 * REFRESH_SAMPLES:
            self._added = 0
            self._known.clear()

    def clear(self) -> None:
        """Remove all samples."""
        self._values.clear()
        self._ordered.clear()
        self._known.clear()

    @property
    def is_ready(self) -> bool:
        """Whether there are enough samples to use the statistics."""
        return len(self._values) >= self._min_samples

    def quantile(self, share: float) -> float:
        """Quantile of the samples (share 0..1), with linear interpolation.

        Raises:
            ValueError: If there is no sample.
        """
        if share not in self._known:
            if not self._values:
                raise ValueError("no sample has been added yet")
            self._known[share] = quantile(self._ordered, share)
        return self._known[share]
