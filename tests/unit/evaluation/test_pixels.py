"""Pixel AUC against scikit-learn over every single pixel."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from streamad.errors import DatasetError
from streamad.evaluation.pixels import CellPixels, PixelCounts


@pytest.mark.parametrize("seed", range(6))
def test_it_is_that_of_scikit_learn_over_pixels(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = PixelCounts()
    pixels, truth = [], []
    for _ in range(3):
        heat = rng.integers(0, 5, (3, 4)).astype(np.float32)  # with ties
        boxes = [(c * 10, r * 8, c * 10 + 10, r * 8 + 8) for r in range(3) for c in range(4)]
        mask = rng.random((24, 40)) < 0.1
        counts.add(heat, CellPixels(boxes, mask.shape), mask)
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
    counts.add(heat, CellPixels(boxes, mask.shape), mask)
    painted = np.full((12, 35), -5.0)
    painted[:10, 0:10], painted[:10, 20:30], painted[:10, 30:35] = 0.3, 0.9, 0.5
    assert counts.auc() == pytest.approx(roc_auc_score(mask.ravel(), painted.ravel()), abs=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_cells_that_lie_apart_are_counted_as_those_that_overlap_are(seed: int) -> None:
    """Two ways to the same counts: sums of rectangles, and painting."""
    rng = np.random.default_rng(seed)
    boxes = [(c * 10, r * 8, c * 10 + 10, r * 8 + 8) for r in range(3) for c in range(4)]
    values, mask = rng.random(12), rng.random((26, 43)) < 0.2
    values[rng.random(12) < 0.3] = np.nan
    apart, overlapping = CellPixels(boxes, mask.shape), CellPixels(boxes, mask.shape)
    assert apart.apart
    overlapping.apart = False
    for ours, painted in zip(apart.shown(values, mask), overlapping.shown(values, mask), strict=True):
        np.testing.assert_array_equal(ours, painted)
    assert not CellPixels([*boxes, (5, 5, 15, 15)], mask.shape).apart
    beyond = CellPixels([(35, 20, 60, 40)], mask.shape)  # cut off at the picture's edge
    assert beyond.areas.tolist() == [8 * 6]
    assert beyond.marked(mask).tolist() == [mask[20:, 35:].sum()]


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(DatasetError, match="no score was counted"):
        PixelCounts().auc()
    with pytest.raises(DatasetError, match="12 cells, but there are 1 boxes"):
        PixelCounts().add(np.zeros((3, 4)), CellPixels([(0, 0, 1, 1)], (4, 4)), np.zeros((4, 4), bool))
