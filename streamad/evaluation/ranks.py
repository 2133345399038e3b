"""Counts of scored samples of two classes, for a ROC over more samples than memory should hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.metrics import eer, roc_auc

Floats = npt.NDArray[np.float64]

LIMIT = 1 << 20
"""Scores held before neighbours are joined (25 MB): up to so many the figures are exact. Our choice."""


class RankCounts:
    """How many abnormal and normal samples have each score. Memory is bounded, whatever is added.

    Samples of one score are one entry. Where more than `LIMIT` scores differ, neighbours in rank are joined in pairs
    and count as tied from then on. That moves an AUC by no more than half the share of pairs that became ties, about
    1 / LIMIT for scores that are spread (`test_ranks` measures it).
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Floats, Floats, Floats]] = []
        self._size = 0

    def add(self, scores: npt.ArrayLike, abnormal: npt.ArrayLike, normal: npt.ArrayLike) -> None:
        """Count samples, (n,) each: entry i is `abnormal[i]` and `normal[i]` samples of the score `scores[i]`."""
        part = (
            np.asarray(scores, dtype=np.float64),
            np.asarray(abnormal, dtype=np.float64),
            np.asarray(normal, dtype=np.float64),
        )
        self._parts.append(part)
        self._size += len(part[0])
        if self._size > LIMIT:
            self._join()

    def merge(self, other: RankCounts) -> None:
        """Take up the counts of other samples."""
        for part in other._parts:
            self.add(*part)

    def auc(self) -> float:
        """Area under the ROC curve over all samples, 0..1; ties count as half.

        Raises:
            DatasetError: nothing was counted, samples of one class alone, or a NaN score.
        """
        return self._figure(roc_auc)

    def eer(self) -> float:
        """Equal error rate over all samples, 0..1.

        Raises:
            DatasetError: as `auc`.
        """
        return self._figure(eer)

    def _figure(self, metric: Callable[[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike], float]) -> float:
        if not self._size:
            raise DatasetError("nothing can be evaluated: no score was counted")
        scores, abnormal, normal = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        labels = np.repeat((1, 0), len(scores))
        try:
            return float(metric(np.tile(scores, 2), labels, np.concatenate((abnormal, normal))))
        except ValueError as error:
            raise DatasetError(str(error)) from error

    def _join(self) -> None:
        scores, abnormal, normal = (np.concatenate(column) for column in zip(*self._parts, strict=True))
        values, group = np.unique(scores, return_inverse=True)
        abnormal, normal = (np.bincount(group, n).astype(np.float64) for n in (abnormal, normal))
        while len(values) > LIMIT // 2:
            first = np.arange(0, len(values), 2)
            values = values[np.minimum(first + 1, len(values) - 1)]
            abnormal, normal = np.add.reduceat(abnormal, first), np.add.reduceat(normal, first)
        self._parts = [(values, abnormal, normal)]
        self._size = len(values)
