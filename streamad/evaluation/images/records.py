"""ImageBenchmark and OneClassSplit: the form that every image data set is read into."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError, UsageError

Images = npt.NDArray[np.uint8]
ClassLabels = npt.NDArray[np.intp]


@dataclass(frozen=True, eq=False)
class OneClassSplit:
    """A split with one normal class: its training images for training, and all test images for scoring.

    Attributes:
        train: (n, c, h, w) uint8, training images of the normal class.
        test: (m, c, h, w) uint8, all test images.
        labels: (m,) uint8, 0 = normal, 1 = anomaly.
        masks: (m, h, w) uint8, 1 for anomalous pixels; None if the data set has no masks.
        names: (m,) name of each test image, such as "broken_large/003"; None if the data set has none.
    """

    train: Images
    test: Images
    labels: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8] | None = None
    names: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        if self.labels.shape != (len(self.test),):
            raise DatasetError(f"{len(self.test)} test images, but labels of shape {self.labels.shape}")
        if self.train.shape[1:] != self.test.shape[1:]:
            raise DatasetError(
                f"training images are {shape_text(self.train)}, test images {shape_text(self.test)}",
                hint="both must come from one data set, read from its official files",
            )
        if self.masks is not None and self.masks.shape != (len(self.test), *self.test.shape[2:]):
            raise DatasetError(f"masks of shape {self.masks.shape} for test images of shape {self.test.shape}")

    def sha256(self) -> str:
        """Hexadecimal SHA-256 of images, labels and masks, for the record."""
        digest = hashlib.sha256()
        for array in (self.train, self.test, self.labels, *(() if self.masks is None else (self.masks,))):
            digest.update(str(array.shape).encode())
            digest.update(np.ascontiguousarray(array).data)
        return digest.hexdigest()


@dataclass(frozen=True)
class ImageBenchmark:
    """An image data set for the one-class protocol: each class in turn is the normal one.

    Attributes:
        name: Its name in results: mnist, fashion-mnist, cifar10 or mvtec.
        classes: Class names in the official order.
        layout: Which files it was read from, without a path.
        notes: What readers of results must know, such as counts that are not the official ones.
        present: Positions of the classes that can be read, the usual choice. None: all.
        read: Reads the split in which a class is normal.
    """

    name: str
    classes: tuple[str, ...]
    layout: str
    read: Callable[[int], OneClassSplit] = field(repr=False, compare=False)
    notes: tuple[str, ...] = ()
    present: tuple[int, ...] | None = None

    def split(self, k: int) -> OneClassSplit:
        """The split in which class `k` (its position in `classes`) is normal.

        Raises:
            UsageError: The class does not exist.
            DatasetError: Its images cannot be read.
        """
        if not 0 <= k < len(self.classes):
            raise UsageError(f"{self.name} has no class {k}", hint=f"its classes are 0 to {len(self.classes) - 1}")
        return self.read(k)


def labeled_benchmark(
    name: str,
    classes: tuple[str, ...],
    layout: str,
    training: tuple[Images, ClassLabels],
    testing: tuple[Images, ClassLabels],
    notes: tuple[str, ...] = (),
) -> ImageBenchmark:
    """Create a benchmark from images with class labels, in any order.

    Within a class, the order of the file is kept, so a file sorted by class and an unsorted one give the same splits of
    training images.

    Args:
        name: Name of the data set.
        classes: Class names; label k is class k.
        layout: What was read, for the record.
        training: (n, c, h, w) images and (n,) labels.
        testing: The same for the test split.
        notes: See `ImageBenchmark`.
    """

    def read(k: int) -> OneClassSplit:
        return OneClassSplit(training[0][training[1] == k], testing[0], (testing[1] != k).astype(np.uint8))

    return ImageBenchmark(name, classes, layout, read, notes)


def shape_text(images: npt.NDArray[np.generic]) -> str:
    """Channels, height, and width of (n, c, h, w) images, for messages."""
    return "×".join(map(str, images.shape[1:]))
