"""Checks of images and labels before any training: what is wrong with them, said in words."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.images.records import ClassLabels, Images, shape_text

LEAST_IMAGES = 2
"""Fewer images cannot be split into some to learn from and some to validate with."""


def image_array(array: Any, what: str) -> Images:
    """Images of a file as (n, c, h, w) uint8, with 1 or 3 channels.

    Takes (n, h, w), (n, h, w, c) and (n, c, h, w); whole numbers of 0 to 255, or floats of 0 to 1, which are scaled
    by 255 and rounded.

    Args:
        array: what was read.
        what: what it is, for the error: "mnist.npz: x_train".

    Raises:
        DatasetError: these are labels, images of several sizes, NaN or infinite values, or values out of range.
    """
    images = _one_array(array, what)
    if images.ndim == 3:
        images = images[:, None]
    elif images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise DatasetError(
            f"{what} has shape {np.shape(array)}; expected (n, h, w), (n, h, w, c) or (n, c, h, w) with 1 or 3 channels"
        )
    return np.ascontiguousarray(_as_bytes(images, what))


def label_array(array: Any, what: str, images: int, classes: tuple[str, ...]) -> ClassLabels:
    """Class labels of a file as (n,) whole numbers.

    Args:
        array: what was read: (n,) or (n, 1).
        what: what it is, for the error.
        images: how many images they belong to.
        classes: names of all classes; each must occur.

    Raises:
        DatasetError: these are images, other values than 0 to len(classes) − 1, not one for every image, or a class
            has none.
    """
    given = np.asarray(array)
    labels = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
    if labels.ndim != 1:
        looks = ": these look like images" if labels.ndim >= 3 else ""
        raise DatasetError(
            f"{what} has shape {given.shape}; expected (n,) labels{looks}", hint="were x and y mixed up?"
        )
    if len(labels) != images:
        raise DatasetError(
            f"{what}: {len(labels)} labels for {images} images", hint="one label for every image; fetch the files again"
        )
    if labels.dtype.kind not in "iuf" or not np.isin(labels, np.arange(len(classes))).all():
        odd = [v for v in np.unique(labels).tolist() if v not in range(len(classes))]
        raise DatasetError(f"{what}: labels must be whole numbers of 0 to {len(classes) - 1}, got {odd[:3]}")
    whole = labels.astype(np.intp)
    missing = [name for k, name in enumerate(classes) if not (whole == k).any()]
    if missing:
        raise DatasetError(
            f"{what}: no image of class {', '.join(missing)}",
            hint="all classes are needed: one is normal, the others are the anomalies; fetch the files again",
        )
    return whole


def check_training_images(images: Any, what: str) -> None:
    """Refuse what no network can learn from.

    Args:
        images: (n, c, h, w) uint8.
        what: what they are, for the error: "mnist, class 5".

    Raises:
        DatasetError: no image or a single one, labels in place of images, images of several sizes, another type or
            shape, NaN, infinite or out-of-range values, or images that are all the same.
    """
    array = _one_array(images, what)
    if array.ndim != 4:
        raise DatasetError(f"{what}: expected images (n, c, h, w), got an array of shape {array.shape}")
    if len(array) < LEAST_IMAGES:
        raise DatasetError(
            f"{what}: {len(array)} training image is not enough, {LEAST_IMAGES} are the least"
            if len(array)
            else f"{what}: there is no training image",
            hint="a detector needs many normal images (hundreds); look at the folder and at the labels",
        )
    if 0 in array.shape:
        raise DatasetError(f"{what}: the images have no pixels, their shape is {shape_text(array)}")
    if array.dtype != np.uint8:
        _as_bytes(array, what)
        raise DatasetError(
            f"{what}: the images are {array.dtype}, expected uint8 (0 to 255)",
            hint="convert them first; floats of 0 to 1 times 255, rounded",
        )
    if (array == array[:1]).all():
        flat = f": every pixel is {array.flat[0]}" if (array == array.flat[0]).all() else ""
        raise DatasetError(
            f"{what}: all {len(array)} training images are the same{flat}",
            hint="nothing can be learnt from one picture; was the copy or the conversion interrupted?",
        )


def _one_array(array: Any, what: str) -> npt.NDArray[Any]:
    """The array, if its images have one size, and it is no list of labels."""
    if isinstance(array, list | tuple) or (isinstance(array, np.ndarray) and array.dtype == object):
        shapes = {np.shape(image) for image in array}
        if len(shapes) > 1:
            several = ", ".join("×".join(map(str, shape)) for shape in sorted(shapes)[:4])
            raise DatasetError(
                f"{what}: the images have different sizes ({several})", hint="resize or crop them to one size first"
            )
        # Objects of one shape are stacked; an empty list becomes an empty array, which is refused by its count.
        array = np.stack([np.asarray(image) for image in array]) if len(array) else np.empty((0, 1, 1, 1), np.uint8)
    values = np.asarray(array)
    if values.dtype.kind not in "iufb":
        raise DatasetError(f"{what} is of type {values.dtype}; expected images of numbers 0 to 255")
    if values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1):
        whole = values.dtype.kind in "iub" or (values.size > 0 and bool(np.all(values == np.round(values))))
        looks = f", {values.min()} to {values.max()}: these look like labels" if values.size and whole else ""
        raise DatasetError(
            f"{what} has shape {values.shape}{looks}; expected images (n, h, w) or (n, c, h, w)",
            hint="give the images (x), not the labels (y)",
        )
    return values


def _as_bytes(images: npt.NDArray[Any], what: str) -> Images:
    """Values as uint8, if they have the range of pixels."""
    if images.dtype == np.uint8:
        return images
    if images.size == 0:
        return images.astype(np.uint8)
    if images.dtype.kind == "b":
        return images.astype(np.uint8) * np.uint8(255)
    if images.dtype.kind == "f":
        broken = int(np.count_nonzero(~np.isfinite(images)))
        if broken:
            raise DatasetError(
                f"{what}: {broken} of {images.size} values are NaN or infinite",
                hint="pixels must be numbers; look at how the file was made",
            )
    low, high = images.min(), images.max()
    most = 1 if images.dtype.kind == "f" else 255
    if low < 0 or high > most:
        expected = "floats of 0 to 1" if images.dtype.kind == "f" else "whole numbers of 0 to 255"
        raise DatasetError(
            f"{what}: {images.dtype} values from {low:g} to {high:g}; expected {expected}",
            hint="give uint8 of 0 to 255, or floats of 0 to 1; standardized images must be undone first",
        )
    if images.dtype.kind == "f":
        return np.asarray(np.rint(images * 255), np.uint8)
    return images.astype(np.uint8)
