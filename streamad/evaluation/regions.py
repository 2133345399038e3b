"""Region-based and track-based detection (RBDC, TBDC): is the right place found, in enough frames of each event?

Source: Ramachandra and Jones, "Street Scene: a new dataset and evaluation protocol for video anomaly detection",
2020, in our own reading. A true region is found where a detected region of its frame has an intersection over union
of at least β with it. A true track (the regions of one event over its frames) is found where at least the share α of
its regions is. A detected region is false where it has less than β with every true region of its frame. Both rates
are drawn against the false regions a frame, and the area under the curve from 0 to 1 false region a frame is the
figure: RBDC over regions, TBDC over tracks. α = β = 0.1.

Open points and our choices: a region is its bounding box; between two operating points the curves are joined by
straight lines, from (0, 0); where a detector never reaches one false region a frame, its last rate holds on to 1.
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
    """One abnormal thing in one frame.

    Attributes:
        frame: its frame, counted over all videos.
        track: the event that it belongs to, counted over all videos.
        box: what it covers.
    """

    frame: int
    track: int
    box: Box


@dataclass(frozen=True)
class Detection:
    """A region that a detector marks, and the score at which it does so.

    Attributes:
        frame: its frame, counted over all videos.
        box: what it covers.
        score: higher = more anomalous; the region is there at all thresholds up to it.
    """

    frame: int
    box: Box
    score: float


@dataclass(frozen=True)
class RegionCurves:
    """Detection rates against false regions a frame.

    Attributes:
        rbdc: area under the region-based curve up to one false region a frame, 0..1.
        tbdc: the same, track-based.
        false_per_frame: (K + 1,) false regions a frame, rising, from 0.
        region_rate: (K + 1,) share of the true regions found.
        track_rate: (K + 1,) share of the true tracks found.
        thresholds: (K + 1,) falling, from +inf.
        regions: true regions.
        tracks: true tracks.
        frames: frames evaluated.
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


def region_curves(
    detections: Sequence[Detection],
    truth: Sequence[TrueRegion],
    *,
    frames: int,
    alpha: float = ALPHA,
    beta: float = BETA,
) -> RegionCurves:
    """RBDC and TBDC of detections that each have a score of their own.

    Args:
        detections: in any order; NaN scores are refused.
        truth: all true regions.
        frames: how many frames were watched, the false regions of which count.
        alpha: share of a track's regions that must be found.
        beta: least intersection over union.

    Raises:
        DatasetError: no true region, no frame, a NaN score, or a frame beyond `frames`.
    """
    if not truth or frames < 1:
        raise DatasetError(f"nothing can be evaluated: {len(truth)} true regions in {frames} frames")
    numbers = [*(d.frame for d in detections), *(region.frame for region in truth)]
    outside = [number for number in numbers if not 0 <= number < frames]
    if outside:
        raise DatasetError(f"a region lies in frame {outside[0]}, but there are frames 0 to {frames - 1}")
    scores = np.array([d.score for d in detections], dtype=np.float64)
    if np.isnan(scores).any():
        raise DatasetError(f"{int(np.isnan(scores).sum())} detections have no score; leave them out")
    tracks = sorted({region.track for region in truth})
    place = {track: k for k, track in enumerate(tracks)}
    in_frame: dict[int, list[int]] = {}
    for k, region in enumerate(truth):
        in_frame.setdefault(region.frame, []).append(k)
    # The score from which on a true region is found is that of its best detection; so each is found once.
    found_at = np.full(len(truth), -np.inf)
    hit = np.zeros(len(truth), bool)
    false = np.ones(len(detections), bool)
    for k, detection in enumerate(detections):
        for number in in_frame.get(detection.frame, ()):
            if intersection_over_union(detection.box, truth[number].box) >= beta:
                false[k] = False
                hit[number] = True
                found_at[number] = max(found_at[number], detection.score)
    track_at = np.full(len(tracks), -np.inf)
    track_hit = np.zeros(len(tracks), bool)
    of_track = np.array([place[region.track] for region in truth])
    for k in range(len(tracks)):
        mine = np.flatnonzero(of_track == k)
        needed = max(1, int(np.ceil(alpha * len(mine) - 1e-9)))
        levels = np.sort(found_at[mine][hit[mine]])[::-1]
        if len(levels) >= needed:
            track_at[k], track_hit[k] = levels[needed - 1], True
    thresholds = np.unique(scores)[::-1]
    wrong = _at_least(scores[false], thresholds) / frames
    region_rate = _at_least(found_at[hit], thresholds) / len(truth)
    track_rate = _at_least(track_at[track_hit], thresholds) / len(tracks)
    zero = np.zeros(1)
    x = np.concatenate((zero, wrong))
    regions, events = np.concatenate((zero, region_rate)), np.concatenate((zero, track_rate))
    return RegionCurves(
        rbdc=area_up_to_one(x, regions),
        tbdc=area_up_to_one(x, events),
        false_per_frame=x,
        region_rate=regions,
        track_rate=events,
        thresholds=np.concatenate((np.full(1, np.inf), thresholds)),
        regions=len(truth),
        tracks=len(tracks),
        frames=frames,
    )


