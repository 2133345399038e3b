"""The patch protocol of the ADACL and ALPS papers: three numbers that must not be taken for one another."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamad.evaluation.metrics import eer, roc_auc
from streamad.evaluation.pixels import Box
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


@dataclass(frozen=True)
class PatchSamples:
    """The patches of one clip.

    Attributes:
        values: (n,) scores of patches in which something moves, of scored frames.
        covered: (n,) share of each that the mask covers.
        highest: (frames,) highest patch score; -inf where nothing moves, NaN where the frame was not scored.
        labels: (frames,) 0 or 1.
    """

    values: npt.NDArray[np.float64]
    covered: npt.NDArray[np.float64]
    highest: npt.NDArray[np.float64]
    labels: npt.NDArray[np.uint8]


def patch_samples(
    maps: npt.NDArray[np.float32],
    boxes: Sequence[Box],
    scored: npt.NDArray[np.bool_],
    masks: npt.NDArray[np.bool_],
    labels: npt.NDArray[np.uint8],
) -> PatchSamples:
    """The patches of a clip's heat maps, whose cells are patches.

    Args:
        maps: (frames, rows, cols), NaN where nothing moved.
        boxes: of all cells, row by row.
        scored: (frames,) whether a frame was scored.
        masks: (frames, height, width), True where abnormal.
        labels: (frames,) 0 or 1.
    """
    values = np.asarray(maps, dtype=np.float64).reshape(len(maps), -1)
    moving = ~np.isnan(values) & scored[:, None]
    top = np.where(moving, values, -np.inf).max(axis=1)
    return PatchSamples(values[moving], _shares(masks, boxes)[moving], np.where(scored, top, np.nan), labels)


def patch_figures(samples: Sequence[PatchSamples]) -> PatchFigures | None:
    """The three numbers.

    A frame in which nothing moves has no patch; it takes the lowest patch score of all.

    Returns:
        None where there is no patch, or patches or frames are of one class.
    """
    if not sum(len(sample.values) for sample in samples):
        return None
    patches = np.concatenate([sample.values for sample in samples])
    share = np.concatenate([sample.covered for sample in samples])
    lowest = float(patches.min())
    frames = [np.where(np.isneginf(sample.highest), lowest, sample.highest) for sample in samples]
    labels = [sample.labels for sample in samples]
    kept = (share == 0) | (share >= ABNORMAL_SHARE)
    truth = (share[kept] > 0).astype(np.uint8)
    seen = np.concatenate([label[~np.isnan(top)] for label, top in zip(labels, frames, strict=True)])
    if len(set(truth.tolist())) < 2 or len(set(seen.tolist())) < 2:
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


def _shares(masks: npt.NDArray[np.bool_], boxes: Sequence[Box]) -> npt.NDArray[np.float64]:
    """(frames, cells): share of each cell that a mask covers."""
    x0, y0, x1, y1 = np.asarray(boxes, dtype=np.int64).T
    height, width = masks.shape[1:]
    x0, x1, y0, y1 = x0.clip(0, width), x1.clip(0, width), y0.clip(0, height), y1.clip(0, height)
    areas = np.maximum(1, (x1 - x0) * (y1 - y0))
    shares = np.empty((len(masks), len(areas)))
    for t, mask in enumerate(masks):
        sums = cv2.integral(mask.astype(np.uint8))
        shares[t] = (sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0]) / areas
    return shares
