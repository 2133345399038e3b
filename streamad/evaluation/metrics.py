"""Ranking metrics of frame scores: ROC AUC, EER, average precision.

All take (N,) `scores`, higher = more anomalous, and (N,) `labels`, 0 = normal, 1 = abnormal. Tied scores count as one
step. ±inf are valid ranks. NaN is an error, because frames without a score must be left out deliberately. Tests compare
them with scikit-learn, whose size and start-up time would burden the base install (docs/concepts/libraries.md).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Curve = tuple[Floats, Floats, Floats]


def roc_curve(scores: npt.ArrayLike, labels: npt.ArrayLike) -> Curve:
    """ROC curve with one point for every distinct score.

    Returns:
        False-positive rates, true-positive rates, and thresholds, each (K + 1,). A sample is positive if score >=
        threshold; thresholds decrease from +inf, where both rates are 0 unless scores are +inf themselves.

    Raises:
        ValueError: Lengths differ, scores are NaN, labels are not 0 and 1, or there is only one class.
    """
    values, truth = _checked(scores, labels)
    return counted_roc_curve(values, truth, 1.0 - truth)


def counted_roc_curve(scores: Floats, abnormal: Floats, normal: Floats) -> Curve:
    """`roc_curve` of grouped samples: group i has `abnormal[i]` and `normal[i]` samples of the score `scores[i]`.

    Raises:
        ValueError: Scores are NaN, or there is only one class.
    """
    if np.isnan(scores).any():
        raise ValueError(f"{int(np.isnan(scores).sum())} scores are NaN; remove samples without a score")
    if not abnormal.any() or not normal.any():
        raise ValueError(
            f"a ranking metric needs normal and abnormal samples, got {normal.sum():g} normal and "
            f"{abnormal.sum():g} abnormal"
        )
    thresholds, hits, alarms = _cumulative(scores, abnormal, normal)
    zero = np.zeros(1)
    return (
        np.concatenate((zero, alarms / alarms[-1])),
        np.concatenate((zero, hits / hits[-1])),
        np.concatenate((np.full(1, np.inf), thresholds)),
    )


def roc_auc(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Area under the ROC curve, 0..1: the share of (abnormal, normal) pairs in the right order; ties count as half.

    Raises:
        ValueError: As for `roc_curve`.
    """
    return area_under(roc_curve(scores, labels))


def area_under(curve: Curve) -> float:
    """Area under a curve returned by `roc_curve`."""
    fpr, tpr, _ = curve
    return float(np.trapezoid(tpr, fpr))


def eer(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Equal error rate, 0..1.

    The rate at which false-positive rate and miss rate are equal on the linearly interpolated ROC curve.

    Raises:
        ValueError: As for `roc_curve`.
    """
    return equal_errors(roc_curve(scores, labels))


def equal_errors(curve: Curve) -> float:
    """Equal error rate of a curve returned by `roc_curve`."""
    fpr, tpr, _ = curve
    difference = fpr + tpr - 1.0  # false-positive rate minus miss rate: rises from −1 to 1
    i = int(np.searchsorted(difference, 0.0))  # first point at or beyond equality; never 0
    before, after = difference[i - 1], difference[i]
    share = -before / (after - before)
    return float(fpr[i - 1] + share * (fpr[i] - fpr[i - 1]))


def average_precision(scores: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """Average precision, 0..1: Σ (R_n − R_{n−1})·P_n over decreasing thresholds, without interpolation.

    Compare it with the base rate: an uninformative score reaches about the share of abnormal frames.

    Raises:
        ValueError: As for `roc_curve`.
    """
    values, truth = _checked(scores, labels)
    _, hits, alarms = _cumulative(values, truth, 1.0 - truth)
    precision = hits / (hits + alarms)
    return float(np.sum(np.diff(hits, prepend=0.0) * precision) / hits[-1])


def _cumulative(values: Floats, abnormal: Floats, normal: Floats) -> tuple[Floats, Floats, Floats]:
    """Distinct scores, decreasing, with the numbers of abnormal and normal samples that score at least as high."""
    order = np.argsort(-values, kind="stable")
    ranked = values[order]
    last = np.flatnonzero(np.append(ranked[1:] != ranked[:-1], True))
    return ranked[last], np.cumsum(abnormal[order])[last], np.cumsum(normal[order])[last]


def _checked(scores: npt.ArrayLike, labels: npt.ArrayLike) -> tuple[Floats, Floats]:
    values = np.asarray(scores, dtype=np.float64)
    truth = np.asarray(labels)
    if values.ndim != 1 or values.shape != truth.shape:
        raise ValueError(
            f"scores and labels must be 1-D and of equal length, got shapes {values.shape} and {truth.shape}"
        )
    if np.isnan(values).any():
        raise ValueError(f"{int(np.isnan(values).sum())} scores are NaN; remove frames without a score")
    if not np.isin(truth, (0, 1)).all():
        wrong = truth[~np.isin(truth, (0, 1))][0]
        raise ValueError(f"labels must be 0 (normal) or 1 (abnormal), got {wrong!r}")
    abnormal = int(np.count_nonzero(truth))
    if abnormal in (0, truth.size):
        raise ValueError(
            f"a ranking metric needs normal and abnormal frames, got {truth.size - abnormal} normal and "
            f"{abnormal} abnormal"
        )
    return values, truth.astype(np.float64)
