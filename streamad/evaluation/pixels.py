"""Pixel-level ROC AUC of anomaly maps against pixel masks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.streaming_roc_auc import StreamingRocAuc

Box = tuple[int, int, int, int]
"""(x0, y0, x1, y1) in pixels; right and lower edge exclusive."""

Mask = npt.NDArray[np.bool_]
Counts = npt.NDArray[np.int64]


class CellPixels:
    """The pixels of an anomaly map's cells in frames of one size.

    Args:
        boxes: Boxes of all cells, row by row; parts outside the frame are cut off.
        size: (height, width) of the frames.

    Attributes:
        size: The size given.
        boxes: The boxes given.
        corners: (cells, 4), the boxes within the frame.
        areas: (cells,), pixels of each.
        apart: Whether no two cells overlap.
    """

    def __init__(self, boxes: Sequence[Box], size: tuple[int, int]) -> None:
        height, width = size
        self.size = (height, width)
        self.boxes = boxes
        self.corners: Counts = np.asarray(boxes, dtype=np.int64).reshape(-1, 4).copy()
        self.corners[:, 0::2] = self.corners[:, 0::2].clip(0, width)
        self.corners[:, 1::2] = self.corners[:, 1::2].clip(0, height)
        x0, y0, x1, y1 = self.corners.T
        self.areas: Counts = np.maximum(0, x1 - x0) * np.maximum(0, y1 - y0)
        self.apart = int(self.areas.sum()) == int(self._painted(range(len(self.corners))).astype(bool).sum())

    def marked(self, mask: Mask) -> Counts:
        """(cells,), number of pixels of each cell that a (height, width) mask marks."""
        sums = cv2.integral(np.ascontiguousarray(mask).view(np.uint8))
        x0, y0, x1, y1 = self.corners.T
        return np.asarray(sums[y1, x1] - sums[y0, x1] - sums[y1, x0] + sums[y0, x0], dtype=np.int64)

    def shown(self, values: npt.NDArray[np.float64], mask: Mask) -> tuple[Counts, Counts]:
        """For each cell, (cells,): how many pixels show its score, and how many of these the mask marks.

        A cell that is NaN shows none. Where two cells overlap, the higher score counts, as in the overlay.
        """
        scored = ~np.isnan(values)
        if self.apart:
            return np.where(scored, self.areas, 0), np.where(scored, self.marked(mask), 0)
        order = np.argsort(np.where(scored, values, -np.inf), kind="stable")
        painted = self._painted(int(k) for k in order if scored[k])
        totals = np.bincount(painted.ravel(), minlength=len(values) + 1)
        hits = np.bincount(painted[mask], minlength=len(values) + 1)
        return totals[1:], hits[1:]

    def _painted(self, order: Iterable[int]) -> npt.NDArray[np.int32]:
        picture = np.zeros(self.size, np.int32)
        for k in order:
            x0, y0, x1, y1 = self.corners[k]
            picture[y0:y1, x0:x1] = k + 1
        return picture


class PixelCounts:
    """Data for a pixel-level ROC over the frames seen so far: the score of every cell and its numbers of pixels by
    class.

    An anomaly map is constant within a cell, so a cell with n normal and a abnormal pixels stands for n + a pixels of
    one score. The ROC over cells with these weights equals that over pixels, without storing pixels.
    """

    def __init__(self) -> None:
        self._ranks = StreamingRocAuc()

    def add(self, anomaly_map: npt.ArrayLike, cells: CellPixels, mask: Mask) -> None:
        """Count the pixels of one frame.

        A pixel that no scored cell covers (NaN, or outside the grid) gets the lowest rank: nothing was detected there.

        Args:
            anomaly_map: (rows, cols) scores, higher = more anomalous; NaN = not scored.
            cells: All cells, row by row.
            mask: (height, width), True where abnormal.

        Raises:
            DatasetError: The numbers of boxes and cells differ.
        """
        values = np.asarray(anomaly_map, dtype=np.float64).ravel()
        if len(cells.boxes) != values.size:
            raise DatasetError(f"the anomaly map has {values.size} cells, but there are {len(cells.boxes)} boxes")
        totals, hits = cells.shown(values, mask)
        kept = totals > 0
        abnormal = np.append(hits[kept], np.count_nonzero(mask) - hits.sum())
        pixels = np.append(totals[kept], mask.size - totals.sum())
        self._ranks.add(np.append(values[kept], -np.inf), abnormal, pixels - abnormal)

    def merge(self, other: PixelCounts) -> None:
        """Add the counts of other frames."""
        self._ranks.merge(other._ranks)

    def auc(self) -> float:
        """Area under the ROC curve over all pixels, 0..1; ties count as half.

        Raises:
            DatasetError: There are no frames, or only pixels of one class.
        """
        return self._ranks.auc()
