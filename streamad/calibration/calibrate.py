"""calibrate: from the scores of normal video to a Calibration."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from streamad.calibration.budget import fit_alert_curve
from streamad.calibration.calibration import Calibration, decide
from streamad.calibration.distribution import fit_distribution
from streamad.calibration.per_location import PerLocationStatistics
from streamad.calibration.policy import AlertPolicySpec
from streamad.errors import CalibrationError, UsageError

FEW_ALERTS = 5
"""Below this number of separate peaks the scale of the tail is mostly that of single frames."""


def calibrate(
    scores: Sequence[npt.ArrayLike],
    *,
    fps: float,
    model: str,
    model_sha256: str,
    source: str,
    alerts_per_day: float = 1.0,
    rules: AlertPolicySpec | None = None,
    created: datetime | None = None,
    local: PerLocationStatistics | None = None,
) -> Calibration:
    """Learn what is normal, and set the threshold from a budget of false alerts.

    Peaks over threshold (Davison & Smith 1990) with probability-weighted moments (Hosking & Wallis 1987); see
    `fit_distribution` and `fit_alert_curve`. Nothing but normal video is used.

    Args:
        scores: one 1-D array a clip of NORMAL video, raw scores, higher = more anomalous; NaN = no score.
        fps: frames a second of the scores.
        model: name of the model.
        model_sha256: its SHA-256, hexadecimal.
        source: what the video was, in words.
        alerts_per_day: the budget: false alerts a camera and day.
        rules: How alerts will be made. Default: `AlertPolicySpec()`.
        created: the time to record, aware; now, where None.
        local: statistics of cells that the scores were made with; the calibration carries them on.

    Raises:
        UsageError: a parameter is out of range.
        CalibrationError: nothing can be learned from these scores: no or one score, all the same, infinite
            ones (a broken model), arrays that are not 1-D, or no clip long enough for an alert.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise UsageError(f"fps must be a positive number, got {fps}")
    rules = rules or AlertPolicySpec()
    clips = [_clip(scores_of, number) for number, scores_of in enumerate(scores)]
    scored = [clip for clip in clips if not np.isnan(clip).all()]
    total = sum(clip.size for clip in clips)
    if not scored:
        raise CalibrationError(
            f"cannot calibrate: none of the {total} frames in {len(clips)} clips has a score",
            hint="give normal video that is longer than the model's window",
        )
    pooled = np.concatenate(scored)
    pooled = pooled[~np.isnan(pooled)]
    distribution = fit_distribution(pooled)
    median = float(np.median(pooled))
    curve = fit_alert_curve(scored, rules, fps=fps, median=median, fallback_scale=distribution.tail_scale)
    unscored = total - pooled.size

    notes: list[str] = []
    if curve.counts[-1] < FEW_ALERTS:
        notes.append(
            f"the video has only {curve.counts[-1]:g} separate peak{'' if curve.counts[-1] == 1 else 's'} "
            f"(at least {FEW_ALERTS} are wanted): the threshold leans on the spread of single frames"
        )
    if unscored > 0.1 * total:
        notes.append(f"{unscored} of {total} frames ({unscored / total:.0%}) have no score and were left out")
    short = sum(clip.size <= rules.min_duration_seconds * fps for clip in clips)
    if short:
        notes.append(
            f"{short} of {len(clips)} clips are not longer than min_duration_seconds = "
            f"{rules.min_duration_seconds:g} and say nothing about alerts"
        )
    duration = pooled.size / fps
    return Calibration(
        model=model,
        model_sha256=model_sha256.lower(),
        source=source,
        created=(created or datetime.now(UTC)).astimezone(UTC).isoformat(timespec="seconds"),
        fps=float(fps),
        frames=int(pooled.size),
        unscored_frames=int(unscored),
        clips=len(scored),
        duration_seconds=duration,
        min_duration_seconds=float(rules.min_duration_seconds),
        cooldown_seconds=float(rules.cooldown_seconds),
        hysteresis=float(rules.hysteresis),
        median=median,
        distribution=distribution,
        alert_curve=curve,
        local=local,
        **decide(
            curve,
            alerts_per_day=alerts_per_day,
            median=median,
            hysteresis=rules.hysteresis,
            frames=int(pooled.size),
            duration_seconds=duration,
            data_warnings=tuple(notes),
        ),
    )


def _clip(scores: npt.ArrayLike, number: int) -> npt.NDArray[np.float64]:
    clip = np.asarray(scores, dtype=np.float64)
    if clip.ndim != 1:
        raise CalibrationError(f"cannot calibrate: scores of clip {number} must be 1-D, got shape {clip.shape}")
    if np.isinf(clip).any():
        raise CalibrationError(
            f"cannot calibrate: clip {number} has {int(np.isinf(clip).sum())} infinite scores; normal video "
            "must score finitely (NaN = no score)",
            hint="a model that gives infinite scores is broken: train or export it again",
        )
    return clip
