"""ALPS: adversarially learned perturbations of latent space.

An autoencoder learns to reconstruct normal images although a second network, the distorter, perturbs their latents as
harmfully as it can; what is not normal is reconstructed badly. README.md in this folder lists what is the paper's and
what is not.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from streamad.bundle import Manifest
from streamad.detectors.base import CameraScorer, TrainedDetector

if TYPE_CHECKING:
    from streamad.evaluation.image_table import Published


class Alps(TrainedDetector):
    """An autoencoder over moving patches, whose error grows under a learned perturbation of the latent."""

    name = "alps"
    summary = "adversarially learned perturbations of latent space: an autoencoder over moving 30×30 patches"
    paper = "Anomaly Detection with Adversarially Learned Perturbations of Latent Space"

    def scorer(self, manifest: Manifest, camera: str, *, streaming: bool = False) -> CameraScorer:
        """See `Detector.scorer`."""
        from streamad.detectors.patch_scorer import PatchScorer

        return PatchScorer(manifest)

    def published(self) -> Mapping[str, Published]:
        """See `Detector.published`."""
        from streamad.evaluation.image_table import Published

        source = f"{self.paper}, table I"
        note = "the paper reports the best of three scores, chosen on labeled data, and validates on 150 real outliers"
        return {
            "mnist": Published(
                97.65, source, (99.68, 99.92, 94.09, 96.19, 98.31, 97.25, 99.64, 97.25, 95.56, 98.65), note
            ),
            "fashion-mnist": Published(
                92.94, source, (94.42, 98.46, 89.82, 90.65, 91.68, 90.40, 80.43, 97.88, 97.87, 97.88), note
            ),
        }


DETECTOR = Alps()
