"""The place that a camera shows: its still edges, and whether they are where they were."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from functools import lru_cache

import cv2
import numpy as np

from streamad.frame import UInt8Image
from streamad.sources.quality.measures import Look, Plane, Usual, agreement, averaged, edges_of

BACKGROUND_SECONDS = 30.0
"""Time constant of the reference picture: passers-by leave no edge in it, shadows that wander do."""

READY_SECONDS = 2.0
REFRESH_SECONDS = 0.5
MOST_JITTER = 4.0
"""Twice what the measured shift scatters by is no shift, but more than this, pixels of the small picture, is one."""
JITTER_SAMPLES, WELL_KNOWN, SELDOM = 4, 40, 16
"""What costs more is measured on every fourth sample once something is known, and on every sixteenth (8 s) from so many
measurements on. Source: our choice."""
JITTER_KEPT = 150
"""Measurements of it that are kept: those of 20 minutes."""

UNCERTAIN = 0.35
"""Where the usual agreement is less, a picture has no still edges to hold on to (water, crowds, fog)."""

DEFICIT = 0.06
"""So far under the lowest usual agreement a frame is looked at more closely."""

GAIN = 0.08
"""Undoing a shift must raise the agreement by this, or it is none."""

LEAST_SHIFT = 0.75
"""Shift that is taken for one, pixels of the small picture (3 of a picture 640 across). On still cameras the measured
shift scatters by 0.3 (1.0 in the worst second of a scene that a car fills)."""

RECOGNISED, BEST = 0.7, 0.85
"""Share of the usual agreement from which a shifted picture shows the same place. A shift that is undone costs
sharpness, so more than 0.85 is not to be had."""

REGIONS = (4, 3)
REGION_LOST = 0.75
LOST_SHARE = 0.85
TURNED_SHARE = 0.5
"""The place is lost where nearly all of its regions agree by less than three quarters of their low usual agreement.
From half of them on, its quarters are looked at one by one: a camera that turned or zoomed shows at least three of
them, each displaced in its own way, while a lorry that parks leaves half of them where they were."""

UNKNOWN = 0.35
SAME_LIGHT = 0.35
"""Where the picture's mean or contrast has changed by more than this share, other light may have drawn other edges: the
place is then lost only under the share `UNKNOWN` of the usual agreement."""


@dataclass(frozen=True, slots=True)
class Placement:
    """Where the place is in a frame.

    Attributes:
        agreement: correlation of the frame's edges with the reference's where it should be; NaN before it is known.
        shift: (across, down) of a displaced picture, pixels of the small picture; None where it is not displaced.
        is_lost: the place is not recognized at all.
        is_odd: the frame agrees less than usual, for whatever reason.
    """

    agreement: float
    shift: tuple[float, float] | None = None
    is_lost: bool = False
    is_odd: bool = False


NOWHERE = Placement(math.nan)


class ReferenceView:
    """Learns what stands still in a camera's picture, and finds it in each frame.

    The reference is a slow mean of the small picture; its edges are correlated with the frame's. Where that agrees as
    usual the frame is in its place, which costs one product. Else phase correlation (Kuglin & Hines 1975) says by how
    much the picture is displaced, and the shifted edges must agree again, or it counts as no shift: a lorry that fills
    the view has edges of its own.

    Args:
        span: samples of what is usual.
        least: samples from which on something is known.
    """

    def __init__(self, span: int, least: int) -> None:
        self._least = least
        self._agreement = Usual(span, least)
        self._jitter = Usual(JITTER_KEPT, least)
        self._regions: deque[Plane] = deque(maxlen=JITTER_KEPT)
        self._region_levels: tuple[Plane, Plane] | None = None
        self._levels = Usual(span, least), Usual(span, least)
        self._mean: Plane | None = None
        self._edges: Plane | None = None
        self._samples = 0
        self._learned = 0.0
        self._refreshed = 0.0
        self._remembered: UInt8Image | None = None
        self.is_other_place = False
        """The remembered picture shows another place, or the same in another light: it was not used."""

    @property
    def picture(self) -> UInt8Image | None:
        """(h, w) uint8 reference picture; None before it is ready."""
        if self._mean is None or self._edges is None:
            return None
        return np.clip(np.rint(self._mean), 0, 255).astype(np.uint8)

    @property
    def mean(self) -> Plane | None:
        """The same, (h, w) float32."""
        return self._mean

    @property
    def is_certain(self) -> bool:
        """Whether the place has still edges that are known."""
        return self._edges is not None and self._agreement.is_known and self.usual_agreement >= UNCERTAIN

    @property
    def usual_agreement(self) -> float:
        """Median agreement of good frames."""
        return self._agreement.quantile(0.5)

    def remember(self, picture: UInt8Image) -> None:
        """Start from the reference of an earlier run; the first seconds say whether the place is the same."""
        self._remembered = picture

    def locate(self, look: Look) -> Placement:
        """Find the place in a frame."""
        if self._edges is None:
            return NOWHERE
        found = agreement(look.edges, self._edges)
        if not self.is_certain or found >= self._agreement.quantile(0.05) - DEFICIT:
            return Placement(found)
        usual = self.usual_agreement
        shift, aligned = self._shift(look.edges)
        if aligned >= max(RECOGNISED * min(usual, BEST), found + GAIN) and math.hypot(*shift) >= self._least_shift:
            return Placement(found, shift, is_odd=True)
        return Placement(found, is_lost=self._is_lost(look, found), is_odd=True)

    def learn(self, look: Look, elapsed: float) -> None:
        """Take a good frame into the reference; `elapsed` seconds since the one before."""
        picture = look.thumb.astype(np.float32)
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

    def sample(self, look: Look, placement: Placement) -> None:
        """Take a good frame into what is usual; called about twice a second."""
        if self._edges is None or not math.isfinite(placement.agreement):
            return
        self._agreement.add(placement.agreement)
        self._samples += 1
        every = JITTER_SAMPLES if len(self._regions) < WELL_KNOWN else SELDOM
        if self._samples % every == 0 or not self._jitter.is_known:
            self._jitter.add(math.hypot(*self._shift(look.edges)[0]))
            self._regions.append(self._by_region(look.edges))
            self._region_levels = None
        for usual, value in zip(self._levels, (look.mean, look.contrast), strict=True):
            usual.add(value)

    def _is_lost(self, look: Look, found: float) -> bool:
        """Whether the still edges are gone nearly everywhere."""
        if len(self._regions) < self._least:
            return found < UNKNOWN * self.usual_agreement
        if self._region_levels is None:
            low, middle = np.quantile(np.stack(self._regions), (0.05, 0.5), axis=0).astype(np.float32)
            self._region_levels = low, middle
        low, middle = self._region_levels
        certain = middle >= UNCERTAIN
        if certain.sum() < 4:
            return found < UNKNOWN * self.usual_agreement
        gone = float((self._by_region(look.edges)[certain] < REGION_LOST * low[certain]).mean())
        if gone < TURNED_SHARE or (gone < LOST_SHARE and not self._is_turned(look.edges)):
            return False
        same_light = all(
            abs(math.log((value + 1) / (usual.quantile(0.5) + 1))) <= SAME_LIGHT
            for usual, value in zip(self._levels, (look.mean, look.contrast), strict=True)
        )
        return same_light or found < UNKNOWN * self.usual_agreement

    def _is_turned(self, edges: Plane) -> bool:
        """Whether at least three quarters of the picture are displaced, each by a shift of its own."""
        assert self._edges is not None
        height, width = edges.shape
        turned = 0
        for top in (0, height // 2):
            for left in (0, width // 2):
                part = slice(top, top + height // 2), slice(left, left + width // 2)
                ours, theirs = np.ascontiguousarray(self._edges[part]), np.ascontiguousarray(edges[part])
                shift, aligned = _shift(ours, theirs)
                found = _correlation(ours, theirs)
                turned += math.hypot(*shift) >= self._least_shift and aligned >= max(found + GAIN, UNCERTAIN)
        return turned >= 3

    def _by_region(self, edges: Plane) -> Plane:
        """(3, 4) correlation of the edges with the reference's, region by region."""
        assert self._edges is not None
        pairs = (edges * self._edges, edges * edges, self._edges * self._edges)
        shared, ours, theirs = (averaged(pair, REGIONS) for pair in pairs)
        return np.asarray(shared / np.sqrt(np.maximum(ours * theirs, 1e-20)), dtype=np.float32)

    @property
    def _least_shift(self) -> float:
        usual = 2 * self._jitter.quantile(0.9) if self._jitter.is_known else 0.0
        return max(LEAST_SHIFT, min(usual, MOST_JITTER))

    def _shift(self, edges: Plane) -> tuple[tuple[float, float], float]:
        assert self._edges is not None
        return _shift(self._edges, edges)

    def _recall(self) -> None:
        """Hold the picture of an earlier run against the first seconds of this one."""
        remembered, self._remembered = self._remembered, None
        assert remembered is not None
        assert self._mean is not None
        if remembered.shape != self._mean.shape:
            self.is_other_place = True
            return
        now = edges_of(self._mean)
        self._edges = edges_of(remembered.astype(np.float32))
        _, aligned = self._shift(now)
        if max(aligned, agreement(now, self._edges)) < UNCERTAIN:
            self.is_other_place = True
            return
        self._mean = remembered.astype(np.float32)
        self._learned = BACKGROUND_SECONDS
        for _ in range(self._least):
            self._agreement.add(max(aligned, agreement(now, self._edges)))
            self._jitter.add(0.0)


@lru_cache(maxsize=8)
def _window(height: int, width: int) -> Plane:
    return np.asarray(cv2.createHanningWindow((width, height), cv2.CV_32F), dtype=np.float32)


def _shift(reference: Plane, edges: Plane) -> tuple[tuple[float, float], float]:
    """(across, down) of edges against the reference's, pixels, and the correlation once it is undone."""
    height, width = edges.shape
    window = _window(height, width)
    # Products, since phaseCorrelate writes its windowed inputs back.
    (across, down), _ = cv2.phaseCorrelate(reference * window, edges * window)
    # What left the picture says nothing: compare the part that both have.
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
