"""What a learned model will and will not see, as sentences and as figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from streamad.bundle import Bundle
from streamad.calibration import Calibration
from streamad.detectors import DEFAULT, TrainedDetector, detector_of
from streamad.formatting import counted, span
from streamad.workflows.learn.recording_stats import RecordingStats
from streamad.workflows.learn.recording_store import RecordingStore

if TYPE_CHECKING:  # needs torch
    from streamad.training.budget import Shortening

GUESS_SECONDS = 120.0
"""A threshold set on less held-out video than this is called a guess. On a rendered scene with 15 s of it, one alert
stayed open over four anomalies and the time between them."""


def describe(
    bundle: Bundle,
    calibration: Calibration,
    recordings: RecordingStore,
    survey: RecordingStats,
    *,
    shortened: Shortening | None = None,
) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Describe what the model will and will not see.

    Args:
        bundle: The model.
        calibration: Its calibration.
        recordings: What it was learned from.
        survey: Statistics of the newest recording.
        shortened: What the training was cut to.

    Returns:
        Sentences for people, and the same as a JSON document.
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
        "learned from " + ", ".join(f"{span(seconds)} of video ({profile})" for profile, seconds in learned.items())
        + f"; in the newest recording something moved {moving:.0%} of the time",
    ]  # fmt: skip
    if survey.held:
        words.append(
            "rejected as faulty: "
            + ", ".join(f"{count} frames {reason.replace('_', ' ')}" for reason, count in survey.held.most_common())
        )
    if least is not None:
        words.append(
            f"it sees objects of about {least} pixels or more in the camera's picture; smaller ones are missed"
        )
    if survey.still_share > 0:
        where = f" (all of the {', '.join(parts)})" if parts else ""
        words.append(
            f"nothing moved in {survey.still_share:.0%} of the picture{where}: anything that moves there is new to it "
            "and likely an alert; if that is normal, record when it happens and run again with the same --out"
        )
    words += detector.limitations(manifest)
    if calibration.seconds_to_budget:
        words.append(
            f"{counted(calibration.alerts_per_day, 'false alert')} a day was asked for, and "
            f"{span(calibration.duration_seconds)} of video are too few for it: {calibration.budget}; "
            "`streamad run` gets there by itself"
        )
    if calibration.duration_seconds < GUESS_SECONDS:
        words.append(
            f"a threshold set on {calibration.duration_seconds:.0f} s of video is a guess; expect false alerts and "
            f"missed anomalies: record {(4 if holds_out else 1) * GUESS_SECONDS / 60:.0f} minutes or more"
            + (", a quarter of which is held out for the threshold" if holds_out else "")
        )
    if shortened is not None:
        words.append(
            f"{manifest.detector} had {shortened.share:.1%} of its full training, which takes about "
            f"{shortened.whole_seconds / 60:.0f} minutes here: its scores may not be informative; give more "
            f"--train-minutes, or use the detector {DEFAULT}"
        )
    words.append("it knows only what it was shown: other hours, weather and light are new to it; run again to add them")
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
        "vouched_alerts_per_day": calibration.vouched_alerts_per_day,
        "seconds_to_budget": calibration.seconds_to_budget,
        "resolvable_alerts_per_day": calibration.resolvable_alerts_per_day,
        "extrapolation": calibration.extrapolation,
        "threshold": calibration.shown_threshold,
        "warnings": list(calibration.warnings),
        "training_share": None if not holds_out else 1.0 if shortened is None else shortened.share,
        "words": words,
    }
    return tuple(words), report
