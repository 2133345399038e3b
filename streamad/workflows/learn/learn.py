"""learn: recordings to a model in force, the one before kept, and what it will and will not see in plain words."""

from __future__ import annotations

import shlex
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from streamad.bundle import CALIBRATION, PLACE, Bundle, load_bundle, write_manifest
from streamad.calibration import AlertPolicySpec, Calibration
from streamad.detectors import (
    DEFAULT,
    FittedDetector,
    TrainedDetector,
    detector_of,
    find_detector,
    require_trainable,
)
from streamad.detectors.options import parse_options
from streamad.errors import UsageError
from streamad.files import write_json
from streamad.formatting import counted, number, span
from streamad.frame import UInt8Image
from streamad.inference.gated_scorer import write_place
from streamad.progress import Progress
from streamad.sources import FileSpec, SourceSpec, open_source
from streamad.training.plan import Clip, TrainingPlan
from streamad.versions import activate, new_version
from streamad.workflows.fit import fit_model
from streamad.workflows.learn.capture import Capture
from streamad.workflows.learn.recording_stats import RecordingStats
from streamad.workflows.learn.recording_store import RecordingStore

if TYPE_CHECKING:  # needs torch
    from streamad.training.budget import Shortening

RECORDINGS, REPORT = "recordings", "learned.json"

LEAST_SECONDS = 30.0
LEAST_MOVING_SECONDS = 15.0
"""Less good video, or less in which something moves, is refused (our choice)."""

GUESS_SECONDS = 120.0
"""A threshold set on less held-out video than this is called a guess. On a rendered scene with 15 s of it, one alert
stayed open over four anomalies and what lay between them."""


@dataclass(frozen=True)
class LearnPlan:
    """What to learn.

    Attributes:
        name: of the bundle.
        detector: its registered name.
        alerts_per_day: the budget of false alerts.
        data: name of the video, for the record.
        license: its terms, for the record.
        options: options of the detector's own.
        seed: of everything.
        train_seconds: most time for the training of a network, about; None leaves it to the detector.
    """

    name: str
    detector: str = DEFAULT
    alerts_per_day: float = 1.0
    data: str = "own camera"
    license: str = "own recording"
    options: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 17
    train_seconds: float | None = None


@dataclass(frozen=True)
class Learned:
    """What came of it.

    Attributes:
        bundle: in force.
        calibration: its.
        words: what it will see and what not, sentence by sentence.
        report: the same as figures.
    """

    bundle: Bundle
    calibration: Calibration
    words: tuple[str, ...]
    report: dict[str, Any]


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
    """Refuse a network that would learn next to nothing in the plan's time, before minutes are spent on the recording.

    Some steps on a drawn scene are timed, which takes seconds; of a network far too large, minutes.

    Returns:
        Steps of the training that fit into the time here; None where nothing is trained in steps, or time is no limit.

    Raises:
        UsageError: too few steps fit, or an option is unknown or wrong.
    """
    detector = find_detector(plan.detector)
    if not isinstance(detector, TrainedDetector) or plan.train_seconds is None:
        return None
    from streamad.training.budget import LEAST_STEPS, minutes_for, steps_in

    possible = steps_in(detector, _training_plan(plan, fps=10.0, validation_share=0.5), plan.train_seconds)
    if possible < LEAST_STEPS:
        raise UsageError(
            f"{plan.detector} makes {possible} steps of its training in {plan.train_seconds / 60:g} minutes here, at "
            f"least {LEAST_STEPS} are needed",
            hint=f"give --train-minutes {minutes_for(LEAST_STEPS, possible, plan.train_seconds)} or more, options that "
            f"make it lighter (docs/how-to/train.md), or use the detector {DEFAULT}, which takes a minute or two",
        )
    return possible


def require_length(seconds: float) -> None:
    """Refuse files that are too short, before they are read.

    Args:
        seconds: how long they and earlier recordings are together.

    Raises:
        UsageError: too short.
    """
    if seconds < LEAST_SECONDS:
        raise UsageError(
            f"the files hold {seconds:.0f} s of video, at least {LEAST_SECONDS:.0f} s are needed",
            hint="give more video",
        )


