"""Pixel-level ROC AUC of heat maps against pixel masks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels; right and lower edge exclusive."""

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


@dataclass
class PixelCounts:
    """What a pixel-level ROC needs of the frames seen so far: for every cell its score and its two kinds of pixels.

    A heat map is constant within a cell, so a cell with n normal and a abnormal pixels stands for n + a pixels of one
    score: the ROC over cells with these weights is that over pixels, without holding any pixels.
    """

    scores: list[Floats] = field(default_factory=list)
    normal: list[Floats] = field(default_factory=list)
    abnormal: list[Floats] = field(default_factory=list)

    def add(self, heatmap: npt.ArrayLike, boxes: Sequence[Box], mask: Mask) -> None:
        """Count the pixels of one frame.

        A pixel that no scored cell covers (NaN, or outside the grid) takes the lowest rank: nothing was seen there. In
        the overlap of two cells the higher score counts, as it does for the eye.

        Args:
            heatmap: (rows, cols) scores, higher = more anomalous; NaN = not scored.
            boxes: of all cells, row by row.
            mask: (height, width), True where abnormal.

        Raises:
            DatasetError: boxes and cells differ in number.
        """
        values = np.asarray(heatmap, dtype=np.float64).ravel()
        if len(boxes) != values.size:
            raise DatasetError(f"a heat map of {values.size} cells, but {len(boxes)} boxes")
        painted = np.full(mask.shape, -1, np.int32)
        order = [int(k) for k in np.argsort(np.where(np.isnan(values), -np.inf, values), kind="stable")]
        for k in order:
            if not np.isnan(values[k]):
                x0, y0, x1, y1 = boxes[k]
                painted[max(0, y0) : max(0, y1), max(0, x0) : max(0, x1)] = k
        totals = np.bincount(painted.ravel() + 1, minlength=values.size + 1).astype(np.float64)
        hits = np.bincount(painted[mask] + 1, minlength=values.size + 1).astype(np.float64)
        shown = totals > 0
        self.scores.append(np.concatenate(([-np.inf], values))[shown])
        self.abnormal.append(hits[shown])
        self.normal.append((totals - hits)[shown])

    def merge(self, other: PixelCounts) -> None:
        """Take up the counts of other frames."""
        self.scores += other.scores
        self.normal += other.normal
        self.abnormal += other.abnormal

    def auc(self) -> float:
        """Area under the ROC curve over all pixels, 0..1; ties count as half.

        Raises:
            DatasetError: no frame, or pixels of one class alone.
        """
        if not self.scores:
            raise DatasetError("no frame was given to the pixel AUC")
        return weighted_auc(np.concatenate(self.scores), np.concatenate(self.abnormal), np.concatenate(self.normal))


def weighted_auc(scores: npt.ArrayLike, abnormal: npt.ArrayLike, normal: npt.ArrayLike) -> float:
    """ROC AUC of groups: group i holds `abnormal[i]` and `normal[i]` samples of one score.

    Raises:
        DatasetError: one class is empty, or a score is NaN.
    """
    values = np.asarray(scores, dtype=np.float64)
    positive, negative = np.asarray(abnormal, dtype=np.float64), np.asarray(normal, dtype=np.float64)
    if np.isnan(values).any():
        raise DatasetError(f"{int(np.isnan(values).sum())} scores are NaN; leave them out")
    if not positive.sum() or not negative.sum():
        raise DatasetError(
            f"a ranking metric needs both classes, got {positive.sum():g} abnormal and {negative.sum():g} normal"
        )
    _, group = np.unique(values, return_inverse=True)
    a, n = np.bincount(group, positive), np.bincount(group, negative)
    below = np.cumsum(n) - n
    return float((a * (below + n / 2)).sum() / (a.sum() * n.sum()))
