"""Pixel AUC against scikit-learn over every single pixel."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from streamad.errors import DatasetError
from streamad.evaluation.pixels import PixelCounts, weighted_auc


@pytest.mark.parametrize("seed", range(6))
def test_it_is_that_of_scikit_learn_over_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = PixelCounts()
    pixels, truth = [], []
    for _ in range(3):
        heat = rng.integers(0, 5, (3, 4)).astype(np.float32)  # with ties
        boxes = [(c * 10, r * 8, c * 10 + 10, r * 8 + 8) for r in range(3) for c in range(4)]
        mask = rng.random((24, 40)) < 0.1
        counts.add(heat, boxes, mask)
        pixels.append(np.kron(heat, np.ones((8, 10))).ravel())
        truth.append(mask.ravel())
    expected = roc_auc_score(np.concatenate(truth), np.concatenate(pixels))
    assert counts.auc() == pytest.approx(expected, abs=1e-12)


def test_pixels_without_a_score_rank_lowest_and_overlaps_show_the_higher_score() -> None:
    """Cells shifted inwards at the right edge, as the tiler has them; one cell was not scored."""
    rng = np.random.default_rng(1)
    heat = np.array([[0.3, np.nan, 0.9, 0.5]])
    boxes = [(0, 0, 10, 10), (10, 0, 20, 10), (20, 0, 30, 10), (25, 0, 35, 10)]
    mask = rng.random((12, 35)) < 0.3  # two rows that no cell covers
    counts = PixelCounts()
    counts.add(heat, boxes, mask)
    painted = np.full((12, 35), -5.0)
    painted[:10, 0:10], painted[:10, 20:30], painted[:10, 30:35] = 0.3, 0.9, 0.5
    assert counts.auc() == pytest.approx(roc_auc_score(mask.ravel(), painted.ravel()), abs=1e-12)


def test_groups_weigh_as_many_samples_as_they_hold() -> None:
    rng = np.random.default_rng(2)
    scores, a, n = rng.integers(0, 9, 40), rng.integers(0, 20, 40), rng.integers(0, 20, 40)
    values = np.concatenate([np.repeat(scores, a), np.repeat(scores, n)])
    labels = np.repeat([1, 0], [a.sum(), n.sum()])
    assert weighted_auc(scores, a, n) == pytest.approx(roc_auc_score(labels, values), abs=1e-12)


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(DatasetError, match="no frame"):
        PixelCounts().auc()
    with pytest.raises(DatasetError, match="both classes, got 0 abnormal and 5 normal"):
        weighted_auc([1.0], [0], [5])
    with pytest.raises(DatasetError, match="12 cells, but 1 boxes"):
        PixelCounts().add(np.zeros((3, 4)), [(0, 0, 1, 1)], np.zeros((4, 4), bool))