def require_enough(found: Capture, recordings: RecordingStore) -> None:
    """Refuse recordings that nothing can be learned from.

    What earlier recordings showed counts, too. A recording that is long enough but shows too little movement is kept as
    a finished one, so that the next adds to it.

    Args:
        found: the newest recording.
        recordings: all of them.

    Raises:
        UsageError: says what was found, and what to do.
    """
    survey = found.survey
    held = sum(survey.held.values())
    seconds = sum(recordings.learned_profiles.values())
    moving = recordings.surveyed("moving_seconds")
    faults = ", ".join(f"{count} {reason.replace('_', ' ')}" for reason, count in survey.held.most_common())
    if seconds < LEAST_SECONDS:
        raise UsageError(
            f"there are only {seconds:.0f} s of good video, at least {LEAST_SECONDS:.0f} s are needed"
            + (f"; {counted(held, 'frame')} were rejected ({faults})" if held else "")
            + (f"; {found.problem}" if found.problem else ""),
            hint="give more video"
            + (
                "; if the rejected frames are the reason, see that the camera shows its place steadily "
                "(docs/concepts/frame-quality.md)"
                if held
                else ""
            ),
        )
    if moving < LEAST_MOVING_SECONDS:
        finished(recordings, found)
        what = f"something moved for only {moving:.0f} s" if moving >= 1 else "nothing moved"
        raise UsageError(
            f"{what} in {span(seconds)} of good video, at least {LEAST_MOVING_SECONDS:.0f} s of movement are needed",
            hint="record when the place is used as usual; run again with the same --out to add to this recording",
        )


def learn(
    plan: LearnPlan,
    recordings: RecordingStore,
    out: Path,
    *,
    place: UInt8Image | None,
    survey: RecordingStats,
    rules: AlertPolicySpec | None = None,
    progress: Progress | None = None,
) -> Learned:
    """Fit and calibrate on all recordings, and put the model in force.

    The bundle is made beside the one in force and takes its place in one step when it is whole (`streamad.versions`);
    the one before is `out`/previous.

    Args:
        plan: what to learn.
        recordings: of all profiles, old and new.
        out: folder of the bundle.
        place: picture of the place.
        survey: of the newest recording.
        rules: that alerts will be made by.
        progress: told how far it is.

    Raises:
        EngineError: the detector's training needs a module that is missing.
        UsageError: too few clips, or nothing moves in them.
        OutputError: `out` cannot be written to.
    """
    require_trainer(plan)
    fresh = new_version(out)
    detector = find_detector(plan.detector)
    clips: list[Clip]
    if isinstance(detector, FittedDetector):
        clips, share, profiles = list(recordings.whole), 0.0, recordings.learned_profiles
        if not clips:
            raise UsageError("the recordings hold no video", hint="record again")
        rate = recordings.given[0].fps if recordings.given else _rate(recordings.folder / recordings.clips[0].file)
    else:
        train, held = recordings.of_role("train"), recordings.of_role("held")
        if not train or not held:
            raise UsageError(
                f"the recordings have {counted(len(train), 'clip')} to train {plan.detector} on and {len(held)} to set "
                "its threshold on; at least one of each is needed",
                hint="record for longer: every fourth clip is held out for the threshold. The detector "
                f"{DEFAULT} holds nothing out",
            )
        clips, share = [FileSpec(path=path) for path in (*train, *held)], len(held) / (len(train) + len(held))
        rate, profiles = _rate(train[0]), recordings.profiles
    fitted = fit_model(
        _training_plan(plan, fps=rate, validation_share=share),
        clips,
        fresh,
        alerts_per_day=plan.alerts_per_day,
        rules=rules,
        note=f" ({', '.join(profiles)})",
        max_seconds=plan.train_seconds,
        progress=progress,
    )
    bundle, calibration = fitted.bundle, fitted.calibration
    calibration.save(fresh / CALIBRATION)
    if place is not None:
        write_place(fresh / PLACE, place)
    words, report = describe(bundle, calibration, recordings, survey, out, shortened=fitted.shortened)
    write_json(fresh / REPORT, report)
    shutil.rmtree(fresh / "training", ignore_errors=True)
    write_manifest(fresh, bundle.manifest)
    activate(out, fresh)
    return Learned(load_bundle(out), calibration, words, report)


