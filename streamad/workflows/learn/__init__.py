"""Learn a camera: record normal video, check it, fit, calibrate, and report what the model will and will not see."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from streamad.bundle import CALIBRATION, PLACE, Bundle, load_bundle, write_manifest
from streamad.calibration import AlertPolicySpec, Calibration
from streamad.detectors import DEFAULT, FittedDetector, find_detector
from streamad.errors import UsageError
from streamad.files import write_json
from streamad.formatting import counted
from streamad.frame import UInt8Image
from streamad.inference.gated_scorer import write_place
from streamad.protocols import Progress
from streamad.sources import FileSpec
from streamad.sources.frame_rate import look_at
from streamad.versions import activate, new_version
from streamad.workflows.fit import fit_model
from streamad.workflows.learn.capture import Capture, capture
from streamad.workflows.learn.recording_stats import RecordingStats
from streamad.workflows.learn.recording_store import GoodVideo, RecordingStore
from streamad.workflows.learn.report import GUESS_SECONDS, describe
from streamad.workflows.learn.requirements import (
    LearnPlan,
    finished,
    require_enough,
    require_length,
    require_time,
    require_trainer,
)

__all__ = [
    "GUESS_SECONDS",
    "RECORDINGS",
    "Capture",
    "LearnPlan",
    "Learned",
    "RecordingStats",
    "RecordingStore",
    "capture",
    "finished",
    "learn",
    "require_enough",
    "require_length",
    "require_time",
    "require_trainer",
]

RECORDINGS, REPORT = "recordings", "learned.json"


@dataclass(frozen=True)
class Learned:
    """A model that was learned.

    Attributes:
        bundle: The model, which is active now.
        calibration: Its calibration.
        words: What it will and will not see, sentence by sentence.
        report: The same as a JSON document.
    """

    bundle: Bundle
    calibration: Calibration
    words: tuple[str, ...]
    report: dict[str, Any]


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
    """Fit and calibrate on all recordings, and activate the model.

    The new bundle is written beside the active one and replaces it in one step when it is complete
    (`streamad.versions`). Earlier ones are kept.

    Args:
        plan: What to learn.
        recordings: Recordings of all profiles, old and new.
        out: Folder of the bundle.
        place: Picture of the place, for the frame-quality gate.
        survey: Statistics of the newest recording.
        rules: Duration, cooldown and hysteresis of the alerts.
        progress: Called with each stage's name, the steps done, and their total.

    Raises:
        EngineError: The detector's training needs a module that is not installed.
        UsageError: There are too few clips, or nothing moves in them.
        OutputError: `out` cannot be written to.
    """
    require_trainer(plan)
    fresh = new_version(out)
    detector = find_detector(plan.detector)
    clips: list[FileSpec | GoodVideo]
    if isinstance(detector, FittedDetector):
        clips, share, profiles = recordings.whole, 0.0, recordings.learned_profiles
        if not clips:
            raise UsageError("the recordings hold no video", hint="record again")
    else:
        train, held = recordings.of_role("train"), recordings.of_role("held")
        if not train or not held:
            raise UsageError(
                f"the recordings have {counted(len(train), 'clip')} to train {plan.detector} on and {len(held)} to set "
                "its threshold on; at least one of each is needed",
                hint="record for longer: every fourth clip is held out for the threshold. The detector "
                f"{DEFAULT} holds nothing out",
            )
        clips, share, profiles = [*train, *held], len(held) / (len(train) + len(held)), recordings.profiles
    measured = [clip.fps for clip in clips if isinstance(clip, GoodVideo)]
    files = [clip for clip in clips if isinstance(clip, FileSpec)]
    fps = measured[0] if measured else look_at(files[0]).fps
    fitted = fit_model(
        plan.training_plan(fps=fps, validation_share=share),
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
    words, report = describe(bundle, calibration, recordings, survey, shortened=fitted.shortened)
    write_json(fresh / REPORT, report)
    shutil.rmtree(fresh / "training", ignore_errors=True)
    write_manifest(fresh, bundle.manifest)
    activate(out, fresh)
    return Learned(load_bundle(out), calibration, words, report)
