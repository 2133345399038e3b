"""What to learn, and whether that is possible here with these recordings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from streamad.detectors import DEFAULT, TrainedDetector, find_detector, require_trainable
from streamad.detectors.options import parse_options
from streamad.errors import UsageError
from streamad.formatting import counted, span
from streamad.training.plan import TrainingPlan
from streamad.workflows.learn.capture import Capture
from streamad.workflows.learn.recording_store import RecordingStore
from streamad.zones import ZoneSpec

MIN_SECONDS = 30.0
MIN_MOVING_SECONDS = 15.0
"""Recordings with less good video, or less in which something moves, are refused."""


@dataclass(frozen=True)
class LearnPlan:
    """What to learn.

    Attributes:
        name: Name of the bundle.
        detector: Name of the detector.
        alerts_per_day: Budget of false alerts.
        data: Name of the video, for the record.
        license: Terms of the video, for the record.
        options: The detector's own options.
        seed: Seed of all random choices.
        train_seconds: Approximate limit for the training of a network. None: no limit.
        zones: The parts of the picture to learn. Empty: all of it.
    """

    name: str
    detector: str = DEFAULT
    alerts_per_day: float = 1.0
    data: str = "own camera"
    license: str = "own recording"
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 17
    train_seconds: float | None = None
    zones: tuple[ZoneSpec, ...] = ()

    def training_plan(self, *, fps: float, validation_share: float) -> TrainingPlan:
        """Return the plan of the training on clips of this frame rate, of which so many are held out."""
        return TrainingPlan(
            name=self.name, data=self.data, license=self.license, fps=fps, detector=self.detector, seed=self.seed,
            validation_share=validation_share, options=self.options, zones=self.zones,
        )  # fmt: skip


def require_trainer(plan: LearnPlan) -> None:
    """Check that a detector can be trained here, before minutes are spent on the recording.

    Raises:
        EngineError: A module is missing.
        UsageError: There is no such detector, or an option is unknown or wrong.
    """
    detector = find_detector(plan.detector)
    require_trainable(detector)
    parse_options(detector.options(), plan.options, detector.name)


def require_time(plan: LearnPlan) -> int | None:
    """Check that a network learns enough in the plan's time, before minutes are spent on the recording.

    A few steps on a drawn scene are timed. That takes seconds, or minutes for a network that is far too large.

    Returns:
        The number of training steps that fit into the time here. None: the detector is not trained in steps, or there
        is no limit.

    Raises:
        UsageError: Too few steps fit, or an option is unknown or wrong.
    """
    detector = find_detector(plan.detector)
    if not isinstance(detector, TrainedDetector) or plan.train_seconds is None:
        return None
    from streamad.training.budget import MIN_STEPS, minutes_for, steps_in

    possible = steps_in(detector, plan.training_plan(fps=10.0, validation_share=0.5), plan.train_seconds)
    if possible < MIN_STEPS:
        raise UsageError(
            f"{plan.detector} makes {possible} steps of its training in {plan.train_seconds / 60:g} minutes here; at "
            f"least {MIN_STEPS} are needed",
            hint=f"give --train-minutes {minutes_for(MIN_STEPS, possible, plan.train_seconds)} or more, options that "
            f"make it lighter (docs/how-to/train.md), or use the detector {DEFAULT}, which takes a minute or two",
        )
    return possible


def require_length(seconds: float) -> None:
    """Check that files are long enough, before they are read.

    Args:
        seconds: Length of the files and of earlier recordings together.

    Raises:
        UsageError: They are too short.
    """
    if seconds < MIN_SECONDS:
        raise UsageError(
            f"the files hold {seconds:.0f} s of video; at least {MIN_SECONDS:.0f} s are needed",
            hint="give more video",
        )


def require_enough(found: Capture, recordings: RecordingStore) -> None:
    """Check that something can be learned from the recordings, earlier ones included.

    A recording that is long enough but shows too little movement is kept as a finished one; the next adds to it.

    Args:
        found: The newest recording.
        recordings: All recordings.

    Raises:
        UsageError: There is too little; the message and the hint say what was found and what to do.
    """
    survey = found.survey
    held = sum(survey.held.values())
    seconds = sum(recordings.learned_profiles.values())
    moving = recordings.surveyed("moving_seconds")
    faults = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in survey.held.most_common())
    if seconds < MIN_SECONDS:
        raise UsageError(
            f"there are only {seconds:.0f} s of good video; at least {MIN_SECONDS:.0f} s are needed"
            + (f"; {counted(held, 'frame')} were rejected ({faults})" if held else "")
            + (f"; {found.problem}" if found.problem else ""),
            hint="give more video"
            + (
                "; if the rejected frames are the reason, make sure that the camera shows its place steadily "
                "(docs/concepts/frame-quality.md)"
                if held
                else ""
            ),
        )
    if moving < MIN_MOVING_SECONDS:
        finished(recordings, found)
        what = f"something moved for only {moving:.0f} s" if moving >= 1 else "nothing moved"
        raise UsageError(
            f"{what} in {span(seconds)} of good video; at least {MIN_MOVING_SECONDS:.0f} s of movement are needed",
            hint="record when the place is used as usual; run again with the same --out to add to this recording",
        )


def finished(recordings: RecordingStore, capture: Capture) -> None:
    """Mark a recording as finished, so that the next run starts another one."""
    recordings.update(replace(capture.session, done=True, survey=capture.survey.to_json()))
