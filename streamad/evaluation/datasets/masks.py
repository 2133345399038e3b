"""Pixel masks of a test clip, in the forms that data sets give them; read when asked for, a clip at a time."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import image_files, load_arrays

Mask = npt.NDArray[np.bool_]
MaskReader = Callable[[], Mask]
"""Reads the (frames, height, width) masks of a clip, True where abnormal."""


def bitmap_masks(folder: Path) -> Mask:
    """Masks of a folder of bitmaps, one a frame, in the order of their numbers, however they are named.

    UCSD's releases have `001.bmp`, `frame001.bmp` and `Test003_001.bmp`; any value over 0 is abnormal.

    Raises:
        DatasetError: a bitmap does not decode, or they differ in size.
    """
    masks = []
    for path in image_files(folder):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        if image is None:
            raise DatasetError(f"the mask {path} does not decode", hint="fetch the data set again")
        masks.append(image > 0)
    if len({mask.shape for mask in masks}) > 1:
        raise DatasetError(f"the masks in {folder} have different sizes")
    return np.stack(masks)


def array_masks(path: Path, name: str) -> Mask:
    """Masks from an .npz with one (frames, height, width) array a clip, or from the .npy of one clip.

    Raises:
        DatasetError: the file cannot be read, lacks the clip, or has another shape.
    """
    arrays = load_arrays(path, only=name)
    if name not in arrays:
        raise DatasetError(f"{path} has no masks of clip {name!r}; it has {', '.join(sorted(arrays)[:5])}")
    masks = arrays[name]
    if masks.ndim != 3 or masks.dtype.kind not in "buif":
        raise DatasetError(f"{path}: masks of a clip must be (frames, height, width) numbers, got {masks.shape}")
    return np.asarray(masks.astype(bool))


def matlab_masks(path: Path) -> Mask:
    """Avenue's `volLabel`: a (1, frames) cell array of (height, width) uint8.

    Raises:
        DatasetError: the file cannot be read, or holds something else; SciPy is not installed.
    """
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ModuleNotFoundError as error:
        raise DatasetError(
            f"{path} is a MATLAB file, which SciPy reads", hint="pip install 'streamad[evaluation]'"
        ) from error
    try:
        content = loadmat(str(path), variable_names=["volLabel"])
    except (MatReadError, OSError, ValueError, NotImplementedError, TypeError) as error:
        raise DatasetError(
            f"cannot read the masks {path}: {error}", hint="Avenue's files are MATLAB 5 files with the key volLabel"
        ) from error
    cells = content.get("volLabel")
    if cells is None or cells.dtype != object or not cells.size:
        raise DatasetError(f"{path} has no cell array volLabel")
    frames = [np.asarray(cell) > 0 for cell in cells.ravel()]
    if any(frame.ndim != 2 or frame.shape != frames[0].shape for frame in frames):
        raise DatasetError(f"{path}: the masks of volLabel must be pictures of one size")
    return np.stack(frames)
