"""Localization: compare the anomaly maps of whole clips with pixel masks."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.datasets import Clip
from streamad.evaluation.patches import PatchCounts, PatchMetrics, patch_metrics
from streamad.evaluation.pixels import CellPixels, Mask, PixelCounts
from streamad.evaluation.regions import AnomalyMapRegions, RegionTracker
from streamad.evaluation.scored_clips import ScoredClip

LEVELS = 150
LOWER_LEVELS = 50
"""Thresholds of the region curves: quantiles of the frames' highest cells, in which range one false region per frame is
reached, and of all cells below those."""

_CELLS_READ = 20_000
"""Approximate number of cells per clip that the quantiles are computed from."""


@dataclass(frozen=True)
class Localization:
    """Metrics of anomaly maps against pixel masks, with raw scores.

    Attributes:
        pixel_auc: Area under the ROC curve over all pixels.
        rbdc: Region-based detection criterion, 0..1.
        tbdc: Track-based detection criterion, 0..1.
        regions: Number of true regions.
        tracks: Number of true tracks; if the masks of a data set do not identify tracks, regions are linked by overlap
            (`RegionTracker`).
        frames: Number of frames compared: the scored frames of clips with masks.
        clips: Number of clips with masks.
    """

    pixel_auc: float
    rbdc: float
    tbdc: float
    regions: int
    tracks: int
    frames: int
    clips: int


@dataclass(frozen=True)
class Located:
    """Result of comparing anomaly maps with masks.

    Attributes:
        metrics: The metrics; None if no clip has masks and anomaly maps, or nothing in them is abnormal.
        patches: The patch protocol, under the same conditions.
        problems: (clip, problem with its masks); such a clip is left out of both.
        masks: The masks requested by `keep`, by clip and frame.
    """

    metrics: Localization | None = None
    patches: PatchMetrics | None = None
    problems: tuple[tuple[int, str], ...] = ()
    masks: Mapping[tuple[int, int], Mask] = field(default_factory=dict, repr=False)


def localization_of(
    clips: Sequence[Clip],
    scored: Sequence[ScoredClip],
    *,
    cells_are_patches: bool = False,
    keep: Collection[tuple[int, int]] = (),
) -> Located:
    """Compute pixel AUC, RBDC, TBDC, and the patch protocol. Clips are processed in parallel; each mask is read once.

    Args:
        clips: Test clips; those without masks are skipped.
        scored: Their scores; those without anomaly maps are skipped.
        cells_are_patches: Whether to compute the patch protocol, too.
        keep: (clip, frame) pairs whose masks are returned, for thumbnails.
    """
    pairs = enumerate(zip(clips, scored, strict=True))
    compared = [(k, clip, found) for k, (clip, found) in pairs if clip.masks is not None and found.maps is not None]
    if not compared:
        return Located()
    levels = _levels([found for _, _, found in compared])
    counts, regions, patches = PixelCounts(), AnomalyMapRegions(levels), list[PatchCounts]()
    problems: list[tuple[int, str]] = []
    masks: dict[tuple[int, int], Mask] = {}
    work = partial(_count, levels, cells_are_patches, keep)
    with ThreadPoolExecutor(min(len(compared), os.cpu_count() or 1)) as pool:
        for (number, _, _), done in zip(compared, pool.map(work, *zip(*compared, strict=True)), strict=True):
            if isinstance(done, str):
                problems.append((number, done))
                continue
            counts.merge(done.pixels)
            regions.merge(done.regions)
            patches += done.patches
            masks |= done.masks
    try:
        curves = regions.curves()
    except DatasetError:  # nothing in any of them is abnormal
        return Located(problems=tuple(problems), masks=masks)
    used = len(compared) - len(problems)
    metrics = Localization(counts.auc(), curves.rbdc, curves.tbdc, curves.regions, curves.tracks, curves.frames, used)
    return Located(metrics, patch_metrics(patches), tuple(problems), masks)


_TRACKS = 1_000_000
"""More tracks than a clip has, so that track numbers are unique across clips."""

_FRAMES_READ = 256
"""Number of anomaly maps read at a time."""


@dataclass
class _Counted:
    """Pixels, regions, and patches of one clip, and the masks to keep."""

    pixels: PixelCounts
    regions: AnomalyMapRegions
    patches: list[PatchCounts]
    masks: dict[tuple[int, int], Mask]


def _count(
    levels: npt.NDArray[np.float64],
    with_patches: bool,
    keep: Collection[tuple[int, int]],
    number: int,
    clip: Clip,
    found: ScoredClip,
) -> _Counted | str:
    """Process one clip frame by frame; returns the problem with its masks, if any.

    A frame without a score is not a miss of the detector, so it is left out with its true regions.
    """
    assert clip.masks is not None
    assert found.maps is not None
    boxes, scored = found.maps.boxes(), np.isfinite(found.scores)
    done = _Counted(PixelCounts(), AnomalyMapRegions(levels), [], {})
    patches = None
    if with_patches and clip.labels is not None:
        patches = PatchCounts(np.full(clip.frames, np.nan), clip.labels)
        done.patches.append(patches)
    tracker = RegionTracker(number * _TRACKS)
    cells: CellPixels | None = None
    part = np.empty(0, np.float32)
    frames = 0
    try:
        for t, mask in enumerate(clip.masks()):
            frames = t + 1
            truth = tracker.regions(mask)
            if t >= clip.frames:
                continue
            if (number, t) in keep:
                done.masks[number, t] = mask.copy()
            if t % _FRAMES_READ == 0:
                part = found.maps[t : t + _FRAMES_READ]
            if not scored[t]:
                continue
            if cells is None or cells.size != mask.shape:
                cells = CellPixels(boxes, (mask.shape[0], mask.shape[1]))
            anomaly_map = part[t % _FRAMES_READ]
            done.pixels.add(anomaly_map, cells, mask)
            done.regions.add(anomaly_map, boxes, truth)
            if patches is not None:
                patches.add(t, anomaly_map, cells, mask)
    except DatasetError as error:
        return str(error)
    if frames != clip.frames:
        return f"{clip.path}: {clip.frames} frames, but {frames} pixel masks"
    return done


def _levels(clips: Sequence[ScoredClip]) -> npt.NDArray[np.float64]:
    """Thresholds, decreasing; at least one."""
    highest: list[npt.NDArray[np.float64]] = []
    cells: list[npt.NDArray[np.float64]] = []
    for clip in clips:
        assert clip.maps is not None
        for first in range(0, len(clip.maps), _FRAMES_READ):
            part = np.asarray(clip.maps[first : first + _FRAMES_READ], dtype=np.float64)
            flat = part.reshape(len(part), -1)[np.isfinite(clip.scores[first : first + len(part)])]
            flat = np.where(np.isnan(flat), -np.inf, flat)
            top = flat.max(axis=1, initial=-np.inf)
            highest.append(top[np.isfinite(top)])
            values = flat[np.isfinite(flat)]
            step = max(1, len(clip.maps) * flat.shape[1] // _CELLS_READ)
            cells.append(values[::step])  # evenly spaced; enough for quantiles
    tops, values = np.concatenate(highest), np.concatenate(cells)
    if not len(tops):
        return np.zeros(1)
    upper = np.quantile(tops, np.linspace(1, 0, LEVELS))
    below = values[values < upper[-1]]
    lower = np.quantile(below, np.linspace(1, 0.5, LOWER_LEVELS)) if len(below) else np.empty(0)
    return np.unique(np.concatenate((upper, lower)))[::-1]
