"""Class names and counts of the official splits.

Source: the data sets' own pages and files (MNIST: LeCun et al.; Fashion-MNIST: Xiao et al., 2017; CIFAR-10: Krizhevsky,
2009; MVTec AD: Bergmann et al., 2019, table 1).
"""

from __future__ import annotations

import numpy as np

from streamad.errors import DatasetError
from streamad.evaluation.images.records import ClassLabels

CLASSES: dict[str, tuple[str, ...]] = {
    "mnist": tuple("0123456789"),
    "fashion-mnist": (
        "T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
    ),
    "cifar10": ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    "mvtec": (
        "bottle", "cable", "capsule", "carpet", "grid", "hazelnut", "leather", "metal_nut", "pill", "screw", "tile",
        "toothbrush", "transistor", "wood", "zipper",
    ),
}  # fmt: skip
"""Class names in the official order, by data set."""

COUNTS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "mnist": (
        (5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949),
        (980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009),
    ),
    "fashion-mnist": ((6000,) * 10, (1000,) * 10),
    "cifar10": ((5000,) * 10, (1000,) * 10),
}
"""Number of training and test images of each class, by data set."""

MVTEC_COUNTS: dict[str, tuple[int, int, int]] = {
    "bottle": (209, 20, 63), "cable": (224, 58, 92), "capsule": (219, 23, 109), "carpet": (280, 28, 89),
    "grid": (264, 21, 57), "hazelnut": (391, 40, 70), "leather": (245, 32, 92), "metal_nut": (220, 22, 93),
    "pill": (267, 26, 141), "screw": (320, 41, 119), "tile": (230, 33, 84), "toothbrush": (60, 12, 30),
    "transistor": (213, 60, 40), "wood": (247, 19, 60), "zipper": (240, 32, 119),
}  # fmt: skip
"""Number of training images, and of good and defective test images, of each category."""


def count_notes(name: str, training: ClassLabels, testing: ClassLabels, place: str) -> tuple[str, ...]:
    """Return a note if the counts are not the official ones.

    Args:
        name: Name of the data set.
        training: (n,) class labels of the training images.
        testing: (m,) class labels of the test images.
        place: Where they were read from, for error messages.

    Raises:
        DatasetError: The counts are those of another data set (MNIST and Fashion-MNIST share their file names).
    """
    found = tuple(tuple(np.bincount(labels, minlength=10).tolist()) for labels in (training, testing))
    if found == COUNTS[name]:
        return ()
    other = next((known for known, counts in COUNTS.items() if counts == found), None)
    if other is not None:
        raise DatasetError(
            f"{place} contains {other}, not {name}: its class counts are those of {other}",
            hint=f"evaluate {other}, or specify the folder of {name}",
        )
    official = COUNTS[name]
    return (
        f"not the official split: {sum(found[0])} training and {sum(found[1])} test images, "
        f"the official one has {sum(official[0])} and {sum(official[1])}"
        + ("" if (sum(found[0]), sum(found[1])) != (sum(official[0]), sum(official[1])) else " in other classes"),
    )
