"""Where, not only when: heat maps of whole clips against pixel masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.datasets import Clip
from streamad.evaluation.patches import PatchFigures, PatchSamples, patch_figures, patch_samples
from streamad.evaluation.pixels import Box, PixelCounts
from streamad.evaluation.regions import HeatmapRegions, TrueRegion, true_regions

LEVELS = 150
LOWER_LEVELS = 50
"""Thresholds of the region curves: quantiles of the frames' highest cells, where one false region a frame is reached,
and of all cells below those (our choice)."""


@dataclass(frozen=True)
class Localisation:
    """Heat maps against pixel masks, with raw scores.

    Attributes:
        pixel_auc: area under the ROC curve over all pixels.
        rbdc: region-based detection criterion, 0..1.
        tbdc: track-based detection criterion, 0..1.
        regions: true regions.
        tracks: true tracks; where a set's masks name none, linked by overlap (`true_regions`).
        frames: frames compared: the scored ones of clips with masks.
        clips: clips with masks.
    """

    pixel_auc: float
    rbdc: float
    tbdc: float
    regions: int
    tracks: int
    frames: int
    clips: int


@dataclass(frozen=True)
class ClipHeat:
    """Heat maps of one clip.

    Attributes:
        maps: (frames, rows, cols), NaN where a cell was not scored; may lie on disk.
        boxes: of all cells, row by row, in pixels of the frames.
        scored: (frames,) whether a frame was scored; one that was, without any scored cell, shows nothing abnormal.
    """

    maps: npt.NDArray[np.float32]
    boxes: Sequence[Box]
    scored: npt.NDArray[np.bool_]


def localisation_of(
    clips: Sequence[Clip], heat: Sequence[ClipHeat | None], *, cells_are_patches: bool = False
) -> tuple[Localisation | None, PatchFigures | None]:
    """Pixel AUC, RBDC and TBDC, and the patch protocol; clips side by side, each mask read once.

    Args:
        clips: test clips; those without masks are left out.
        heat: their heat maps; None for a clip that has none.
        cells_are_patches: compute the patch protocol too.

    Returns:
        None for what no clip has masks and heat maps for, or where nothing is abnormal in them.

    Raises:
        DatasetError: masks that cannot be read or do not fit their frames.
    """
    both = [(clip, found) for clip, found in zip(clips, heat, strict=True) if clip.masks is not None and found]
    if not both:
        return None, None
    levels = _levels([found for _, found in both])
    counts, regions, samples = PixelCounts(), HeatmapRegions(levels), list[PatchSamples]()
    work = partial(_count, levels, cells_are_patches)
    with ThreadPoolExecutor(min(len(both), os.cpu_count() or 1)) as pool:
        for pixels, boxes, patches in pool.map(work, range(len(both)), *zip(*both, strict=True)):
            counts.merge(pixels)
            regions.merge(boxes)
            samples += patches
    try:
        curves = regions.curves()
    except DatasetError:  # nothing is abnormal in any of them
        return None, None
    localisation = Localisation(
        counts.auc(), curves.rbdc, curves.tbdc, curves.regions, curves.tracks, curves.frames, len(both)
    )
    return localisation, patch_figures(samples)


_TRACKS = 1_000_000
"""More than a clip has: the numbers of its tracks differ from those of all other clips."""


def _count(
    levels: npt.NDArray[np.float64], with_patches: bool, number: int, clip: Clip, found: ClipHeat
) -> tuple[PixelCounts, HeatmapRegions, list[PatchSamples]]:
    """Pixels, regions and patches of one clip.

    A frame without a score is no miss of the detector's: it is left out, with its true regions.
    """
    masks = _masks(clip)
    truth: dict[int, list[TrueRegion]] = {}
    for region in true_regions([masks]):
        numbered = TrueRegion(region.frame, region.track + number * _TRACKS, region.box)
        truth.setdefault(region.frame, []).append(numbered)
    counts, regions = PixelCounts(), HeatmapRegions(levels)
    for t in map(int, np.flatnonzero(found.scored)):
        counts.add(found.maps[t], found.boxes, masks[t])
        regions.add(found.maps[t], found.boxes, truth.get(t, []))
    samples = []
    if with_patches and clip.labels is not None:
        samples = [patch_samples(found.maps, found.boxes, found.scored, masks, clip.labels)]
    return counts, regions, samples


def _masks(clip: Clip) -> npt.NDArray[np.bool_]:
    assert clip.masks is not None
    masks = clip.masks()
    if len(masks) != clip.frames:
        raise DatasetError(f"{clip.path}: {clip.frames} frames, but {len(masks)} pixel masks")
    return masks


def _levels(heat: Sequence[ClipHeat]) -> npt.NDArray[np.float64]:
    """Thresholds, falling; at least one."""
    highest: list[npt.NDArray[np.float64]] = []
    cells: list[npt.NDArray[np.float64]] = []
    for found in heat:
        flat = np.asarray(found.maps, dtype=np.float64).reshape(len(found.maps), -1)[found.scored]
        flat = np.where(np.isnan(flat), -np.inf, flat)
        top = flat.max(axis=1, initial=-np.inf)
        highest.append(top[np.isfinite(top)])
        values = flat[np.isfinite(flat)]
        cells.append(values[:: max(1, len(values) // 10_000)])  # evenly spread; enough for quantiles
    tops, values = np.concatenate(highest), np.concatenate(cells)
    if not len(tops):
        return np.zeros(1)
    upper = np.quantile(tops, np.linspace(1, 0, LEVELS))
    below = values[values < upper[-1]]
    lower = np.quantile(below, np.linspace(1, 0.5, LOWER_LEVELS)) if len(below) else np.empty(0)
    return np.unique(np.concatenate((upper, lower)))[::-1]
