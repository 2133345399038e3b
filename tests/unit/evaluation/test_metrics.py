"""Metrics against scikit-learn, an independent implementation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.interpolate import interp1d
from scipy.optimize import brentq
from sklearn import metrics as oracle

from streamad.evaluation.metrics import average_precision, eer, roc_auc, roc_curve


def eer_by_root_finding(scores, labels):
    fpr, tpr, _ = oracle.roc_curve(labels, scores, drop_intermediate=False)
    # interp1d needs a function of fpr: walk along the curve by its length instead.
    position = np.arange(fpr.size)
    return_fpr, return_tpr = interp1d(position, fpr), interp1d(position, tpr)
    at = brentq(lambda p: return_fpr(p) - (1 - return_tpr(p)), 0, fpr.size - 1, xtol=1e-14)
    return float(return_fpr(at))


@st.composite
def scored(draw):
    n = draw(st.integers(2, 80))
    labels = draw(st.lists(st.integers(0, 1), min_size=n, max_size=n).filter(lambda x: 0 < sum(x) < len(x)))
    values = st.integers(0, draw(st.integers(1, 40)))  # small ranges: many ties
    return np.array(draw(st.lists(values, min_size=n, max_size=n)), dtype=float) / 7, np.array(labels)


@given(scored())
@settings(max_examples=300, deadline=None)
def test_metrics_are_scikit_learns(sample):
    scores, labels = sample
    assert roc_auc(scores, labels) == pytest.approx(oracle.roc_auc_score(labels, scores), abs=1e-9)
    assert average_precision(scores, labels) == pytest.approx(oracle.average_precision_score(labels, scores), abs=1e-9)
    assert eer(scores, labels) == pytest.approx(eer_by_root_finding(scores, labels), abs=1e-9)


def test_large_continuous_sample():
    rng = np.random.default_rng(0)
    labels = rng.random(50_000) < 0.3
    scores = rng.standard_normal(50_000) + labels
    assert roc_auc(scores, labels) == pytest.approx(oracle.roc_auc_score(labels, scores), abs=1e-9)
    assert average_precision(scores, labels) == pytest.approx(oracle.average_precision_score(labels, scores), abs=1e-9)
    assert eer(scores, labels) == pytest.approx(eer_by_root_finding(scores, labels), abs=1e-9)
    fpr, tpr, thresholds = roc_curve(scores, labels)
    expected = oracle.roc_curve(labels, scores, drop_intermediate=False)
    np.testing.assert_allclose(fpr, expected[0])
    np.testing.assert_allclose(tpr, expected[1])
    np.testing.assert_allclose(thresholds, expected[2])


@pytest.mark.parametrize(
    ("scores", "labels", "auc", "equal_error", "precision"),
    [
        ([0, 1], [0, 1], 1.0, 0.0, 1.0),
        ([1, 0], [0, 1], 0.0, 1.0, 0.5),
        ([5, 5, 5, 5], [0, 1, 0, 1], 0.5, 0.5, 0.5),
        ([1, 2, 3, 4], [0, 1, 0, 1], 0.75, 0.5, 5 / 6),
    ],
)
def test_by_hand(scores, labels, auc, equal_error, precision):
    assert roc_auc(scores, labels) == auc
    assert eer(scores, labels) == pytest.approx(equal_error)
    assert average_precision(scores, labels) == pytest.approx(precision)


def test_infinities_rank_as_the_extremes():
    labels = [0, 1, 0, 1, 1]
    with_infinities = [-np.inf, 2.0, 1.0, np.inf, np.inf]
    finite = [-1e9, 2.0, 1.0, 1e9, 1e9]
    for metric in (roc_auc, eer, average_precision):
        assert metric(with_infinities, labels) == metric(finite, labels)


@pytest.mark.parametrize("metric", [roc_auc, eer, average_precision, roc_curve])
@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([1.0, 2.0], [0], "equal length"),
        ([[1.0, 2.0]], [[0, 1]], "1-D"),
        ([1.0, np.nan], [0, 1], "1 scores are NaN"),
        ([1.0, 2.0, 3.0], [0, 1, 2], "0 .normal. or 1"),
        ([1.0, 2.0], [0, 0], "2 normal and 0 abnormal"),
        ([1.0, 2.0], [1, 1], "0 normal and 2 abnormal"),
        ([], [], "0 normal and 0 abnormal"),
    ],
)
def test_refusals(metric, scores, labels, message):
    with pytest.raises(ValueError, match=message):
        metric(scores, labels)
