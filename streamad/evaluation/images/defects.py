"""Metrics of defects in pictures: where the defect is, pixel by pixel, and how many pictures are judged right.

Source: the IGD paper (sections 4.1 and 4.4) for MVTec AD, with the field's pooled pixel AUROC beside it.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamad.evaluation.metrics import roc_auc

Maps = npt.NDArray[np.float32]

PIXELS = "pixel_auroc"
"""`pixel_auroc`, as most papers report it."""
PIXELS_PER_IMAGE = "pixel_auroc_per_image"
"""`pixel_auroc_per_image`, as the IGD paper reports it."""
ACCURACY = "mean_accuracy"
"""`mean_accuracy` at the highest score of held-out normal images."""


def full_size(maps: Maps, size: tuple[int, int]) -> Maps:
    """Enlarge anomaly maps to the size of their images, bilinearly.

    Args:
        maps: (n, rows, cols).
        size: (height, width) of the images, pixels.

    Returns:
        (n, height, width).
    """
    height, width = size
    return np.stack([cv2.resize(one, (width, height), interpolation=cv2.INTER_LINEAR) for one in maps])


def pixel_auroc(maps: Maps, masks: npt.NDArray[np.uint8]) -> float:
    """Area under one ROC curve over the pixels of all test images, 0..1, good images included.

    Args:
        maps: (n, height, width), higher is more anomalous.
        masks: (n, height, width), 1 for anomalous pixels.

    Raises:
        ValueError: A score is NaN, or all pixels are of one class.
    """
    return roc_auc(maps.ravel(), masks.ravel())


def pixel_auroc_per_image(maps: Maps, masks: npt.NDArray[np.uint8]) -> float:
    """Mean over the anomalous images of the AUROC within each, 0..1.

    Source: paper, section 4.1: "mean pixel-level AUC between generated heatmap and the ground truth segmentation map
    for each anomalous image". Pixels of different images are never compared, so it does not show whether one threshold
    suits all of them. Images whose mask has one class are left out.

    Args:
        maps: (n, height, width), higher is more anomalous.
        masks: (n, height, width), 1 for anomalous pixels.

    Raises:
        ValueError: A score is NaN, or no image has pixels of both classes.
    """
    both = [k for k, mask in enumerate(masks) if 0 < np.count_nonzero(mask) < mask.size]
    if not both:
        raise ValueError("no image has normal and anomalous pixels")
    return float(np.mean([roc_auc(maps[k].ravel(), masks[k].ravel()) for k in both]))


def mean_accuracy(scores: npt.ArrayLike, labels: npt.ArrayLike, threshold: float) -> float:
    """Mean of the shares of normal and of anomalous images that are judged right, 0..1.

    The IGD paper reports "mean accuracy" (table 2) and states neither what is averaged nor the threshold. Both are our
    reading; the threshold is to be chosen without a test image.

    Args:
        scores: (n,) scores of the test images, higher is more anomalous.
        labels: (n,) 0 = normal, 1 = anomaly, both present.
        threshold: An image is judged anomalous if its score is higher.
    """
    judged, truth = np.asarray(scores) > threshold, np.asarray(labels) > 0
    return float((judged[truth].mean() + (~judged[~truth]).mean()) / 2)


def defect_metrics(
    scores: npt.NDArray[np.float64],
    labels: npt.NDArray[np.uint8],
    held_out: npt.NDArray[np.float64],
    maps: Maps | None,
    masks: npt.NDArray[np.uint8],
) -> dict[str, float]:
    """Return all metrics of this module by name, each 0..1.

    Args:
        scores: (n,) headline scores of the test images.
        labels: (n,) 0 = normal, 1 = anomaly.
        held_out: Scores of the normal images held out of the training; the highest is the threshold.
        maps: (n, rows, cols) anomaly maps of any resolution; None: no metrics of pixels.
        masks: (n, height, width), 1 for anomalous pixels.
    """
    found = {ACCURACY: mean_accuracy(scores, labels, float(held_out.max()))}
    if maps is not None:
        pixels = full_size(maps, (masks.shape[1], masks.shape[2]))
        found |= {PIXELS: pixel_auroc(pixels, masks), PIXELS_PER_IMAGE: pixel_auroc_per_image(pixels, masks)}
    return found
