"""Metrics of defects against scikit-learn and SciPy, and the picture that shows them."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy import ndimage
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from streamad.evaluation.images.defects import (
    ACCURACY,
    PIXELS,
    PIXELS_PER_IMAGE,
    defect_metrics,
    full_size,
    mean_accuracy,
    pixel_auroc,
    pixel_auroc_per_image,
)
from streamad.visual.defect import defect_picture


def maps_and_masks(count: int = 6, side: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Maps that mark the defect of two of three images, each image on a level of its own, with many ties."""
    rng = np.random.default_rng(3)
    masks = np.zeros((count, side, side), np.uint8)
    masks[::3, 4:10, 5:15] = masks[1::3, 12:20, 2:6] = 1
    levels = rng.normal(0, 1, (count, 1, 1))
    return np.round(masks + rng.normal(0, 0.7, masks.shape) + levels, 1).astype(np.float32), masks


def test_pooled_pixels_are_scikit_learns() -> None:
    maps, masks = maps_and_masks()
    assert pixel_auroc(maps, masks) == pytest.approx(roc_auc_score(masks.ravel(), maps.ravel()), abs=1e-9)
    with pytest.raises(ValueError, match="normal and abnormal"):
        pixel_auroc(maps, np.zeros_like(masks))


def test_pixels_of_each_anomalous_image_are_scikit_learns() -> None:
    maps, masks = maps_and_masks()
    expected = np.mean([roc_auc_score(masks[k].ravel(), maps[k].ravel()) for k in range(6) if masks[k].any()])
    assert pixel_auroc_per_image(maps, masks) == pytest.approx(expected, abs=1e-9)
    # A level for each image changes the pooled metric alone.
    shifted = maps + np.arange(6, dtype=np.float32)[:, None, None]
    assert pixel_auroc_per_image(shifted, masks) == pytest.approx(expected, abs=1e-6)
    assert pixel_auroc(shifted, masks) != pytest.approx(pixel_auroc(maps, masks), abs=1e-3)
    masks[0] = 1  # all defect: it has no curve
    without = np.mean([roc_auc_score(masks[k].ravel(), maps[k].ravel()) for k in (1, 3, 4)])
    assert pixel_auroc_per_image(maps, masks) == pytest.approx(without, abs=1e-9)
    with pytest.raises(ValueError, match="no image has"):
        pixel_auroc_per_image(maps, np.zeros_like(masks))


def test_accuracy_is_the_mean_of_both_shares() -> None:
    scores, labels = np.array([0.1, 0.6, 0.4, 0.9, 0.5, 0.7]), np.array([0, 0, 0, 1, 1, 1])
    assert mean_accuracy(scores, labels, 0.5) == pytest.approx((2 / 3 + 2 / 3) / 2)  # 0.5 itself is normal
    rng = np.random.default_rng(0)
    scores, labels = rng.random(200), (rng.random(200) < 0.8).astype(int)
    assert mean_accuracy(scores, labels, 0.3) == pytest.approx(balanced_accuracy_score(labels, scores > 0.3))


def test_maps_are_enlarged_bilinearly() -> None:
    small = np.random.default_rng(1).random((2, 4, 4)).astype(np.float32)
    # The centers of pixels are aligned, and the border is continued.
    places = np.clip((np.arange(32) + 0.5) / 8 - 0.5, 0, 3)
    grid = np.meshgrid(places, places, indexing="ij")
    for one, large in zip(small, full_size(small, (32, 32)), strict=True):
        np.testing.assert_allclose(large, ndimage.map_coordinates(one, grid, order=1), atol=1e-6)


def test_all_metrics_by_name() -> None:
    maps, masks = maps_and_masks()
    labels = masks.reshape(6, -1).any(axis=1).astype(np.uint8)
    scores = maps.max(axis=(1, 2)).astype(float)
    held_out = np.sort(scores)[:3]
    found = defect_metrics(scores, labels, held_out, maps[:, ::2, ::2], masks)
    assert set(found) == {PIXELS, PIXELS_PER_IMAGE, ACCURACY}
    assert found[ACCURACY] == mean_accuracy(scores, labels, held_out[-1])
    assert found[PIXELS] == pixel_auroc(full_size(maps[:, ::2, ::2], (24, 24)), masks)
    assert set(defect_metrics(scores, labels, held_out, None, masks)) == {ACCURACY}


def test_the_picture_outlines_the_defect_and_tints_what_the_map_marks() -> None:
    image = np.full((3, 24, 30), 100, np.uint8)
    mask = np.zeros((24, 30), np.uint8)
    mask[5:15, 5:15] = 1
    heat = np.zeros((24, 30), np.float32)
    heat[8:12, 20:26] = 1.0
    content = defect_picture(image, heat, mask, low=0.2, high=1.0)
    picture = cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR).astype(int)
    assert picture.shape == (24, 60, 3)
    assert (picture[5, 5:15] == (178, 114, 0)).all()  # BGR: blue
    assert (picture[10, 10] == 100).all()
    tinted = picture[10, 30 + 22]
    assert tinted[2] > tinted[0] + 60  # red
    assert (picture[2, 32] == 100).all()
    gray = defect_picture(image[:1], heat, mask, low=0.2, high=0.2)  # a scale without length does not fail
    assert cv2.imdecode(np.frombuffer(gray, np.uint8), cv2.IMREAD_COLOR).shape == (24, 60, 3)
