"""Region-based and track-based detection criteria (RBDC, TBDC): whether anomalies are found in the right place, and in
enough frames of each event.

Source: our reading of Ramachandra and Jones, "Street Scene: a new dataset and evaluation protocol for video anomaly
detection", 2020. A true region is found if a detected region of its frame has an intersection over union of at least β
with it. A true track (the regions of one event over its frames) is found if at least the share α of its regions is
found. A detected region is false if it has less than β with every true region of its frame. Both rates are plotted
against the number of false regions per frame, and the area under the curve from 0 to 1 false region per frame is the
metric: RBDC over regions, TBDC over tracks. α = β = 0.1.

The paper leaves these points open: a region is represented by its bounding box; operating points are connected by
straight lines, from (0, 0); if a detector never reaches one false region per frame, its last rate extends to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.pixels import Box, Mask

ALPHA = 0.1
BETA = 0.1


@dataclass(frozen=True)
class TrueRegion:
    """One abnormal object in one frame.

    Attributes:
        track: Number of the event that it belongs to, unique across videos.
        box: Its bounding box.
    """

    track: int
    box: Box


@dataclass(frozen=True)
class RegionCurves:
    """Detection rates as a function of false regions per frame.

    Attributes:
        rbdc: Area under the region-based curve up to one false region per frame, 0..1.
        tbdc: The same, track-based.
        false_per_frame: (K + 1,) false regions per frame, increasing from 0.
        region_rate: (K + 1,) share of the true regions found.
        track_rate: (K + 1,) share of the true tracks found.
        thresholds: (K + 1,) decreasing from +inf.
        regions: Number of true regions.
        tracks: Number of true tracks.
        frames: Number of frames evaluated.
    """

    rbdc: float
    tbdc: float
    false_per_frame: npt.NDArray[np.float64]
    region_rate: npt.NDArray[np.float64]
    track_rate: npt.NDArray[np.float64]
    thresholds: npt.NDArray[np.float64]
    regions: int
    tracks: int
    frames: int


class AnomalyMapRegions:
    """RBDC and TBDC of anomaly maps, computed frame by frame at fixed thresholds; memory does not grow with the frames.

    At a threshold, the detected regions of a frame are the connected components (8 neighbors) of its cells at or above
    the threshold, each represented by the bounding box of its cells. Unlike boxes with individual scores, these grow
    and merge as the threshold decreases, so the curves are computed point by point. The paper leaves it to the detector
    what a region is.

    Args:
        thresholds: Decreasing; more thresholds give finer curves.
        alpha: Share of a track's regions that must be found.
        beta: Minimum intersection over union.

    Raises:
        DatasetError: No threshold was given.
    """

    def __init__(self, thresholds: npt.ArrayLike, *, alpha: float = ALPHA, beta: float = BETA) -> None:
        self._thresholds = np.sort(np.asarray(thresholds, dtype=np.float64))[::-1]
        if not len(self._thresholds):
            raise DatasetError("nothing can be evaluated: no thresholds were given")
        self._alpha, self._beta = alpha, beta
        self._found: dict[int, npt.NDArray[np.int64]] = {}
        self._lengths: dict[int, int] = {}
        self._false = np.zeros(len(self._thresholds), np.int64)
        self._frames = 0

    def add(self, anomaly_map: npt.ArrayLike, boxes: Sequence[Box], truth: Sequence[TrueRegion]) -> None:
        """Count one frame.

        Args:
            anomaly_map: (rows, cols) scores; NaN = not scored.
            boxes: Boxes of all cells, row by row; cells of a row share their vertical extent, cells of a column their
                horizontal extent.
            truth: True regions of this frame.
        """
        self._frames += 1
        for region in truth:
            self._lengths[region.track] = self._lengths.get(region.track, 0) + 1
            self._found.setdefault(region.track, np.zeros(len(self._thresholds), np.int64))
        values = np.asarray(anomaly_map, dtype=np.float64)
        corners = np.asarray(boxes, dtype=np.int64).reshape(*values.shape, 4).tolist()
        filled = np.where(np.isnan(values), -np.inf, values)
        # Nothing changes between two scores of this frame: one evaluation serves all thresholds in between.
        reached = np.searchsorted(np.sort(-filled, axis=None), -self._thresholds, "right")
        for count in np.unique(reached[reached > 0]):
            (places,) = np.nonzero(reached == count)
            false, found = self._judge(filled >= self._thresholds[places[0]], corners, truth)
            self._false[places] += false
            for region, hit in zip(truth, found, strict=True):
                if hit:
                    self._found[region.track][places] += 1

    def merge(self, other: AnomalyMapRegions) -> None:
        """Add the counts of other frames, whose tracks have other numbers, at the same thresholds."""
        self._frames += other._frames
        self._false += other._false
        self._lengths.update(other._lengths)
        self._found.update(other._found)

    def curves(self) -> RegionCurves:
        """Compute the curves over all frames added so far.

        Raises:
            DatasetError: No frame was added, or none with a true region.
        """
        if not self._lengths:
            raise DatasetError(f"nothing can be evaluated: 0 true regions in {self._frames} frames")
        lengths = np.array(list(self._lengths.values()), dtype=np.float64)
        found = np.stack([self._found[track] for track in self._lengths], axis=1)  # (thresholds, tracks)
        region_rate = found.sum(axis=1) / lengths.sum()
        track_rate = (found >= np.maximum(1, np.ceil(self._alpha * lengths - 1e-9))).mean(axis=1)
        wrong = self._false / self._frames
        zero = np.zeros(1)
        order = np.argsort(wrong, kind="stable")  # merging components can lower the number of false ones
        x = np.concatenate((zero, wrong[order]))
        regions, tracks = (np.concatenate((zero, rate[order])) for rate in (region_rate, track_rate))
        return RegionCurves(
            rbdc=area_up_to_one(x, regions),
            tbdc=area_up_to_one(x, tracks),
            false_per_frame=x,
            region_rate=regions,
            track_rate=tracks,
            thresholds=np.concatenate((np.full(1, np.inf), self._thresholds[order])),
            regions=int(lengths.sum()),
            tracks=len(lengths),
            frames=self._frames,
        )

    def _judge(self, up: Mask, corners: list[list[list[int]]], truth: Sequence[TrueRegion]) -> tuple[int, list[bool]]:
        """Number of false regions of a frame, and which of its true regions are found."""
        # The algorithm is specified because the default one starts threads, which costs more than a small grid takes.
        _, _, parts, _ = cv2.connectedComponentsWithStatsWithAlgorithm(up.view(np.uint8), 8, cv2.CV_32S, cv2.CCL_BBDT)
        found = [False] * len(truth)
        false = 0
        for col, row, width, height, _ in parts[1:].tolist():
            x0, y0 = corners[row][col][:2]
            x1, y1 = corners[row + height - 1][col + width - 1][2:]
            hits = [intersection_over_union((x0, y0, x1, y1), region.box) >= self._beta for region in truth]
            found = [a or b for a, b in zip(found, hits, strict=True)]
            false += not any(hits)
        return false, found


def intersection_over_union(a: Box, b: Box) -> float:
    """Intersection over union of two boxes, 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b)]
    return common / (sum(areas) - common)


