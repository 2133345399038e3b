"""Image data sets for the one-class protocol: one module per format, all read into `ImageBenchmark`."""

from __future__ import annotations

from pathlib import Path

from streamad.errors import DatasetError, UsageError
from streamad.evaluation.images.checks import check_training_images
from streamad.evaluation.images.cifar import TRAINING as CIFAR_FILES
from streamad.evaluation.images.cifar import holds_pickles, load_cifar10
from streamad.evaluation.images.idx import FILES as IDX_FILES
from streamad.evaluation.images.idx import find_idx, load_idx
from streamad.evaluation.images.mvtec import categories_in, load_mvtec
from streamad.evaluation.images.npz import load_npz
from streamad.evaluation.images.official import CLASSES
from streamad.evaluation.images.records import ImageBenchmark, OneClassSplit, labeled_benchmark

IMAGE_BENCHMARKS = tuple(CLASSES)
"""Names of all image data sets."""

_NPZ = {
    "mnist": ("mnist.npz",),
    "fashion-mnist": ("fashion-mnist.npz", "fashion_mnist.npz"),
    "cifar10": ("cifar10.npz", "cifar-10.npz"),
    "mvtec": (),
}
_FOLDERS = {
    "mnist": ("mnist", "MNIST/raw", "."),
    "fashion-mnist": ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", "."),
    "cifar10": ("cifar10", "cifar-10-batches-bin", "cifar-10-batches-py", "."),
    "mvtec": ("mvtec", "mvtec_anomaly_detection", "mvtec_256", "."),
}
"""Subfolders to search in the given folder, the data set's own ones first."""

__all__ = [
    "IMAGE_BENCHMARKS",
    "ImageBenchmark",
    "OneClassSplit",
    "check_training_images",
    "labeled_benchmark",
    "load_images",
]


def load_images(name: str, folder: Path) -> ImageBenchmark:
    """Read an image data set in whichever layout the folder has.

    Args:
        name: mnist, fashion-mnist, cifar10 or mvtec.
        folder: The data set's folder, or one that contains several data sets.

    Raises:
        UsageError: The name is unknown.
        DatasetError: The folder does not contain the data set (the message lists what was looked for), or it is
            damaged.
    """
    if name not in IMAGE_BENCHMARKS:
        raise UsageError(f"unknown image data set {name!r}; known: {', '.join(IMAGE_BENCHMARKS)}")
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise DatasetError(f"the folder {folder} {what}", hint=f"specify the folder of {name} with --data")
    for file in _NPZ[name]:
        if (folder / file).is_file():
            return load_npz(name, folder / file)
    for place in _FOLDERS[name]:
        found = _load(name, folder / place)
        if found is not None:
            return found
    places = ", ".join(f"{place}/" for place in _FOLDERS[name] if place != "." and not place.endswith("-py"))
    wanted = {
        "mvtec": "category folders such as bottle/train/good",
        "cifar10": f"{CIFAR_FILES[0]} to {CIFAR_FILES[-1]} and test_batch.bin",
    }.get(name, ", ".join(f"{file}[.gz]" for file in IDX_FILES.values()))
    looked = "".join(f"{file}, " for file in _NPZ[name])
    archives = sorted(
        path.name for path in folder.iterdir() if path.name.endswith((".tar", ".tar.gz", ".tgz", ".tar.xz", ".zip"))
    )
    raise DatasetError(
        f"{folder} does not contain {name}: looked for {looked}{wanted} in it and in {places}",
        hint=f"unpack {', '.join(archives[:3])}" if archives else "specify its folder with --data",
    )


def _load(name: str, place: Path) -> ImageBenchmark | None:
    """The data set in exactly this folder; None if it has no part of it. An incomplete data set is an error."""
    if name == "mvtec":
        return load_mvtec(place) if categories_in(place) else None
    if name == "cifar10":
        files = (*CIFAR_FILES, "test_batch.bin")
        there = holds_pickles(place) or any((place / file).is_file() for file in files)
        return load_cifar10(place) if there else None
    return load_idx(name, place) if find_idx(place) else None
