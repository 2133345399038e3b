"""Ranking metrics of frame scores: ROC AUC, EER, average precision.

All take (N,) `scores`, higher = more anomalous, and (N,) `labels`, 0 = normal, 1 = abnormal; tied scores
count as one step. ±inf rank as what they are; NaN is an error, since a frame without a score must be left out
knowingly. (N,) `weights`, 0 or more, say for how many samples each score stands; None: one each.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


def roc_curve(
    scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None
) -> tuple[Floats, Floats, Floats]:
    """ROC curve with one point for every distinct score.

    Returns:
        False-positive rates, true-positive rates, thresholds, each (K + 1,): "abnormal where score >=
        threshold", thresholds falling from +inf, where both rates are 0 unless scores are +inf themselves.

    Raises:
        ValueError: lengths differ, NaN scores, labels other than 0 and 1, weights that are negative or not finite, or
            one class alone.
    """
    thresholds, hits, alarms = _cumulative(*_checked(scores, labels, weights))
    zero = np.zeros(1)
    return (
        np.concatenate((zero, alarms / alarms[-1])),
        np.concatenate((zero, hits / hits[-1])),
        np.concatenate((np.full(1, np.inf), thresholds)),
    )


def roc_auc(scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Area under the ROC curve, 0..1: the share of (abnormal, normal) pairs in the right order, ties as half.

    Raises:
        ValueError: as `roc_curve`.
    """
    fpr, tpr, _ = roc_curve(scores, labels, weights)
    return float(np.trapezoid(tpr, fpr))


def eer(scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None = None) -> float:
    """Equal error rate, 0..1.

    Where the false-positive rate equals the miss rate on the linearly interpolated ROC.

    Raises:
        ValueError: as `roc_curve`.
    """
    fpr, tpr, _ = roc_curve(scores, labels, weights)
    difference = fpr + tpr - 1.0  # false-positive rate minus miss rate: rises from −1 to 1
    i = int(np.searchsorted(difference, 0.0))  # first point at or beyond equality; never 0
    before, after = difference[i - 1], difference[i]
    share = -before / (after - before)
    return float(fpr[i - 1] + share * (fpr[i] - fpr[i - 1]))


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Average precision, 0..1: Σ (R_n − R_{n−1})·P_n over falling thresholds, without interpolation.

    Compare with the base rate: a score that knows nothing reaches about the share of abnormal frames.

    Raises:
        ValueError: as `roc_curve`.
    """
    _, hits, alarms = _cumulative(*_checked(scores, labels, None))
    precision = hits / (hits + alarms)
    return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])


def _cumulative(values: Floats, abnormal: Floats, normal: Floats) -> tuple[Floats, Floats, Floats]:
    """Distinct scores, falling, with the abnormal and the normal samples that score at least as high."""
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return ranked[last], np.cumsum(abnormal[order])[last], np.cumsum(normal[order])[last]


def _checked(
    scores: npt.ArrayLike, labels: npt.ArrayLike, weights: npt.ArrayLike | None
) -> tuple[Floats, Floats, Floats]:
    """Scores, and the abnormal and normal samples that each stands for."""
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(labels)
    weight = np.ones(truth.shape) if weights is None else np.asarray(weights, dtype=np.float64)
    if values.ndim != 1 or values.shape != truth.shape or values.shape != weight.shape:
        raise ValueError(
            f"scores, labels and weights must be 1-D and of one length, got shapes {values.shape}, {truth.shape} and "
            f"{weight.shape}"
        )
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} scores are NaN; leave frames without a score out")
    if not np.isin(truth, (0, 1)).all():
        wrong = truth[~np.isin(truth, (0, 1))][0]
        raise ValueError(f"labels must be 0 (normal) or 1 (abnormal), got {wrong!r}")
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("weights must be finite, 0 or more")
    abnormal = weight * truth
    normal = weight - abnormal
    if not abnormal.any() or not normal.any():
        raise ValueError(
            f"a ranking metric needs normal and abnormal samples, got {normal.sum():g} normal and "
            f"{abnormal.sum():g} abnormal"
        )
    return values, abnormal, normal
