"""Figures that papers report for the image benchmarks, to stand beside ours."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Published:
    """AUROC in % that a paper reports, one class normal.

    Attributes:
        mean: over all classes.
        source: paper and table.
        classes: by class in the official order; None where the paper gives the mean alone.
        note: what makes it other than a one-class result of a single model, where something does.
    """

    mean: float
    source: str
    classes: tuple[float, ...] | None = None
    note: str | None = None


_ADACL = "Augment to Detect Anomalies with Continuous Labelling, table 1"
_ALPS = "Anomaly Detection with Adversarially Learned Perturbations of Latent Space, table I"
_ALPS_NOTE = "the paper reports the best of three scores, chosen on labeled data, and validates on 150 real outliers"
_IGD = "Unsupervised Anomaly Detection and Localization with Multi-scale Interpolated Gaussian Descriptors"
_IGD_NOTE = "single model; the paper's encoder is distilled from a ResNet-18 trained on ImageNet"
_LEARNED_NOISE = "Learning to Generate Pseudo Anomalies, table 2"

PUBLISHED: dict[tuple[str, str], Published] = {
    ("adacl", "mnist"): Published(
        98.01, _ADACL, (99.37, 99.30, 98.58, 97.36, 97.57, 98.43, 99.56, 98.09, 93.46, 98.38)
    ),
    ("adacl", "fashion-mnist"): Published(
        93.22, _ADACL, (94.42, 99.46, 89.82, 91.05, 92.68, 90.40, 80.43, 97.88, 97.14, 98.88)
    ),
    ("adacl", "cifar10"): Published(
        76.80, _ADACL, (73.89, 83.87, 67.47, 70.66, 69.51, 77.91, 72.66, 83.04, 87.64, 81.35)
    ),
    ("alps", "mnist"): Published(
        97.65, _ALPS, (99.68, 99.92, 94.09, 96.19, 98.31, 97.25, 99.64, 97.25, 95.56, 98.65), _ALPS_NOTE
    ),
    ("alps", "fashion-mnist"): Published(
        92.94, _ALPS, (94.42, 98.46, 89.82, 90.65, 91.68, 90.40, 80.43, 97.88, 97.87, 97.88), _ALPS_NOTE
    ),
    ("igd", "mnist"): Published(99.12, f"{_IGD}, table 1", note=_IGD_NOTE),
    ("igd", "fashion-mnist"): Published(93.32, f"{_IGD}, table 1", note=_IGD_NOTE),
    ("igd", "cifar10"): Published(82.34, f"{_IGD}, table 1", note=_IGD_NOTE),
    ("igd", "mvtec"): Published(
        90.1,
        f"{_IGD}, table 3",
        # bottle, cable, capsule, carpet, grid, hazelnut, leather, metal_nut, pill, screw, tile, toothbrush, transistor,
        # wood, zipper: the paper's order is another.
        (99.8, 90.1, 88.4, 79.9, 82.3, 98.1, 91.5, 88.9, 81.5, 74.8, 97.1, 98.6, 90.9, 95.8, 94.6),
        _IGD_NOTE,
    ),
    ("learned_noise", "cifar10"): Published(
        62.47, _LEARNED_NOISE, note="the paper holds out a tenth of the training split, and takes the best epoch on it"
    ),
}
"""By detector and data set."""
