"""ADACL: augment to detect anomalies with continuous labeling.

A CNN regresses a label from a 30×30 patch: normal patches carry labels drawn from [0, 0.3], synthetic anomalies made
from them labels from [0.7, 1]. README.md in this folder lists what is the paper's and what is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from streamad.bundle import Manifest
from streamad.detectors.base import CameraScorer, TrainedDetector

if TYPE_CHECKING:
    from streamad.evaluation.image_table import Published


class Adacl(TrainedDetector):
    """A small CNN that regresses how anomalous a moving patch is."""

    name = "adacl"
    summary = "augment to detect anomalies with continuous labeling: a small CNN over moving 30×30 patches"
    paper = "Augment to Detect Anomalies with Continuous Labelling"

    def scorer(self, manifest: Manifest, camera: str, *, streaming: bool = False) -> CameraScorer:
        """See `Detector.scorer`."""
        from streamad.detectors.patch_scorer import PatchScorer

        return PatchScorer(manifest)

    def published(self) -> Mapping[str, Published]:
        """See `Detector.published`."""
        from streamad.evaluation.image_table import Published

        source = f"{self.paper}, table 1"
        return {
            "mnist": Published(98.01, source, (99.37, 99.30, 98.58, 97.36, 97.57, 98.43, 99.56, 98.09, 93.46, 98.38)),
            "fashion-mnist": Published(
                93.22, source, (94.42, 99.46, 89.82, 91.05, 92.68, 90.40, 80.43, 97.88, 97.14, 98.88)
            ),
            "cifar10": Published(76.80, source, (73.89, 83.87, 67.47, 70.66, 69.51, 77.91, 72.66, 83.04, 87.64, 81.35)),
        }


DETECTOR = Adacl()