def describe(
    bundle: Bundle,
    calibration: Calibration,
    recordings: RecordingStore,
    survey: RecordingStats,
    out: Path,
    *,
    shortened: Shortening | None = None,
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """What the model will see and what not, as sentences and as figures.

    Args:
        bundle: the model.
        calibration: its calibration.
        recordings: what it was learned from.
        survey: of the newest recording.
        out: the model's folder, as the user gave it.
        shortened: what the training was cut to.
    """
    manifest = bundle.manifest
    height = survey.shape[0] if survey.shape else None
    detector = detector_of(bundle)
    holds_out = isinstance(detector, TrainedDetector)
    smallest, least = detector.smallest_object(manifest), None
    if smallest is not None and height is not None:
        least = round(smallest * height / min(height, manifest.input.max_height or height))
    parts = survey.still_parts()
    learned = recordings.profiles if holds_out else recordings.learned_profiles
    minutes = {profile: seconds / 60 for profile, seconds in learned.items()}
    moving = survey.moving_seconds / max(survey.seconds, 1e-9)
    words = [
        "learned from " + ", ".join(f"{span(seconds)} of {profile}" for profile, seconds in learned.items())
        + f"; in the newest recording something moved {moving:.0%} of the time",
    ]  # fmt: skip
    if survey.held:
        words.append(
            "rejected as faulty: "
            + ", ".join(f"{count} frames {reason.replace('_', ' ')}" for reason, count in survey.held.most_common())
        )
    if least is not None:
        words.append(f"it sees things of about {least} pixels or more in the camera's picture; smaller ones are lost")
    if survey.still_share > 0:
        where = f" (all of the {', '.join(parts)})" if parts else ""
        words.append(
            f"nothing moved in {survey.still_share:.0%} of the picture{where}: whatever moves there is new to it, and "
            "likely an alert; if that is normal, record when it happens and run again with the same --out"
        )
    words += detector.limitations(manifest)
    resolvable = calibration.resolvable_alerts_per_day
    if calibration.extrapolation > 1:
        words.append(
            f"its threshold is for {counted(calibration.alerts_per_day, 'false alert')} a day, "
            f"{number(calibration.extrapolation)} times beyond the {span(calibration.duration_seconds)} it was set on; "
            f"this much video supports no rate below {number(resolvable)} a day: watch, then "
            f"`streamad calibrate {shlex.quote(str(out))} --recent 24h`"
        )
    if calibration.duration_seconds < GUESS_SECONDS:
        words.append(
            f"a threshold set on {calibration.duration_seconds:.0f} s of video is a guess, and its alerts may be wrong "
            f"either way: record {(4 if holds_out else 1) * GUESS_SECONDS / 60:.0f} minutes or more"
            + (", a quarter of which is held out for it" if holds_out else "")
        )
    if shortened is not None:
        words.append(
            f"{manifest.detector} was given {shortened.share:.1%} of the training it is meant to have, which takes "
            f"about {shortened.whole_seconds / 60:.0f} minutes here: its scores may not be informative; give more "
            f"--train-minutes, or use the detector {DEFAULT}"
        )
    words.append("it knows only what it was shown: other hours, weather and light are new; run again to add them")
    report = {
        "detector": manifest.detector,
        "profiles_minutes": minutes,
        "clips": len(recordings.clips),
        "files": len(recordings.given),
        "recordings_bytes": recordings.size_bytes,
        "moving_share": moving,
        "still_share": survey.still_share,
        "still_parts": parts,
        "held_frames": dict(survey.held),
        "smallest_pixels": least,
        "alerts_per_day": calibration.alerts_per_day,
        "resolvable_alerts_per_day": resolvable,
        "extrapolation": calibration.extrapolation,
        "threshold": calibration.shown_threshold,
        "warnings": list(calibration.warnings),
        "training_share": None if not holds_out else 1.0 if shortened is None else shortened.share,
        "words": words,
    }
    return tuple(words), report


def _training_plan(plan: LearnPlan, *, fps: float, validation_share: float) -> TrainingPlan:
    return TrainingPlan(
        name=plan.name, data=plan.data, license=plan.license, fps=fps, detector=plan.detector, seed=plan.seed,
        validation_share=validation_share, options=plan.options,
    )  # fmt: skip


def _rate(clip: Path) -> float:
    """Frames a second, by the median step of a recorded clip's frames: declared rates of cameras are often wrong."""
    spec: SourceSpec = FileSpec(path=clip)
    with open_source(spec, camera="learn") as source:
        times = np.array([frame.pts_seconds for frame in source])
    steps = np.diff(times)
    if not len(steps):
        raise UsageError(f"{clip} holds a single frame", hint="record again")
    return round(1.0 / max(float(np.median(steps)), 1e-3), 2)


def finished(recordings: RecordingStore, capture: Capture) -> None:
    """Mark a recording as complete, so that the next one is another."""
    recordings.update(replace(capture.session, done=True, survey=capture.survey.to_json()))