def area_up_to_one(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Area under an increasing curve from x = 0 to x = 1; the module describes how it is extended beyond its points."""
    if x[-1] < 1:
        x, y = np.append(x, 1.0), np.append(y, y[-1])
    end = float(np.interp(1.0, x, y)) if x[-1] > 1 else float(y[x <= 1][-1])
    inside = x <= 1
    return float(np.trapezoid(np.append(y[inside], end), np.append(x[inside], 1.0)))


class RegionTracker:
    """Assigns regions to tracks, frame by frame, for videos whose pixel masks do not identify events.

    A region is a connected component of a mask (8 neighbors), represented by its bounding box. A region continues the
    track of the region in the previous frame that it overlaps most, because the UCSD and Avenue masks do not identify
    tracks. Two objects that touch form one region. A track ends at a frame without it.

    Args:
        first_track: Number of the first track.
    """

    def __init__(self, first_track: int = 0) -> None:
        self._next = first_track
        self._before: npt.NDArray[np.int32] | None = None
        self._tracks: dict[int, int] = {}

    def regions(self, mask: Mask) -> list[TrueRegion]:
        """Return the regions of the next frame.

        Args:
            mask: (height, width), True where abnormal.
        """
        marks = np.ascontiguousarray(mask).view(np.uint8)
        left, top, width, height = cv2.boundingRect(marks)
        if not width:
            self._before, self._tracks = None, {}
            return []
        inside = np.s_[top : top + height, left : left + width]  # most of a mask is empty
        here = np.zeros(mask.shape, np.int32)
        count, part = cv2.connectedComponents(marks[inside], connectivity=8)
        here[inside] = part
        found: list[TrueRegion] = []
        continued: dict[int, int] = {}
        for k in range(1, count):
            x, y, w, h = cv2.boundingRect((part == k).view(np.uint8))
            box = left + x, top + y, left + x + w, top + y + h
            track = self._overlapped(here, k, box)
            if track is None or track in continued.values():  # if a track splits in two, one of them is new
                track, self._next = self._next, self._next + 1
            continued[k] = track
            found.append(TrueRegion(track, box))
        self._before, self._tracks = here, continued
        return found

    def _overlapped(self, here: npt.NDArray[np.int32], k: int, box: Box) -> int | None:
        """The track of the previous frame that region `k` overlaps most."""
        if self._before is None:
            return None
        x0, y0, x1, y1 = box
        counts = np.bincount(self._before[y0:y1, x0:x1][here[y0:y1, x0:x1] == k])
        counts[:1] = 0
        return self._tracks[int(counts.argmax())] if counts.any() else None
