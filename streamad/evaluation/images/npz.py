"""NumPy archives: x_train, y_train, x_test, y_test, with classes in any order."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy.typing as npt

from streamad.array_files import read_arrays
from streamad.errors import DatasetError
from streamad.evaluation.images.checks import image_array, label_array
from streamad.evaluation.images.official import CLASSES, count_notes
from streamad.evaluation.images.records import ImageBenchmark, labeled_benchmark

ARRAYS = ("x_train", "y_train", "x_test", "y_test")


def load_npz(name: str, path: Path) -> ImageBenchmark:
    """Read a labeled image data set from one .npz file; pickled objects are rejected.

    Args:
        name: Name of the data set: mnist, fashion-mnist or cifar10.
        path: The file, with x_train and x_test as for `image_array`, y_train and y_test as for `label_array`.

    Raises:
        DatasetError: The file is missing, truncated, or pickled, lacks an array, or its arrays disagree.
    """
    found = _arrays(path)
    missing = [key for key in ARRAYS if key not in found]
    if missing:
        raise DatasetError(
            f"{path} has no {', '.join(missing)}; it contains {', '.join(found) or 'nothing'}",
            hint=f"expected the arrays {', '.join(ARRAYS)}",
        )
    classes = CLASSES[name]
    splits = []
    for split in ("train", "test"):
        images = image_array(found[f"x_{split}"], f"{path}: x_{split}")
        labels = label_array(found[f"y_{split}"], f"{path}: y_{split}", len(images), classes)
        splits.append((images, labels))
    notes = count_notes(name, splits[0][1], splits[1][1], str(path))
    return labeled_benchmark(name, classes, f"npz ({path.name})", splits[0], splits[1], notes)


def _arrays(path: Path) -> dict[str, npt.NDArray[Any]]:
    try:
        found = read_arrays(path)
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DatasetError(
            f"cannot read {path}: {error}",
            hint="the download or copy may have been interrupted: download it again (pickled arrays are never loaded)",
        ) from error
    if list(found) == [path.stem]:
        raise DatasetError(f"{path} contains only one array", hint=f"expected an .npz with {', '.join(ARRAYS)}")
    return found
