"""Calibrate a model on normal video: score every clip as it would be scored live, then set the threshold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.bundle import CALIBRATION, Bundle, load_bundle, write_manifest
from streamad.calibration import AlertPolicySpec, Calibration, PerLocationStatistics, calibrate_bundle
from streamad.inference.clips import score_clips
from streamad.inference.model import Model
from streamad.protocols import Progress, no_progress
from streamad.sources import SourceError, SourceSpec
from streamad.workflows.calibrate_per_location import is_per_location_by_default, score_clips_per_location
from streamad.zones import ZoneSpec


@dataclass(frozen=True)
class NormalScores:
    """The scores of normal clips, and the statistics that they are relative to.

    Attributes:
        scores: (n,) raw scores of every clip, NaN where a frame has none.
        indices: (n,) numbers of these frames in their clips.
        statistics: Per-location statistics of all clips, if the scores are relative to them; each frame was scored by
            the statistics of other parts of the video. None: the scores are the model's own.
    """

    scores: list[npt.NDArray[np.float64]]
    indices: list[npt.NDArray[np.int_]]
    statistics: PerLocationStatistics | None = None


def score_normal(
    model: Model,
    clips: Sequence[SourceSpec],
    *,
    fps: float | None = None,
    local: bool | None = None,
    zones: Sequence[ZoneSpec] = (),
    progress: Progress = no_progress,
    lost: Callable[[int, SourceError], None] | None = None,
) -> NormalScores:
    """Score normal clips of one camera as they would be scored live.

    Args:
        model: The model.
        clips: Normal video, in chronological order.
        fps: Frames per second. Default: the bundle's.
        local: Score each location relative to what is normal there. Default: if that helps the detector.
        zones: The parts of the picture that count. Default: all of it.
        progress: See `score_clips`.
        lost: See `score_clips`.

    Raises:
        CalibrationError: Per-location statistics are requested but cannot be fitted.
    """
    if is_per_location_by_default(model.bundle.manifest) if local is None else local:
        made = score_clips_per_location(clips, model, fps=fps, zones=zones, progress=progress, lost=lost)
        return NormalScores(made.scores, made.indices, made.statistics)
    found = score_clips(clips, model, zones=zones, progress=progress, lost=lost)
    return NormalScores([clip.scores for clip in found], [clip.indices for clip in found])


def calibrate_model(
    model: Model,
    clips: Sequence[SourceSpec],
    *,
    source: str,
    fps: float | None = None,
    alerts_per_day: float = 1.0,
    rules: AlertPolicySpec | None = None,
    local: bool | None = None,
    zones: Sequence[ZoneSpec] = (),
    progress: Progress = no_progress,
    lost: Callable[[int, SourceError], None] | None = None,
) -> Calibration:
    """Calibrate a model on clips of one camera's normal video.

    Args:
        model: The model.
        clips: Normal video that the model was not trained on.
        source: Description of the video, for the record.
        fps: Frames per second. Default: the bundle's.
        alerts_per_day: Budget of false alerts.
        rules: Durations, cooldown and hysteresis of the alerts.
        local: See `score_normal`.
        zones: See `score_normal`.
        progress: See `score_clips`.
        lost: See `score_clips`.

    Raises:
        CalibrationError: Nothing can be learned from these scores.
    """
    normal = score_normal(model, clips, fps=fps, local=local, zones=zones, progress=progress, lost=lost)
    return calibrate_bundle(
        model.bundle,
        normal.scores,
        fps=fps or model.bundle.manifest.training.fps,
        source=source,
        alerts_per_day=alerts_per_day,
        rules=rules,
        local=normal.statistics,
        zones=zones,
    )


def save_into_bundle(bundle: Bundle, calibration: Calibration) -> Bundle:
    """Store a calibration in a bundle: write it beside the network, and its hashes into the manifest.

    The manifest is written while the new calibration is still beside the old one. From then on, the new one is the
    bundle's: if the process stops before the old one is replaced, `load_bundle` replaces it.
    """

    def announce(pending: Path, old: Collection[str]) -> None:
        write_manifest(bundle.path, bundle.manifest, leave_out=old, instead={CALIBRATION: pending})

    calibration.save(bundle.path / CALIBRATION, announce)
    return load_bundle(Path(bundle.path))
