"""Calibrating a model on normal video: score every clip as it would be scored live, then set the threshold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.bundle import CALIBRATION, Bundle, combined_sha256, load_bundle, write_manifest
from streamad.calibration import AlertPolicySpec, Calibration, calibrate
from streamad.inference.clips import score_clip
from streamad.inference.gated_scorer import SkippedFrames
from streamad.inference.model import Model
from streamad.sources import SourceError, SourceSpec
from streamad.workflows.calibrate_per_location import is_per_location_by_default, score_clips_per_location


def score_clips(
    clips: Sequence[SourceSpec],
    model: Model,
    *,
    camera: str = "camera",
    progress: Callable[[int, int, int], None] | None = None,
    lost: Callable[[int, SourceError], None] | None = None,
) -> list[npt.NDArray[np.float64]]:
    """Scores of several clips of one camera, in order, its background carried from clip to clip.

    Args:
        clips: the clips.
        model: what scores them.
        camera: id of the camera.
        progress: called with (clip number from 0, frames of it scored, clips in all).
        lost: called with a clip's number and error, see `score_clip`; a clip of which nothing was read has no array.

    Returns:
        One (frames,) array a clip, NaN where a frame has no score.
    """
    scorer, skipped = model.scorer(camera), SkippedFrames()
    answer = []
    for number, clip in enumerate(clips):
        values = []
        for score in score_clip(
            clip, model, scorer, camera=camera, lost=None if lost is None else partial(lost, number)
        ):
            values.append(score.score)
            skipped.add(clip, score)
            if progress is not None:
                progress(number, len(values), len(clips))
        if values or lost is None:
            answer.append(np.asarray(values, dtype=np.float64))
    skipped.warn()
    return answer


def calibrate_model(
    model: Model,
    clips: Sequence[SourceSpec],
    *,
    source: str,
    fps: float | None = None,
    alerts_per_day: float = 1.0,
    rules: AlertPolicySpec | None = None,
    local: bool | None = None,
    progress: Callable[[int, int, int], None] | None = None,
    lost: Callable[[int, SourceError], None] | None = None,
) -> Calibration:
    """Calibrate a model on clips of one camera's normal video.

    Args:
        model: the model.
        clips: normal video that the model was not trained on.
        source: what the video is, in words, for the record.
        fps: frames a second; None takes the bundle's.
        alerts_per_day: the budget of false alerts.
        rules: duration, cooldown and hysteresis that the alerts will be made by.
        local: hold cells against what is normal at their place; None: where it helps this kind of detector.
        progress: see `score_clips`.
        lost: see `score_clips`.

    Raises:
        CalibrationError: nothing can be learned from these scores.
    """
    statistics = None
    if is_per_location_by_default(model.bundle.manifest) if local is None else local:
        scored = score_clips_per_location(clips, model, fps=fps, progress=progress, lost=lost)
        scores, statistics = scored.scores, scored.statistics
    else:
        scores = score_clips(clips, model, progress=progress, lost=lost)
    return calibrate(
        scores,
        fps=fps or model.bundle.manifest.training.fps,
        model=model.bundle.name,
        model_sha256=combined_sha256(model.bundle),
        source=source,
        alerts_per_day=alerts_per_day,
        rules=rules,
        local=statistics,
    )


def save_into_bundle(bundle: Bundle, calibration: Calibration) -> Bundle:
    """Make a calibration the bundle's own: written beside the network, with its hashes in the manifest.

    The manifest is written when the new calibration lies beside the old one. From then on the new one is the bundle's:
    where this is broken off before it took its place, `load_bundle` puts it there.
    """

    def announce(pending: Path, old: Collection[str]) -> None:
        write_manifest(bundle.path, bundle.manifest, leave_out=old, instead={CALIBRATION: pending})

    calibration.save(bundle.path / CALIBRATION, announce)
    return load_bundle(Path(bundle.path))
