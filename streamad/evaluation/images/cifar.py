"""CIFAR-10, binary version: data_batch_1.bin to data_batch_5.bin and test_batch.bin."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from streamad.errors import DatasetError
from streamad.evaluation.images.checks import label_array
from streamad.evaluation.images.official import CLASSES, count_notes
from streamad.evaluation.images.records import ClassLabels, ImageBenchmark, Images, labeled_benchmark
from streamad.files import read_bytes

TRAINING = tuple(f"data_batch_{k}.bin" for k in range(1, 6))
TEST = "test_batch.bin"
RECORD = 1 + 3 * 32 * 32
"""Bytes per image: its label, then 32×32 bytes each of red, green, and blue."""
RECORDS = 10_000
"""Images per batch file."""


def holds_pickles(folder: Path) -> bool:
    """Whether the folder contains CIFAR-10's Python version, whose batches are pickles without a suffix."""
    return any((folder / name.removesuffix(".bin")).is_file() for name in (*TRAINING, TEST))


def load_cifar10(folder: Path, *, records: int = RECORDS) -> ImageBenchmark:
    """Read CIFAR-10 from its six official binary files.

    Args:
        folder: Folder of the files.
        records: Images per file.

    Raises:
        DatasetError: A file is missing, truncated, or has unknown labels, or the folder contains the pickled Python
            version.
    """
    missing = [name for name in (*TRAINING, TEST) if not (folder / name).is_file()]
    if missing:
        if holds_pickles(folder):
            raise DatasetError(
                f"{folder} contains CIFAR-10's Python version, whose files are pickles",
                hint="pickles are never loaded: use the binary version (cifar-10-binary.tar.gz)",
            )
        raise DatasetError(f"{folder} has no {', '.join(missing)}", hint="all six batch files are required")
    classes = CLASSES["cifar10"]
    parts = [read_batch(folder / name, records=records) for name in TRAINING]
    images, labels = np.concatenate([part[0] for part in parts]), np.concatenate([part[1] for part in parts])
    training = (images, label_array(labels, f"{folder}: training batches", len(images), classes))
    images, labels = read_batch(folder / TEST, records=records)
    testing = (images, label_array(labels, str(folder / TEST), len(images), classes))
    notes = count_notes("cifar10", training[1], testing[1], str(folder))
    return labeled_benchmark("cifar10", classes, "official binary version", training, testing, notes)


def read_batch(path: Path, *, records: int = RECORDS) -> tuple[Images, ClassLabels]:
    """Read (n, 3, 32, 32) uint8 images and (n,) labels of one batch file.

    Raises:
        DatasetError: The file cannot be read, or does not have the size of `records` images.
    """
    try:
        content = read_bytes(path)
    except ValueError as error:
        raise DatasetError(f"{path} is not a batch of CIFAR-10: {error}") from error
    except OSError as error:
        raise DatasetError(f"cannot read {path}: {error.strerror or error}") from error
    if len(content) != records * RECORD:
        word = "is truncated" if len(content) < records * RECORD else "is too long"
        raise DatasetError(
            f"{path} {word}: {len(content)} bytes, expected {records * RECORD} ({records} images of {RECORD} bytes)",
            hint="the download or copy may have been interrupted, or this is another format: download it again",
        )
    table = np.frombuffer(content, np.uint8).reshape(records, RECORD)
    return table[:, 1:].reshape(records, 3, 32, 32), table[:, 0].astype(np.intp)