class HeatmapRegions:
    """RBDC and TBDC of heat maps, frame by frame, at fixed thresholds; memory does not grow with the frames.

    At a threshold, the detected regions of a frame are the connected parts (8 neighbours) of its cells at or above it,
    each given by the box round its cells. Unlike boxes with scores of their own, these grow and merge as the threshold
    falls, so the curves are drawn point by point (our choice; the paper leaves to the detector what a region is).

    Args:
        thresholds: falling; more of them make finer curves.
        alpha: see `region_curves`.
        beta: see `region_curves`.

    Raises:
        DatasetError: no threshold.
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

    def add(self, heatmap: npt.ArrayLike, boxes: Sequence[Box], truth: Sequence[TrueRegion]) -> None:
        """Count one frame.

        Args:
            heatmap: (rows, cols) scores; NaN = not scored.
            boxes: of all cells, row by row.
            truth: the true regions of this frame.
        """
        self._frames += 1
        for region in truth:
            self._lengths[region.track] = self._lengths.get(region.track, 0) + 1
            self._found.setdefault(region.track, np.zeros(len(self._thresholds), np.int64))
        values = np.asarray(heatmap, dtype=np.float64)
        corners = np.asarray(boxes, dtype=np.int64).reshape(*values.shape, 4)
        filled = np.where(np.isnan(values), -np.inf, values)
        # Between two scores of this frame nothing changes: one look serves all thresholds there.
        reached = np.searchsorted(np.sort(-filled, axis=None), -self._thresholds, "right")
        for count in np.unique(reached[reached > 0]):
            (places,) = np.nonzero(reached == count)
            false, found = self._judge(filled >= self._thresholds[places[0]], corners, truth)
            self._false[places] += false
            for region, hit in zip(truth, found, strict=True):
                if hit:
                    self._found[region.track][places] += 1

    def merge(self, other: HeatmapRegions) -> None:
        """Take up the counts of other frames, whose tracks have other numbers, at the same thresholds."""
        self._frames += other._frames
        self._false += other._false
        self._lengths.update(other._lengths)
        self._found.update(other._found)

    def curves(self) -> RegionCurves:
        """The curves over all frames that were added.

        Raises:
            DatasetError: no frame was added, or none with a true region.
        """
        if not self._lengths:
            raise DatasetError(f"nothing can be evaluated: 0 true regions in {self._frames} frames")
        lengths = np.array(list(self._lengths.values()), dtype=np.float64)
        found = np.stack([self._found[track] for track in self._lengths], axis=1)  # (thresholds, tracks)
        region_rate = found.sum(axis=1) / lengths.sum()
        track_rate = (found >= np.maximum(1, np.ceil(self._alpha * lengths - 1e-9))).mean(axis=1)
        wrong = self._false / self._frames
        zero = np.zeros(1)
        order = np.argsort(wrong, kind="stable")  # merging parts can lower the count of false ones
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

    def _judge(
        self, up: Mask, corners: npt.NDArray[np.int64], truth: Sequence[TrueRegion]
    ) -> tuple[int, npt.NDArray[np.bool_]]:
        """False regions of a frame, and which of its true regions are found."""
        count, parts = cv2.connectedComponents(up.astype(np.uint8), connectivity=8)
        parts = np.asarray(parts)
        found = np.zeros(len(truth), bool)
        false = 0
        for k in range(1, count):
            cells = corners[parts == k]
            (x0, y0), (x1, y1) = cells[:, :2].min(axis=0), cells[:, 2:].max(axis=0)
            box = int(x0), int(y0), int(x1), int(y1)
            hits = [intersection_over_union(box, region.box) >= self._beta for region in truth]
            found |= np.array(hits, bool)
            false += not any(hits)
        return false, found


def intersection_over_union(a: Box, b: Box) -> float:
    """Of two boxes, 0..1."""
    width = min(a[2], b[2]) - max(a[0], b[0])
    height = min(a[3], b[3]) - max(a[1], b[1])
    if width <= 0 or height <= 0:
        return 0.0
    common = width * height
    areas = [(x1 - x0) * (y1 - y0) for x0, y0, x1, y1 in (a, b)]
    return common / (sum(areas) - common)


def area_up_to_one(x: npt.NDArray[np.float64], y: npt.NDArray[np.float64]) -> float:
    """Area under a rising curve from x = 0 to x = 1; see the module for what lies beyond its points."""
    if x[-1] < 1:
        x, y = np.append(x, 1.0), np.append(y, y[-1])
    end = float(np.interp(1.0, x, y)) if x[-1] > 1 else float(y[x <= 1][-1])
    inside = x <= 1
    return float(np.trapezoid(np.append(y[inside], end), np.append(x[inside], 1.0)))


def true_regions(masks: Sequence[Mask]) -> list[TrueRegion]:
    """Regions and tracks of videos whose pixel masks do not say which event is which.

    A region is a connected part of a mask (8 neighbours), given by its box; a region continues the track of the region
    of the frame before that it overlaps most (our choice: the UCSD and Avenue masks name no tracks). Two things that
    touch are one region. Tracks do not go on over a frame without them, nor from video to video.

    Args:
        masks: one (T, height, width) array a video, True where abnormal; frames are counted on from video to video.
    """
    found: list[TrueRegion] = []
    track = 0
    first = 0
    for video in masks:
        before: npt.NDArray[np.int32] | None = None
        names: dict[int, int] = {}
        for t, mask in enumerate(video):
            count, components, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
            components = np.asarray(components, np.int32)
            continued: dict[int, int] = {}
            for k in range(1, count):
                name = _overlapping(before, components == k, names) if before is not None else None
                if name is None or name in continued.values():  # of two that a track splits into, one is new
                    name, track = track, track + 1
                continued[k] = name
                x, y, w, h = (int(v) for v in stats[k, :4])
                found.append(TrueRegion(first + t, name, (x, y, x + w, y + h)))
            before, names = components, continued
        first += len(video)
    return found


def _overlapping(before: npt.NDArray[np.int32], here: Mask, names: dict[int, int]) -> int | None:
    counts = np.bincount(before[here])
    counts[:1] = 0
    return names[int(counts.argmax())] if counts.any() else None


def _at_least(values: npt.NDArray[np.float64], thresholds: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """How many values lie at each threshold or above."""
    ordered = np.sort(values)
    return (len(ordered) - np.searchsorted(ordered, thresholds, "left")).astype(np.float64)
