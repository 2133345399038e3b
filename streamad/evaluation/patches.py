"""The patch protocol of the ADACL and ALPS papers: three numbers that must not be taken for one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamad.evaluation.datasets import Clip
from streamad.evaluation.localisation import ClipHeat
from streamad.evaluation.metrics import eer, roc_auc
from streamad.evaluation.scores import evaluate_scores

ABNORMAL_SHARE = 0.2
"""A cell is abnormal where the mask covers at least this share of it; between 0 and this it is left out (our choice:
the papers do not say)."""


@dataclass(frozen=True)
class PatchFigures:
    """Figures of single 30×30 patches, and of frames by their highest patch.

    The papers' tables call theirs frame-level, but follow code that joins labelled normal and abnormal patches: they
    are to be compared with `patch_auc` alone.

    Attributes:
        patch_auc: AUC over patches in which something moves.
        patch_eer: EER over them.
        patches: patches compared.
        abnormal_patches: those covered by a mask to at least a fifth.
        left_out: patches covered by less than a fifth, but not by nothing.
        frame_auc: AUC over frames, each scored by its highest patch, as they are.
        frame_eer: its EER.
        frame_auc_per_video: the same after min-max of each test clip, which needs its future.
        frame_eer_per_video: its EER.
        frames: frames compared.
    """

    patch_auc: float
    patch_eer: float
    patches: int
    abnormal_patches: int
    left_out: int
    frame_auc: float
    frame_eer: float
    frame_auc_per_video: float
    frame_eer_per_video: float
    frames: int


def patch_figures(clips: Sequence[Clip], heat: Sequence[ClipHeat | None]) -> PatchFigures | None:
    """The three numbers, from heat maps whose cells are patches.

    A frame in which nothing moves has no patch; it takes the lowest patch score of all.

    Args:
        clips: test clips with labels and masks; those without masks are left out.
        heat: their heat maps.

    Returns:
        None where no clip has both masks and heat maps, or patches or frames are of one class.

    Raises:
        DatasetError: masks that cannot be read.
    """
    values: list[npt.NDArray[np.float64]] = []
    covered: list[npt.NDArray[np.float64]] = []
    highest: list[npt.NDArray[np.float64]] = []
    labels: list[npt.NDArray[np.uint8]] = []
    for clip, found in zip(clips, heat, strict=True):
        if clip.masks is None or found is None or clip.labels is None:
            continue
        maps = np.asarray(found.maps, dtype=np.float64).reshape(clip.frames, -1)
        shares = _shares(clip.masks(), found)
        moving = ~np.isnan(maps) & found.scored[:, None]
        values.append(maps[moving])
        covered.append(shares[moving])
        top = np.where(moving, maps, -np.inf).max(axis=1)
        highest.append(np.where(found.scored, top, np.nan))
        labels.append(clip.labels)
    if not values or not sum(map(len, values)):
        return None
    patches, share = np.concatenate(values), np.concatenate(covered)
    lowest = float(patches.min())
    frames = [np.where(np.isneginf(top), lowest, top) for top in highest]
    kept = (share == 0) | (share >= ABNORMAL_SHARE)
    truth = (share[kept] > 0).astype(np.uint8)
    scored = np.concatenate([label[~np.isnan(top)] for label, top in zip(labels, frames, strict=True)])
    if truth.min() == truth.max() or scored.min() == scored.max():
        return None
    raw = evaluate_scores(frames, labels, normalization="raw")
    stretched = evaluate_scores(frames, labels, normalization="per_video")
    return PatchFigures(
        patch_auc=roc_auc(patches[kept], truth),
        patch_eer=eer(patches[kept], truth),
        patches=int(kept.sum()),
        abnormal_patches=int(truth.sum()),
        left_out=int((~kept).sum()),
        frame_auc=raw.auc_micro,
        frame_eer=raw.eer,
        frame_auc_per_video=stretched.auc_micro,
        frame_eer_per_video=stretched.eer,
        frames=raw.frames,
    )


def _shares(masks: npt.NDArray[np.bool_], found: ClipHeat) -> npt.NDArray[np.float64]:
    """(frames, cells): share of each cell that a mask covers."""
    x0, y0, x1, y1 = np.asarray(found.boxes, dtype=np.int64).T
    height, width = masks.shape[1:]
    x0, x1, y0, y1 = x0.clip(0, width), x1.clip(0, width), y0.clip(0, height), y1.clip(0, height)
    areas = np.maximum(1, (x1 - x0) * (y1 - y0))
    shares = np.empty((len(masks), len(areas)))
    for t, mask in enumerate(masks):
        sums = cv2.integral(mask.astype(np.uint8))
        shares[t] = (sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]) / areas
    return shares
