"""ADACL: augment to detect anomalies with continuous labeling.

A CNN regresses a label from a 30×30 patch: normal patches carry labels drawn from [0, 0.3], synthetic anomalies made
from them labels from [0.7, 1]. README.md in this folder lists what is the paper's and what is not.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.base import NO_OPTIONS, CameraScorer, TrainedDetector
from streamad.training.plan import OpenClip, TrainingPlan

if TYPE_CHECKING:
    from streamad.evaluation.image_table import Published
    from streamad.training.image_benchmark import ImageTask
    from streamad.training.recipe import Recipe


class Adacl(TrainedDetector):
    """A small CNN that regresses how anomalous a moving patch is."""

    name = "adacl"
    summary = "augment to detect anomalies with continuous labeling: a small CNN over moving 30×30 patches"
    paper = "Augment to Detect Anomalies with Continuous Labelling"

    def scorer(self, manifest: Manifest, camera: str, *, streaming: bool = False) -> CameraScorer:
        """See `Detector.scorer`."""
        from streamad.detectors.patch_scorer import PatchScorer

        return PatchScorer(manifest, camera)

    def network(self, manifest: Manifest) -> Any:
        """Return the untrained regressor."""
        from streamad.detectors.adacl.network import build

        return build(manifest)

    def options(self) -> type[Any]:
        """See `Detector.options`."""
        from streamad.detectors.adacl.training import AdaclOptions

        return AdaclOptions

    def recipe(
        self, plan: TrainingPlan, clips: Sequence[OpenClip], held: Sequence[OpenClip], tick: Callable[[], None]
    ) -> Recipe:
        """See `TrainedDetector.recipe`."""
        from streamad.detectors.adacl.training import AdaclRecipe

        return AdaclRecipe(plan, clips, held, tick)

    def image_task(
        self,
        images: npt.NDArray[np.uint8],
        validation: npt.NDArray[np.uint8],
        *,
        data_set: str,
        seed: int,
        device: str = "cpu",
        options: Mapping[str, Any] = NO_OPTIONS,
    ) -> ImageTask:
        """See `Detector.image_task`."""
        from streamad.detectors.adacl.training import image_task

        return image_task(images, validation, data_set=data_set, seed=seed, device=device, options=options)

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
