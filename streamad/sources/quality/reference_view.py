"""The reference view of a camera: its still edges, and detection of whether they have moved."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from streamad.frame import UInt8Image
from streamad.sources.quality.measures import FrameMeasures, Plane, RollingQuantiles, agreement, area_average, edges_of

BACKGROUND_SECONDS = 30.0
"""Time constant of the reference picture. Passers-by leave no edges in it; slowly moving shadows follow."""

READY_SECONDS = 2.0
REFRESH_SECONDS = 0.5
MAX_JITTER = 4.0
"""Shifts up to twice the usual measured scatter are ignored, but never shifts above this, pixels of the small
picture."""
JITTER_SAMPLES, WELL_KNOWN, RARE_SAMPLES = 4, 40, 16
"""Expensive measurements are made on every fourth sample, and on every sixteenth (8 s) once there are `WELL_KNOWN` of
them. Chosen without measurement."""
JITTER_KEPT = 150
"""Number of those measurements that are kept: 20 minutes of them."""

UNCERTAIN = 0.35
"""Usual agreement below which a picture has no still edges to rely on (water, crowds, fog)."""

DEFICIT = 0.06
"""A frame this far below the lowest usual agreement is examined more closely."""

GAIN = 0.08
"""Undoing a shift must raise the agreement by this much for the shift to count."""

MIN_SHIFT = 0.75
"""Minimum shift, pixels of the small picture (3 in a picture 640 wide). On still cameras the measured shift scatters by
0.3, or 1.0 in the worst second of a scene that a car fills."""

MIN_RECOGNITION, MAX_RECOGNITION = 0.7, 0.85
"""Share of the usual agreement from which a shifted picture shows the same view, and the highest expected share:
resampling a shifted picture costs sharpness, so more than 0.85 is not achievable."""

REGIONS = (4, 3)
REGION_LOST = 0.75
LOST_SHARE = 0.85
TURNED_SHARE = 0.5
"""The view is lost if nearly all of its regions agree by less than three quarters of their low usual agreement. If at
least half of them do, its quarters are examined separately: a camera that has turned or zoomed shows at least three of
them, each displaced differently, whereas a truck that parks leaves half of them in place."""

UNRECOGNIZED = 0.35
SAME_LIGHT = 0.35
"""If the picture's mean or contrast has changed by more than this share, different light may have drawn different
edges. The view then counts as lost only below the share `UNRECOGNIZED` of the usual agreement."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Position of the reference view in a frame.

    Attributes:
        agreement: Correlation of the frame's edges with the reference's at the same position; NaN until known.
        shift: Displacement (across, down) in pixels of the small picture; None if not displaced.
        is_lost: Whether the view is not recognized at all.
        is_unusual: Whether the frame agrees less than usual, for any reason.
    """

    agreement: float
    shift: tuple[float, float] | None = None
    is_lost: bool = False
    is_unusual: bool = False


UNKNOWN_PLACEMENT = Placement(math.nan)


class ReferenceView:
    """Learns the still parts of a camera's picture and locates them in each frame.

    The reference is a slow average of the small picture; its edges are correlated with the frame's. If they agree as
    usual, the frame is in place, at the cost of one product. Otherwise phase correlation (Kuglin & Hines 1975) measures
    the displacement, which counts only if the shifted edges agree again: a truck that fills the view has edges of its
    own.

    Args:
        span: Number of samples that define the usual state.
        min_samples: Number of samples required before statistics are used.
    """

    def __init__(self, span: int, min_samples: int) -> None:
        self._min_samples = min_samples
        self._agreement = RollingQuantiles(span, min_samples)
        self._jitter = RollingQuantiles(JITTER_KEPT, min_samples)
        self._regions: deque[Plane] = deque(maxlen=JITTER_KEPT)
        self._region_levels: tuple[Plane, Plane] | None = None
        self._levels = RollingQuantiles(span, min_samples), RollingQuantiles(span, min_samples)
        self._mean: Plane | None = None
        self._edges: Plane | None = None
        self._samples = 0
        self._learned = 0.0
        self._refreshed = 0.0
        self._remembered: UInt8Image | None = None
        self.is_other_view = False
        """Whether the remembered picture shows another view, or the same in different light, and was not used."""

    @property
    def picture(self) -> UInt8Image | None:
        """(h, w) uint8 reference picture; None until it is ready."""
        if self._mean is None or self._edges is None:
            return None
        return np.clip(np.rint(self._mean), 0, 255).astype(np.uint8)

    @property
    def mean(self) -> Plane | None:
        """The reference picture, (h, w) float32; None before the first frame."""
        return self._mean

    @property
    def is_certain(self) -> bool:
        """Whether the view has still edges and they are known."""
        return self._edges is not None and self._agreement.is_ready and self.usual_agreement >= UNCERTAIN

    @property
    def usual_agreement(self) -> float:
        """Median agreement of good frames."""
        return self._agreement.quantile(0.5)

    def remember(self, picture: UInt8Image) -> None:
        """Start from the reference picture of an earlier run, after comparing it with the first seconds of this one."""
        self._remembered = picture

    def locate(self, measures: FrameMeasures) -> Placement:
        """Locate the reference view in a frame."""
        if self._edges is None:
            return UNKNOWN_PLACEMENT
        found = agreement(measures.edges, self._edges)
        if not self.is_certain or found >= self._agreement.quantile(0.05) - DEFICIT:
            return Placement(found)
        usual = self.usual_agreement
        shift, aligned = self._shift(measures.edges)
        if (
            aligned >= max(MIN_RECOGNITION * min(usual, MAX_RECOGNITION), found + GAIN)
            and math.hypot(*shift) >= self._min_shift
        ):
            return Placement(found, shift, is_unusual=True)
        return Placement(found, is_lost=self._is_lost(measures, found), is_unusual=True)

    def learn(self, measures: FrameMeasures, elapsed: float) -> None:
        """Add a good frame to the reference. `elapsed` is the time since the last one, seconds."""
        picture = measures.thumb.astype(np.float32)
        self._learned += elapsed
        if self._mean is None:
            self._mean = picture
        else:
            slow = 1.0 - math.exp(-elapsed / BACKGROUND_SECONDS)
            weight = max(slow, elapsed / max(self._learned, elapsed)) if self._learned > 0 else slow
            cv2.accumulateWeighted(picture, self._mean, min(1.0, weight))
        self._refreshed += elapsed
        if self._learned >= READY_SECONDS and (self._edges is None or self._refreshed >= REFRESH_SECONDS):
            self._refreshed = 0.0
            if self._remembered is not None:
                self._recall()
            self._edges = edges_of(self._mean)

    def sample(self, measures: FrameMeasures, placement: Placement) -> None:
        """Add a good frame to the statistics; called about twice a second."""
        if self._edges is None or not math.isfinite(placement.agreement):
            return
        self._agreement.add(placement.agreement)
        self._samples += 1
        every = JITTER_SAMPLES if len(self._regions) < WELL_KNOWN else RARE_SAMPLES
        if self._samples % every == 0 or not self._jitter.is_ready:
            self._jitter.add(math.hypot(*self._shift(measures.edges)[0]))
            self._regions.append(self._by_region(measures.edges))
            self._region_levels = None
        for usual, value in zip(self._levels, (measures.mean, measures.contrast), strict=True):
            usual.add(value)

    def _is_lost(self, measures: FrameMeasures, found: float) -> bool:
        """Whether the still edges are gone nearly everywhere."""
        if len(self._regions) < self._min_samples:
            return found < UNRECOGNIZED * self.usual_agreement
        if self._region_levels is None:
            low, middle = np.quantile(np.stack(self._regions), (0.05, 0.5), axis=0).astype(np.float32)
            self._region_levels = low, middle
        low, middle = self._region_levels
        certain = middle >= UNCERTAIN
        if certain.sum() < 4:
            return found < UNRECOGNIZED * self.usual_agreement
        gone = float((self._by_region(measures.edges)[certain] < REGION_LOST * low[certain]).mean())
        if gone < TURNED_SHARE or (gone < LOST_SHARE and not self._is_turned(measures.edges)):
            return False
        same_light = all(
            abs(math.log((value + 1) / (usual.quantile(0.5) + 1))) <= SAME_LIGHT
            for usual, value in zip(self._levels, (measures.mean, measures.contrast), strict=True)
        )
        return same_light or found < UNRECOGNIZED * self.usual_agreement

    def _is_turned(self, edges: Plane) -> bool:
        """Whether at least three quarters of the picture are displaced, each by its own shift."""
        assert self._edges is not None
        height, width = edges.shape
        turned = 0
        for top in (0, height // 2):
            for left in (0, width // 2):
                part = slice(top, top + height // 2), slice(left, left + width // 2)
                ours, theirs = np.ascontiguousarray(self._edges[part]), np.ascontiguousarray(edges[part])
                shift, aligned = _shift(ours, theirs)
                found = _correlation(ours, theirs)
                turned += math.hypot(*shift) >= self._min_shift and aligned >= max(found + GAIN, UNCERTAIN)
        return turned >= 3

    def _by_region(self, edges: Plane) -> Plane:
        """(3, 4) correlation of the edges with the reference's, region by region."""
        assert self._edges is not None
        pairs = (edges * self._edges, edges * edges, self._edges * self._edges)
        shared, ours, theirs = (area_average(pair, REGIONS) for pair in pairs)
        return np.asarray(shared / np.sqrt(np.maximum(ours * theirs, 1e-20)), dtype=np.float32)

    @property
    def _min_shift(self) -> float:
        usual = 2 * self._jitter.quantile(0.9) if self._jitter.is_ready else 0.0
        return max(MIN_SHIFT, min(usual, MAX_JITTER))

    def _shift(self, edges: Plane) -> tuple[tuple[float, float], float]:
        assert self._edges is not None
        return _shift(self._edges, edges)

    def _recall(self) -> None:
        """Compare the picture of an earlier run with the first seconds of this one, and use it if they match."""
        remembered, self._remembered = self._remembered, None
        assert remembered is not None
        assert self._mean is not None
        if remembered.shape != self._mean.shape:
            self.is_other_view = True
            return
        now = edges_of(self._mean)
        self._edges = edges_of(remembered.astype(np.float32))
        _, aligned = self._shift(now)
        if max(aligned, agreement(now, self._edges)) < UNCERTAIN:
            self.is_other_view = True
            return
        self._mean = remembered.astype(np.float32)
        self._learned = BACKGROUND_SECONDS
        for _ in range(self._min_samples):
            self._agreement.add(max(aligned, agreement(now, self._edges)))
            self._jitter.add(0.0)


@lru_cache(maxsize=8)
def _window(height: int, width: int) -> Plane:
    return np.asarray(cv2.createHanningWindow((width, height), cv2.CV_32F), dtype=np.float32)


def _shift(reference: Plane, edges: Plane) -> tuple[tuple[float, float], float]:
    """Shift (across, down) of edges relative to the reference's, pixels, and the correlation after undoing it."""
    height, width = edges.shape
    window = _window(height, width)
    # Pass products, because phaseCorrelate overwrites its windowed inputs.
    (across, down), _ = cv2.phaseCorrelate(reference * window, edges * window)
    # Compare only the part that both pictures share.
    x, y = math.ceil(abs(across)), math.ceil(abs(down))
    if 2 * x >= width or 2 * y >= height:
        return (across, down), 0.0
    back = np.array([[1, 0, -across], [0, 1, -down]], np.float32)
    aligned = cv2.warpAffine(edges, back, (width, height))
    part = slice(y, height - y), slice(x, width - x)
    return (across, down), _correlation(reference[part], np.asarray(aligned[part], dtype=np.float32))


def _correlation(a: Plane, b: Plane) -> float:
    norm = float(cv2.norm(a) * cv2.norm(b))
    return float((a * b).sum()) / norm if norm > 0 else 0.0
