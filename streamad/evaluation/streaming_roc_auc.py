"""ROC AUC over more samples than fit into memory, from counts of scored samples of two classes."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.metrics import Curve, area_under, counted_roc_curve, equal_errors

Floats = npt.NDArray[np.float64]

LIMIT = 1 << 19
"""Number of scores held before neighbors are merged (13 MB): up to this number, metrics are exact."""


class StreamingRocAuc:
    """How many abnormal and normal samples have each score, in bounded memory.

    Samples with equal scores share an entry. If more than `LIMIT` scores differ, neighbors in rank are merged into half
    as many groups with about equal shares of both classes, at their mean, and count as tied from then on. This changes
    an AUC by less than 1 / LIMIT, which a test measures.
    """

    def __init__(self) -> None:
        self._parts: list[tuple[Floats, Floats, Floats]] = []
        self._size = 0

    @property
    def entries(self) -> int:
        """Number of scores held, at most `LIMIT`."""
        return self._size

    def add(self, scores: npt.ArrayLike, abnormal: npt.ArrayLike, normal: npt.ArrayLike) -> None:
        """Count samples, (n,) each: entry i stands for `abnormal[i]` and `normal[i]` samples of the score
        `scores[i]`.
        """
        part = (
            np.asarray(scores, dtype=np.float64),
            np.asarray(abnormal, dtype=np.float64),
            np.asarray(normal, dtype=np.float64),
        )
        self._parts.append(part)
        self._size += len(part[0])
        if self._size > LIMIT:
            self._join()

    def merge(self, other: StreamingRocAuc) -> None:
        """Add the counts of other samples."""
        for part in other._parts:
            self.add(*part)

    def auc(self) -> float:
        """Area under the ROC curve over all samples, 0..1; ties count as half.

        Raises:
            DatasetError: Nothing was counted, samples have only one class, or a score is NaN.
        """
        return area_under(self._curve())

    def eer(self) -> float:
        """Equal error rate over all samples, 0..1.

        Raises:
            DatasetError: As for `auc`.
        """
        return equal_errors(self._curve())

    def _curve(self) -> Curve:
        if not self._size:
            raise DatasetError("nothing can be evaluated: no score was counted")
        try:
            return counted_roc_curve(*self._columns())
        except ValueError as error:
            raise DatasetError(str(error)) from error

    def _columns(self) -> tuple[Floats, Floats, Floats]:
        scores, abnormal, normal = zip(*self._parts, strict=True)
        return np.concatenate(scores), np.concatenate(abnormal), np.concatenate(normal)

    def _join(self) -> None:
        scores, abnormal, normal = self._columns()
        values, group = np.unique(scores, return_inverse=True)
        hits, others = (np.bincount(group, counts).astype(np.float64) for counts in (abnormal, normal))
        if len(values) > LIMIT // 2:
            share = hits / max(1.0, hits.sum()) + others / max(1.0, others.sum()) + 1e-300
            place = (np.cumsum(share) - share / 2) / share.sum()  # 0..1, in order of rank
            # ±inf are not merged with anything: a mean would not keep their rank.
            bounds = np.floor(place * (LIMIT // 2 - 2)) + LIMIT * np.sign(values) * np.isinf(values)
            first = np.flatnonzero(np.diff(bounds, prepend=-2.0 * LIMIT))
            total = np.add.reduceat(share, first)
            values = np.add.reduceat(values * (share / np.repeat(total, np.diff(first, append=len(values)))), first)
            hits, others = np.add.reduceat(hits, first), np.add.reduceat(others, first)
        self._parts = [(values, hits, others)]
        self._size = len(values)
