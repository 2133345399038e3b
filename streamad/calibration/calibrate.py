"""Calibrate: turn the scores of normal video into a `Calibration`."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np
import numpy.typing as npt

from streamad.bundle import Bundle, combined_sha256
from streamad.calibration.budget import fast_margin, fit_alert_curve
from streamad.calibration.calibration import Calibration, decide
from streamad.calibration.distribution import fit_distribution
from streamad.calibration.per_location import PerLocationStatistics
from streamad.calibration.policy import AlertPolicySpec
from streamad.errors import CalibrationError, UsageError
from streamad.zones import ZoneSpec

FEW_ALERTS = 5
"""With fewer separate peaks than this, the scale of the tail is mostly that of single frames."""


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
    ceilings: Sequence[npt.ArrayLike] | None = None,
    zones: Sequence[ZoneSpec] = (),
) -> Calibration:
    """Fit the distribution of normal scores, and set the threshold for a budget of false alerts.

    Peaks over threshold (Davison & Smith 1990) with probability-weighted moments (Hosking & Wallis 1987); see
    `fit_distribution` and `fit_alert_curve`. Only normal video is used.

    The two ways to an alert share the budget: alerts are counted with the fast threshold at its margin above each
    threshold (`budget.fast_margin`).

    Args:
        scores: One 1-D array per clip of NORMAL video: raw scores, higher = more anomalous, NaN = no score.
        fps: Frames per second of the scores.
        model: Name of the model.
        model_sha256: SHA-256 of the model, hexadecimal.
        source: Description of the video.
        alerts_per_day: The budget: false alerts per camera and day.
        rules: The alert policy to calibrate for. Default: `AlertPolicySpec()`.
        created: The time to record, timezone-aware. Default: now.
        local: Per-location statistics that the scores are relative to; they become part of the calibration.
        ceilings: One array per clip: the threshold that was active at frames of earlier alerts, NaN elsewhere. Such an
            alert counts as one alert at any threshold up to there, and its frames belong to no distribution. Left out
            altogether, alerts would lower each threshold below the one before; taken as they are, the first true event
            would raise it above all that follow.
        zones: The zones that the scores were made with; they become part of the calibration.

    Raises:
        UsageError: A parameter is out of range.
        CalibrationError: The scores are unusable: fewer than two, all equal, infinite (a broken model), not 1-D arrays,
            or no clip long enough for an alert.
    """
    if not (np.isfinite(fps) and fps > 0):
        raise UsageError(f"fps must be a positive number, got {fps}")
    rules = rules or AlertPolicySpec()
    clips = [_clip(scores_of, number) for number, scores_of in enumerate(scores)]
    in_alert = [~np.isnan(np.asarray(ceiling, np.float64)) for ceiling in ceilings or ()]
    if ceilings is not None and [flags.shape for flags in in_alert] != [clip.shape for clip in clips]:
        raise CalibrationError("cannot calibrate: ceilings must have the shape of the scores")
    total = sum(clip.size for clip in clips)
    if all(np.isnan(clip).all() for clip in clips):
        raise CalibrationError(
            f"cannot calibrate: none of the {total} frames in {len(clips)} clips has a score",
            hint="use normal video that is longer than the model's window",
        )
    unscored = total - sum(int(np.isfinite(clip).sum()) for clip in clips)
    accepted = (
        [np.where(flags, np.nan, clip) for clip, flags in zip(clips, in_alert, strict=True)] if in_alert else clips
    )
    pooled = np.concatenate(accepted)
    pooled = pooled[~np.isnan(pooled)]
    distribution = fit_distribution(pooled)
    median = float(np.median(pooled))
    margin = fast_margin(accepted, rules, fps=fps, median=median)
    curve = fit_alert_curve(
        clips,
        rules,
        fps=fps,
        median=median,
        fallback_scale=distribution.tail_scale,
        fast_margin=margin,
        ceilings=None if ceilings is None else [np.asarray(ceiling, np.float64) for ceiling in ceilings],
    )

    notes: list[str] = []
    if curve.counts[-1] < FEW_ALERTS:
        notes.append(
            f"the video has only {curve.counts[-1]:g} separate peak{'' if curve.counts[-1] == 1 else 's'} "
            f"(at least {FEW_ALERTS} are desirable): the threshold depends mostly on the spread of single frames"
        )
    if unscored > 0.1 * total:
        notes.append(f"{unscored} of {total} frames ({unscored / total:.0%}) have no score and were ignored")
    short = sum(clip.size <= rules.min_duration_seconds * fps for clip in clips)
    if short:
        notes.append(
            f"{short} of {len(clips)} clips are not longer than min_duration_seconds = "
            f"{rules.min_duration_seconds:g} and contribute nothing to the alert rate"
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
        clips=sum(not np.isnan(clip).all() for clip in clips),
        duration_seconds=duration,
        min_duration_seconds=float(rules.min_duration_seconds),
        fast_duration_seconds=float(rules.fast_duration_seconds),
        fast_margin=margin,
        cooldown_seconds=float(rules.cooldown_seconds),
        hysteresis=float(rules.hysteresis),
        median=median,
        distribution=distribution,
        alert_curve=curve,
        local=local,
        zones=tuple(zones),
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


def calibrate_bundle(
    bundle: Bundle,
    scores: Sequence[npt.ArrayLike],
    *,
    fps: float,
    source: str,
    alerts_per_day: float = 1.0,
    rules: AlertPolicySpec | None = None,
    created: datetime | None = None,
    local: PerLocationStatistics | None = None,
    ceilings: Sequence[npt.ArrayLike] | None = None,
    zones: Sequence[ZoneSpec] = (),
) -> Calibration:
    """`calibrate` for a bundle: the calibration belongs to its network, input and score definition."""
    return calibrate(
        scores,
        fps=fps,
        model=bundle.name,
        model_sha256=combined_sha256(bundle),
        source=source,
        alerts_per_day=alerts_per_day,
        rules=rules,
        created=created,
        local=local,
        ceilings=ceilings,
        zones=zones,
    )


def _clip(scores: npt.ArrayLike, number: int) -> npt.NDArray[np.float64]:
    clip = np.asarray(scores, dtype=np.float64)
    if clip.ndim != 1:
        raise CalibrationError(f"cannot calibrate: scores of clip {number} must be 1-D, got shape {clip.shape}")
    if np.isinf(clip).any():
        raise CalibrationError(
            f"cannot calibrate: clip {number} has {int(np.isinf(clip).sum())} infinite scores; normal video "
            "must have finite scores (NaN = no score)",
            hint="infinite scores mean that the model is broken: train or export it again",
        )
    return clip
