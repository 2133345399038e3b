"""Motion: the density of what moves, compared with what was normal at that place."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from streamad.bundle import Bundle, Manifest
from streamad.calibration.false_alarms import FalseAlarm
from streamad.detectors.base import CameraScorer, Fit, FittedDetector
from streamad.detectors.motion.flow import LONGEST_SECONDS
from streamad.detectors.motion.layout import CELL, LENGTH
from streamad.detectors.options import parse_options
from streamad.errors import UsageError
from streamad.protocols import Progress
from streamad.training.plan import Clip, TrainingPlan


@dataclass(frozen=True)
class MotionOptions:
    """Options of the motion detector.

    Attributes:
        max_height: Taller frames are shrunk to this height in pixels. Default: 240.
    """

    max_height: int | None = None


class Motion(FittedDetector):
    """Movement in every part of the picture, fitted in closed form."""

    name = "motion"
    summary = "movement in every part of the picture, against what was normal there; fitted in seconds, no torch"
    min_fps = 1 / LONGEST_SECONDS
    one_rate = False
    reference = "numpy"
    has_reference_program = False  # its network takes descriptors, not pixels

    def scorer(self, manifest: Manifest, camera: str, *, streaming: bool = False) -> CameraScorer:
        """See `Detector.scorer`."""
        from streamad.detectors.motion.scorer import MotionScorer

        return MotionScorer(manifest, camera)

    def network(self, manifest: Manifest) -> Any:
        """Return the model as a torch module, for the torch engine and as a reference."""
        from streamad.detectors.motion.network import build

        return build(manifest)

    def options(self) -> type[Any]:
        """See `Detector.options`."""
        return MotionOptions

    def fit(self, plan: TrainingPlan, clips: Sequence[Clip], out: Path, *, progress: Progress | None = None) -> Fit:
        """See `FittedDetector.fit`."""
        from streamad.detectors.motion.training import fit_motion_bundle

        options = parse_options(MotionOptions, plan.options, self.name)
        plan = replace(plan, max_height=options.max_height or plan.max_height)
        return fit_motion_bundle(plan, clips, out, progress=progress)

    def learns_on(self, bundle: Bundle) -> bool:
        """See `FittedDetector.learns_on`: the bundle has what it was learned from."""
        from streamad.detectors.motion.sampler import NORMAL

        return NORMAL in bundle.manifest.files and bundle.manifest.input.channels == LENGTH

    def learn_on(self, bundle: Bundle, folder: Path, out: Path, *, false_alarms: Sequence[FalseAlarm] = ()) -> Fit:
        """See `FittedDetector.learn_on`."""
        from streamad.detectors.motion.training import learn_on_motion

        return learn_on_motion(bundle, folder, out, false_alarms)

    def require_rate(self, fps: float) -> None:
        """See `Detector.require_rate`."""
        if fps < self.min_fps:
            raise UsageError(
                f"the video has {fps:.2g} frames a second; the motion detector needs at least {self.min_fps:.2g}, "
                "since objects move too far between frames to be tracked",
                hint="raise the camera's frame rate; for a folder of images, --fps states the rate it was taken at",
            )

    def smallest_object(self, manifest: Manifest) -> int | None:
        """See `Detector.smallest_object`."""
        return CELL

    def limitations(self, manifest: Manifest) -> list[str]:
        """See `Detector.limitations`."""
        from streamad.detectors.motion.training import limitations

        return limitations(manifest)

    def card_rows(self, manifest: Manifest) -> list[str]:
        """See `Detector.card_rows`."""
        from streamad.detectors.motion.training import card_rows

        return card_rows(manifest)


DETECTOR = Motion()
