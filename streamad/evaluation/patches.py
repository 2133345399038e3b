"""The patch protocol of the ADACL and ALPS papers: three metrics that must not be confused."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamad.evaluation.pixels import CellPixels, Mask
from streamad.evaluation.scores import evaluate_scores
from streamad.evaluation.streaming_roc_auc import StreamingRocAuc

ABNORMAL_SHARE = 0.2
"""A cell is abnormal if the mask covers at least this share of it; cells that are covered less, but not zero, are
ignored. The papers do not specify this."""


@dataclass(frozen=True)
class PatchMetrics:
    """Metrics of single 30×30 patches, and of frames by their highest patch.

    The papers' tables call their metrics frame-level, but follow code that pools labeled normal and abnormal patches:
    they must be compared with `patch_auc` only.

    Attributes:
        patch_auc: AUC over patches in which something moves.
        patch_eer: EER over them.
        patches: Number of patches compared.
        abnormal_patches: Number of patches of which a mask covers at least a fifth.
        left_out: Number of patches of which a mask covers less than a fifth, but not zero.
        frame_auc: AUC over frames, each scored by its highest patch, without normalization.
        frame_eer: EER over them.
        frame_auc_per_video: The AUC after min-max normalization of each test clip, which needs its future.
        frame_eer_per_video: The EER after that.
        frames: Number of frames compared.
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


@dataclass
class PatchCounts:
    """The patches of one clip, counted frame by frame; memory grows by one score per frame.

    Attributes:
        ranks: Scores of patches in which something moves, in scored frames.
        patches: Number of patches compared.
        abnormal: Number of patches of which a mask covers at least a fifth.
        left_out: Number of patches of which a mask covers less, but not zero.
        lowest: Lowest score of any patch.
        highest: (frames,) highest patch score; -inf if nothing moves, NaN if the frame was not scored.
        labels: (frames,) 0 or 1.
    """

    highest: npt.NDArray[np.float64]
    labels: npt.NDArray[np.uint8]
    ranks: StreamingRocAuc = field(default_factory=StreamingRocAuc)
    patches: int = 0
    abnormal: int = 0
    left_out: int = 0
    lowest: float = np.inf

    def add(self, frame: int, anomaly_map: npt.ArrayLike, cells: CellPixels, mask: Mask) -> None:
        """Count one scored frame.

        Args:
            frame: Position of the frame in the clip.
            anomaly_map: (rows, cols) patch scores, NaN where nothing moved.
            cells: The patches, row by row.
            mask: (height, width), True where abnormal.
        """
        values = np.asarray(anomaly_map, dtype=np.float64).ravel()
        moving = ~np.isnan(values)
        self.highest[frame] = values[moving].max(initial=-np.inf)
        self.lowest = min(self.lowest, float(values[moving].min(initial=np.inf)))
        share = cells.marked(mask)[moving] / np.maximum(1, cells.areas[moving])
        abnormal = share >= ABNORMAL_SHARE
        kept = abnormal | (share == 0)
        self.ranks.add(values[moving][kept], abnormal[kept], ~abnormal[kept])
        self.patches += int(kept.sum())
        self.abnormal += int(abnormal.sum())
        self.left_out += int((~kept).sum())


def patch_metrics(clips: Sequence[PatchCounts]) -> PatchMetrics | None:
    """Compute the metrics.

    A frame in which nothing moves has no patch; it gets the lowest patch score of all.

    Returns:
        None if there are no patches, or patches or frames belong to only one class.
    """
    lowest = min((clip.lowest for clip in clips), default=np.inf)
    if not np.isfinite(lowest):
        return None
    ranks = StreamingRocAuc()
    for clip in clips:
        ranks.merge(clip.ranks)
    patches, abnormal = (sum(getattr(clip, name) for clip in clips) for name in ("patches", "abnormal"))
    frames = [np.where(np.isneginf(clip.highest), lowest, clip.highest) for clip in clips]
    labels = [clip.labels for clip in clips]
    seen = np.concatenate([label[~np.isnan(top)] for label, top in zip(labels, frames, strict=True)])
    if abnormal in (0, patches) or len(set(seen.tolist())) < 2:
        return None
    raw = evaluate_scores(frames, labels, normalization="raw")
    stretched = evaluate_scores(frames, labels, normalization="per_video")
    return PatchMetrics(
        patch_auc=ranks.auc(),
        patch_eer=ranks.eer(),
        patches=patches,
        abnormal_patches=abnormal,
        left_out=sum(clip.left_out for clip in clips),
        frame_auc=raw.auc_micro,
        frame_eer=raw.eer,
        frame_auc_per_video=stretched.auc_micro,
        frame_eer_per_video=stretched.eer,
        frames=raw.frames,
    )
