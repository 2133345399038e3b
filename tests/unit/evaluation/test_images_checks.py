"""Checks before a training: each thing that no network can learn from is refused in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from streamad.errors import DatasetError
from streamad.evaluation.images import OneClassSplit, check_training_images
from streamad.evaluation.images.checks import image_array

RNG = np.random.default_rng(2)
GOOD = RNG.integers(0, 256, (6, 1, 8, 8), dtype=np.uint8)

BAD: dict[str, tuple[Any, str]] = {
    "an empty array": (GOOD[:0], "there are no training images"),
    "an empty list": ([], "there are no training images"),
    "one image": (GOOD[:1], "1 training image is not enough"),
    "no pixels": (GOOD[..., :0], "no pixels"),
    "labels": (np.arange(50) % 10, "0 to 9: these look like labels"),
    "labels in a column": ((np.arange(50) % 10)[:, None], "these look like labels"),
    "labels as floats": ((np.arange(50) % 10).astype(float), "these look like labels"),
    "labels in a list": ([1, 2, 3, 3], "these look like labels"),
    "a row of fractions": (np.linspace(0, 1, 50), r"has shape \(50,\); expected images"),
    "several sizes": ([GOOD[0], GOOD[1, :, :6]], r"different sizes \(1×6×8, 1×8×8\)"),
    "three dimensions": (GOOD[:, 0], r"got an array of shape \(6, 8, 8\)"),
    "black": (np.zeros_like(GOOD), "all 6 training images are the same: every pixel is 0"),
    "white": (np.full_like(GOOD, 255), "every pixel is 255"),
    "one image repeated": (np.repeat(GOOD[:1], 6, axis=0), "all 6 training images are the same$"),
    "NaN": (np.where(GOOD > 128, np.nan, 0.1), r"of 384 values are NaN or infinite"),
    "infinity": (np.where(GOOD > 128, -np.inf, 0.1), "NaN or infinite"),
    "standardized floats": (GOOD / 127.5 - 1, "expected floats from 0 to 1"),
    "floats of 0 to 255": (GOOD.astype(np.float32), "expected floats from 0 to 1"),
    "floats of 0 to 1": (GOOD / 255, "the images are float64, expected uint8"),
    "large numbers": (GOOD.astype(np.int32) * 100, "expected integers from 0 to 255"),
    "text": (np.full((6, 1, 8, 8), "a"), "has type <U1"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_images_are_refused(case: str) -> None:
    images, message = BAD[case]
    with pytest.raises(DatasetError, match=message) as caught:
        check_training_images(images, "gate camera")
    assert "gate camera" in str(caught.value)


@pytest.mark.parametrize(
    "images", [GOOD, GOOD[:2], np.repeat(GOOD, 3, axis=1), list(GOOD), np.stack([GOOD[0]] * 5 + [GOOD[1]])]
)
def test_good_images_pass(images: Any) -> None:
    check_training_images(images, "gate camera")


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_floats_are_rounded_back_to_the_pixels_they_came_from(dtype: Any) -> None:
    every = np.arange(256, dtype=np.uint8).reshape(4, 8, 8)
    assert np.array_equal(image_array((every / 255).astype(dtype), "x")[:, 0], every)


def test_layouts_are_told_apart() -> None:
    color = RNG.integers(0, 256, (5, 9, 7, 3), dtype=np.uint8)
    assert np.array_equal(image_array(color, "x"), np.moveaxis(color, 3, 1))
    assert np.array_equal(image_array(np.moveaxis(color, 3, 1), "x"), np.moveaxis(color, 3, 1))
    assert image_array(color, "x").flags.c_contiguous


def test_a_split_of_parts_that_do_not_fit() -> None:
    labels = np.array([0, 1, 1, 0, 1, 0], np.uint8)
    with pytest.raises(DatasetError, match="6 test images, but labels"):
        OneClassSplit(GOOD, GOOD, labels[:5])
    with pytest.raises(DatasetError, match="1×8×8, test images 1×8×4"):
        OneClassSplit(GOOD, GOOD[..., :4], labels)
    with pytest.raises(DatasetError, match="masks of shape"):
        OneClassSplit(GOOD, GOOD, labels, np.zeros((6, 4, 4), np.uint8))


def test_the_fingerprint_of_a_split_sees_images_and_labels() -> None:
    labels = np.array([0, 1, 1, 0, 1, 0], np.uint8)
    other = GOOD.copy()
    other[3, 0, 2, 2] ^= 1
    splits = [
        OneClassSplit(GOOD, GOOD, labels),
        OneClassSplit(other, GOOD, labels),
        OneClassSplit(GOOD, other, labels),
        OneClassSplit(GOOD, GOOD, 1 - labels),
        OneClassSplit(GOOD[:5], GOOD, labels),
    ]
    assert len({split.sha256() for split in splits}) == 5
    assert splits[0].sha256() == OneClassSplit(GOOD.copy(), GOOD, labels).sha256()
