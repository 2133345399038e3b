"""Small image data sets in their official formats, as their publishers write them."""

from __future__ import annotations

import gzip
import struct
from pathlib import Path
from typing import Any

import cv2
import numpy as np

Arrays = dict[str, np.ndarray[Any, Any]]

IDX_NAMES = {
    "x_train": "train-images-idx3-ubyte",
    "y_train": "train-labels-idx1-ubyte",
    "x_test": "t10k-images-idx3-ubyte",
    "y_test": "t10k-labels-idx1-ubyte",
}


def digits(training: int = 25, test: int = 3, *, side: int = 28, seed: int = 0) -> Arrays:
    """Create ten classes of gray images, each with a bright bar at its own position, sorted by class."""
    rng = np.random.default_rng(seed)
    arrays: Arrays = {}
    for split, each in (("train", training), ("test", test)):
        labels = np.repeat(np.arange(10, dtype=np.uint8), each)
        images = rng.integers(0, 60, (len(labels), side, side), dtype=np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 + 2 * label : 5 + 2 * label, 4 : 8 + 2 * label] = 220
        arrays[f"x_{split}"], arrays[f"y_{split}"] = images, labels
    return arrays


def shuffled(arrays: Arrays, seed: int = 1) -> Arrays:
    """Return the same images with classes mixed; each class keeps its own order."""
    rng = np.random.default_rng(seed)
    mixed: Arrays = {}
    for split in ("train", "test"):
        labels = arrays[f"y_{split}"]
        order = rng.permutation(labels)  # the order of the classes
        rows = np.empty(len(labels), np.intp)
        for k in range(10):
            rows[order == k] = np.flatnonzero(labels == k)
        mixed[f"x_{split}"], mixed[f"y_{split}"] = arrays[f"x_{split}"][rows], labels[rows]
    return mixed


def idx_bytes(array: np.ndarray[Any, Any]) -> bytes:
    """Encode an array as an IDX file of unsigned bytes."""
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def write_idx(folder: Path, arrays: Arrays, *, zipped: bool = False, dotted: bool = False) -> Path:
    """Write the four IDX files."""
    folder.mkdir(parents=True, exist_ok=True)
    for key, name in IDX_NAMES.items():
        path = folder / ((name.replace("-idx", ".idx") if dotted else name) + (".gz" if zipped else ""))
        content = idx_bytes(arrays[key])
        path.write_bytes(gzip.compress(content, 1) if zipped else content)
    return folder


def write_mvtec(folder: Path, category: str = "bottle", *, sides: tuple[int, int] = (40, 40), train: int = 6) -> Path:
    """Write a category of MVTec AD with 2 good, 3 broken and 1 dirty test image; return its folder."""
    rng = np.random.default_rng(len(category))
    place = folder / category
    for kind, count in (("train/good", train), ("test/good", 2), ("test/broken", 3), ("test/dirty", 1)):
        (place / kind).mkdir(parents=True)
        for number in range(count):
            picture = rng.integers(0, 256, (*sides, 3), dtype=np.uint8)
            assert cv2.imwrite(str(place / kind / f"{number:03d}.png"), picture)
    for defect, count in (("broken", 3), ("dirty", 1)):
        (place / "ground_truth" / defect).mkdir(parents=True)
        for number in range(count):
            mask = np.zeros(sides, np.uint8)
            mask[: sides[0] // 2, : sides[1] // 4] = 255
            assert cv2.imwrite(str(place / "ground_truth" / defect / f"{number:03d}_mask.png"), mask)
    return place
