"""A detector that knows how much each part of the picture usually changes from one frame to the next."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from streamad import Progress
from streamad.bundle import Manifest
from streamad.detectors import CameraScorer, Fit, FittedDetector
from streamad.errors import UsageError
from streamad.training.plan import Clip, TrainingPlan


class FrameDifference(FittedDetector):
    """Change between two frames, by place."""

    name = "frame_difference"  # as in pyproject.toml
    summary = "change from frame to frame, compared with what is usual at that place"
    window = 2
    reference = "numpy"

    def scorer(self, manifest: Manifest, camera: str, *, streaming: bool = False) -> CameraScorer:
        """See `Detector.scorer`. What is heavy is imported in methods: listing detectors must stay quick."""
        from framediff.scorer import FrameDifferenceScorer

        return FrameDifferenceScorer(manifest, camera)

    def network(self, manifest: Manifest) -> Any:
        """Only for detectors with a torch module."""
        raise UsageError(f"{self.name} has no torch form", hint="use another engine")

    def fit(self, plan: TrainingPlan, clips: Sequence[Clip], out: Path, *, progress: Progress | None = None) -> Fit:
        """See `FittedDetector.fit`."""
        from framediff.model import fit

        return fit(plan, clips, out, progress or (lambda stage, done, total: None), self.card)


DETECTOR = FrameDifference()
