"""Fit: from clips of one camera's normal video to a model with its calibration, for any detector."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from streamad.bundle import Bundle
from streamad.calibration import AlertPolicySpec, Calibration, calibrate_bundle
from streamad.detectors import Fit, FittedDetector, TrainedDetector, find_detector, require_trainable
from streamad.errors import UsageError
from streamad.formatting import counted
from streamad.inference.model import open_model
from streamad.protocols import Progress, no_progress
from streamad.sources import SourceSpec
from streamad.training.plan import Clip, TrainingPlan, clip_opener, split_clips
from streamad.workflows.calibrate import calibrate_model
from streamad.zones import ZoneSpec

if TYPE_CHECKING:  # these need torch
    from streamad.training.budget import Shortening
    from streamad.training.loop import EpochReport


@dataclass(frozen=True)
class FittedModel:
    """A model and its calibration.

    Attributes:
        bundle: The exported model; the calibration is not yet part of it.
        calibration: Its calibration.
        shortened: What the training was cut to; None if it was not.
    """

    bundle: Bundle
    calibration: Calibration
    shortened: Shortening | None = None


def fit_model(
    plan: TrainingPlan,
    clips: Sequence[Clip],
    out: Path,
    *,
    alerts_per_day: float = 1.0,
    rules: AlertPolicySpec | None = None,
    note: str = "",
    max_seconds: float | None = None,
    progress: Progress | None = None,
    on_epoch: Callable[[EpochReport], None] | None = None,
) -> FittedModel:
    """Fit or train a detector on normal video, export it, and set its threshold.

    A detector that is fitted in closed form is fitted to all of the video, and each part is scored for the threshold by
    a model of the other parts. One that is trained has the last clips held out for the threshold.

    Args:
        plan: What to fit.
        clips: Normal video of one camera in order of time.
        out: Folder of the bundle.
        alerts_per_day: Budget of false alerts.
        rules: Duration, cooldown and hysteresis of the alerts.
        note: Appended to the description of the video in the calibration's record.
        max_seconds: Approximate limit for the training of a network. None: no limit.
        progress: Called with each stage's name, the steps done, and their total.
        on_epoch: Called after each epoch of a training.

    Raises:
        EngineError: Training needs a module that is not installed.
        UsageError: There is too little video, an option is wrong, or there is no such detector.
        OutputError: `out` cannot be written to.
        CalibrationError: Nothing can be learned from the scores.
    """
    detector = find_detector(plan.detector)
    if isinstance(detector, FittedDetector):
        fit = detector.fit(plan, clips, out, progress=progress)
        source = f"{plan.data}: {counted(len(clips), 'clip')}, each part scored by a model of the others{note}"
        return FittedModel(
            fit.bundle, calibrate_fit(fit, source=source, alerts_per_day=alerts_per_day, rules=rules, zones=plan.zones)
        )
    assert isinstance(detector, TrainedDetector)
    require_trainable(detector)
    sources = [clip for clip in clips if not callable(clip)]
    if len(sources) < len(clips):
        raise UsageError(f"{detector.name} is trained on files, which are read again for the threshold")
    cuts: list[Shortening] = []
    bundle = detector.train(
        plan,
        [clip_opener(clip, "training") for clip in sources],
        out,
        progress=progress,
        on_epoch=on_epoch,
        max_seconds=max_seconds,
        shortened=cuts.append,
    )
    held: list[SourceSpec] = [sources[k] for k in split_clips(len(sources), plan.validation_share)[1]]
    report = progress or no_progress
    with open_model(bundle, hint="throughput") as model:
        calibration = calibrate_model(
            model,
            held,
            source=f"{plan.data}: {counted(len(held), 'clip')} held out of training{note}",
            alerts_per_day=alerts_per_day,
            rules=rules,
            zones=plan.zones,
            progress=lambda _, done, total: report("calibrating", done, total),
        )
    return FittedModel(bundle, calibration, cuts[0] if cuts else None)


def calibrate_fit(
    fit: Fit,
    *,
    source: str,
    alerts_per_day: float = 1.0,
    rules: AlertPolicySpec | None = None,
    zones: Sequence[ZoneSpec] = (),
) -> Calibration:
    """Set the threshold on the video that a model was fitted to, each part scored by a model of the others.

    So no video need be held out: the final model has all of it, and so has the threshold. A model of the other parts
    knows a little less than the final one, which errs towards fewer alerts.

    Args:
        fit: The fitted model.
        source: Description of the video, for the record.
        alerts_per_day: Budget of false alerts.
        rules: Duration, cooldown and hysteresis of the alerts.
        zones: The zones that the model was fitted with.

    Raises:
        CalibrationError: Nothing can be learned from the scores.
    """
    return calibrate_bundle(
        fit.bundle,
        fit.scores,
        fps=fit.fps,
        source=source,
        alerts_per_day=alerts_per_day,
        rules=rules,
        ceilings=fit.ceilings,
        zones=zones,
    )
