"""Check images and labels before training, with messages that say what is wrong."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.images.records import ClassLabels, Images, shape_text

LEAST_IMAGES = 2
"""Fewer images cannot be split into a training and a validation set."""


def image_array(array: Any, what: str) -> Images:
    """Convert the images of a file to (n, c, h, w) uint8 with 1 or 3 channels.

    Accepts (n, h, w), (n, h, w, c) and (n, c, h, w); integers from 0 to 255, or floats from 0 to 1, which are scaled by
    255 and rounded.

    Args:
        array: The array read.
        what: Its name, for error messages: "mnist.npz: x_train".

    Raises:
        DatasetError: The array contains labels, images of several sizes, NaN or infinite values, or values out of
            range.
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
    """Convert the class labels of a file to (n,) integers.

    Args:
        array: The array read: (n,) or (n, 1).
        what: Its name, for error messages.
        images: Number of images that the labels belong to.
        classes: Names of all classes; each must occur.

    Raises:
        DatasetError: The array contains images, values other than 0 to len(classes) − 1, or not one label per image, or
            a class has no images.
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
            f"{what}: {len(labels)} labels for {images} images",
            hint="each image needs one label; download the files again",
        )
    if labels.dtype.kind not in "iuf" or not np.isin(labels, np.arange(len(classes))).all():
        odd = [v for v in np.unique(labels).tolist() if v not in range(len(classes))]
        raise DatasetError(f"{what}: labels must be integers from 0 to {len(classes) - 1}, got {odd[:3]}")
    whole = labels.astype(np.intp)
    missing = [name for k, name in enumerate(classes) if not (whole == k).any()]
    if missing:
        raise DatasetError(
            f"{what}: no images of class {', '.join(missing)}",
            hint="all classes are required: one is normal, the others are anomalies; download the files again",
        )
    return whole


def check_training_images(images: Any, what: str) -> None:
    """Reject images that no network can learn from.

    Args:
        images: (n, c, h, w) uint8.
        what: Their name, for error messages: "mnist, class 5".

    Raises:
        DatasetError: There are fewer than two images, they are labels, have several sizes, another type or shape, NaN,
            infinite, or out-of-range values, or are all equal.
    """
    array = _one_array(images, what)
    if array.ndim != 4:
        raise DatasetError(f"{what}: expected images (n, c, h, w), got an array of shape {array.shape}")
    if len(array) < LEAST_IMAGES:
        raise DatasetError(
            f"{what}: {len(array)} training image is not enough, at least {LEAST_IMAGES} are required"
            if len(array)
            else f"{what}: there are no training images",
            hint="a detector needs many normal images (hundreds); check the folder and the labels",
        )
    if 0 in array.shape:
        raise DatasetError(f"{what}: the images have no pixels, their shape is {shape_text(array)}")
    if array.dtype != np.uint8:
        _as_bytes(array, what)
        raise DatasetError(
            f"{what}: the images are {array.dtype}, expected uint8 (0 to 255)",
            hint="convert them first: multiply floats from 0 to 1 by 255 and round",
        )
    if (array == array[:1]).all():
        flat = f": every pixel is {array.flat[0]}" if (array == array.flat[0]).all() else ""
        raise DatasetError(
            f"{what}: all {len(array)} training images are the same{flat}",
            hint="nothing can be learned from a single image; was the copy or the conversion interrupted?",
        )


def _one_array(array: Any, what: str) -> npt.NDArray[Any]:
    """Return the array if its images have one size and it is not a list of labels."""
    if isinstance(array, list | tuple) or (isinstance(array, np.ndarray) and array.dtype == object):
        shapes = {np.shape(image) for image in array}
        if len(shapes) > 1:
            several = ", ".join("×".join(map(str, shape)) for shape in sorted(shapes)[:4])
            raise DatasetError(
                f"{what}: the images have different sizes ({several})", hint="resize or crop them to one size first"
            )
        # Objects of one shape are stacked; an empty list becomes an empty array, which is rejected by its length.
        array = np.stack([np.asarray(image) for image in array]) if len(array) else np.empty((0, 1, 1, 1), np.uint8)
    values = np.asarray(array)
    if values.dtype.kind not in "iufb":
        raise DatasetError(f"{what} has type {values.dtype}; expected images with values from 0 to 255")
    if values.ndim == 1 or (values.ndim == 2 and values.shape[1] == 1):
        whole = values.dtype.kind in "iub" or (values.size > 0 and bool(np.all(values == np.round(values))))
        looks = f", {values.min()} to {values.max()}: these look like labels" if values.size and whole else ""
        raise DatasetError(
            f"{what} has shape {values.shape}{looks}; expected images (n, h, w) or (n, c, h, w)",
            hint="provide the images (x), not the labels (y)",
        )
    return values


def _as_bytes(images: npt.NDArray[Any], what: str) -> Images:
    """Convert values to uint8 if they are in the range of pixels."""
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
                hint="pixels must be finite; check how the file was created",
            )
    low, high = images.min(), images.max()
    most = 1 if images.dtype.kind == "f" else 255
    if low < 0 or high > most:
        expected = "floats from 0 to 1" if images.dtype.kind == "f" else "integers from 0 to 255"
        raise DatasetError(
            f"{what}: {images.dtype} values from {low:g} to {high:g}; expected {expected}",
            hint="provide uint8 from 0 to 255, or floats from 0 to 1; undo any standardization first",
        )
    if images.dtype.kind == "f":
        return np.asarray(np.rint(images * 255), np.uint8)
    return images.astype(np.uint8)
