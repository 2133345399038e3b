"""Evaluating a model on a data set: score its test clips, then every figure with what it belongs to."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad import __version__
from streamad.alerts.spec import RuleSpec
from streamad.bundle import Bundle, combined_sha256
from streamad.engines import EngineSpec
from streamad.evaluation.datasets import Clip, Dataset
from streamad.evaluation.events import Alert, EventReport, labels_to_events, match_events
from streamad.evaluation.localisation import ClipHeat, localisation_of
from streamad.evaluation.result import AlertFigures, ClipRecord, EvaluationResult, Origin, protocols_of
from streamad.evaluation.scores import Edge, SingleClass
from streamad.pipeline.dataset_scoring import ClipScores, score_dataset
from streamad.scoring import NORMALIZATIONS, Calibration, Normalization

TOLERANCE_SECONDS = 1.0


@dataclass(frozen=True)
class Evaluated:
    """A result, with what a report draws.

    Attributes:
        result: the figures.
        clips: scores of each test clip.
        alerts: (start, end) of the alerts of each test clip, seconds; empty without a calibration.
        calibration: of the bundle; None where it has none.
        fps: frames a second of each test clip.
    """

    result: EvaluationResult
    clips: tuple[ClipScores, ...]
    alerts: tuple[tuple[Alert, ...], ...]
    calibration: Calibration | None
    fps: tuple[float, ...]


def evaluate_dataset(
    dataset: Dataset,
    bundle: Bundle,
    folder: Path,
    *,
    name: str | None = None,
    engine: EngineSpec | None = None,
    workers: int | None = None,
    protocols: Sequence[Normalization] = NORMALIZATIONS,
    edge: Edge = "leave_out",
    single_class: SingleClass = "leave_out",
    localise: bool = True,
    progress: Callable[[ClipScores, int, int], None] | None = None,
) -> Evaluated:
    """Evaluate a model on the test clips of a data set.

    Args:
        dataset: clips and labels.
        bundle: the model, with its calibration for `calibrated` and the alerts.
        folder: gets the scores of every clip; what an earlier run finished is used.
        name: of the run, for comparisons; None: data set and model.
        engine: which engine.
        workers: clips at a time.
        protocols: those wanted.
        edge: see `evaluate_scores`.
        single_class: see `evaluate_scores`.
        localise: compare heat maps with pixel masks, where there are both.
        progress: see `score_dataset`.

    Raises:
        DatasetError: nothing can be evaluated.
        EngineError: the engine cannot run here.
    """
    clips = score_dataset(dataset, bundle, folder / "clips", engine=engine, workers=workers, progress=progress)
    calibration = None
    if bundle.calibration_path is not None:
        calibration = Calibration.load(bundle.calibration_path)
        calibration.require_model(combined_sha256(bundle))
    fps = tuple(clip.fps or bundle.manifest.training.fps for clip in dataset.testing)
    labels = [_labels(clip) for clip in dataset.testing]
    scores = [clip.scores for clip in clips]
    figures, alerts = None, tuple[tuple[Alert, ...], ...](() for _ in clips)
    if calibration is not None:
        alerts = tuple(
            alerts_of(clip.name, clip.scores, rate, calibration) for clip, rate in zip(clips, fps, strict=True)
        )
        figures = alert_figures(scores, labels, alerts, fps, calibration)
    heat = [_heat(clip) for clip in clips] if localise else [None for _ in clips]
    cells = bundle.manifest.tiling.kind == "cells"
    localisation, patches = localisation_of(dataset.testing, heat, cells_are_patches=cells)
    result = EvaluationResult(
        name=name or f"{dataset.name}-{bundle.name}",
        data_set=dataset.name,
        label_set=dataset.labels,
        clips=tuple(
            ClipRecord(
                clip.name,
                clip.frames,
                int(np.isfinite(scored.scores).sum()),
                int(_labels(clip).sum()),
                scored.seconds,
                scored.problems,
            )
            for clip, scored in zip(dataset.testing, clips, strict=True)
        ),
        protocols=protocols_of(
            scores,
            labels,
            names=[clip.name for clip in clips],
            protocols=protocols,
            calibration=calibration,
            edge=edge,
            single_class=single_class,
        ),
        localisation=localisation,
        patches=patches,
        alerts=figures,
        origin=_origin(bundle, engine, clips),
        notes=_notes(dataset, bundle, calibration),
    )
    return Evaluated(result, tuple(clips), alerts, calibration, fps)


def alerts_of(name: str, scores: npt.NDArray[np.float64], fps: float, calibration: Calibration) -> tuple[Alert, ...]:
    """(start, end) in seconds of the alerts that the calibrated threshold raises; start is when one is raised."""
    rule = RuleSpec().build(name, threshold=calibration.threshold, baseline=calibration.median)
    opened: list[Alert] = []
    for index, value in enumerate(scores):
        change = rule.update(index, index / fps, float(value))
        if change is not None and change.kind == "opened":
            opened.append((change.raised_pts_seconds, len(scores) / fps))
        elif change is not None and change.kind == "closed":
            opened[-1] = (opened[-1][0], max(opened[-1][0], change.pts_seconds))
    return tuple(opened)


def alert_figures(
    scores: Sequence[npt.NDArray[np.float64]],
    labels: Sequence[npt.NDArray[np.uint8]],
    alerts: Sequence[Sequence[Alert]],
    fps: Sequence[float],
    calibration: Calibration,
) -> AlertFigures:
    """Alerts of all clips against their true intervals."""
    reports: list[EventReport] = [
        match_events(
            raised,
            labels_to_events(truth, fps=rate),
            tolerance_seconds=TOLERANCE_SECONDS,
            duration_seconds=len(truth) / rate,
        )
        for raised, truth, rate in zip(alerts, labels, fps, strict=True)
    ]
    delays = [e.delay_seconds for report in reports for e in report.events if e.delay_seconds is not None]
    normal = sum(report.normal_seconds or 0.0 for report in reports)
    wrong = sum(report.wrong for report in reports)
    values, truth = np.concatenate(scores), np.concatenate(labels)
    scored = np.isfinite(values)
    over = values[scored] >= calibration.threshold
    abnormal = truth[scored] > 0
    return AlertFigures(
        threshold=calibration.threshold,
        alerts_per_day=calibration.alerts_per_day,
        found=sum(report.found for report in reports),
        missed=sum(report.missed for report in reports),
        right=sum(report.right for report in reports),
        wrong=wrong,
        false_alerts_per_hour=wrong / normal * 3600 if normal else None,
        normal_seconds=normal,
        mean_delay_seconds=float(np.mean(delays)) if delays else None,
        frame_true_positive_rate=float(over[abnormal].mean()) if abnormal.any() else 0.0,
        frame_false_positive_rate=float(over[~abnormal].mean()) if (~abnormal).any() else None,
    )


def _labels(clip: Clip) -> npt.NDArray[np.uint8]:
    assert clip.labels is not None  # test clips have them: the data set was read so
    return clip.labels


def _heat(clip: ClipScores) -> ClipHeat | None:
    maps = clip.heatmaps()
    return None if maps is None else ClipHeat(maps, clip.boxes(), np.isfinite(clip.scores))


def _origin(bundle: Bundle, engine: EngineSpec | None, clips: Sequence[ClipScores]) -> Origin:
    training = bundle.manifest.training
    return Origin(
        model=bundle.name,
        model_sha256=combined_sha256(bundle),
        detector=bundle.manifest.detector,
        engine=(engine or EngineSpec()).label,
        streamad=__version__,
        selected_on_test_data=False,
        selection=f"{training.checkpoint}; seed {training.seed}, {training.epochs} epochs, {training.data}",
        seconds=sum(clip.seconds for clip in clips),
        machine=f"{platform.machine()}, {os.cpu_count()} processors",
    )


def _notes(dataset: Dataset, bundle: Bundle, calibration: Calibration | None) -> tuple[str, ...]:
    window, scored = bundle.manifest.tiling.window or 1, bundle.manifest.score.frame or 0
    notes = []
    if window > 1:
        notes.append(
            f"Windows of {window} frames, of which number {scored + 1} is scored: the first {scored} and the last "
            f"{window - 1 - scored} frames of a clip have no score and are left out."
        )
    if bundle.manifest.tiling.kind == "cells" and dataset.training:
        notes.append(
            "Each test clip starts with the scene at rest known from the last training clip of its camera, as a camera "
            "that has been up for a while knows it."
        )
    if calibration is None:
        notes.append("The model has no calibration: no `calibrated` figures, and no alerts.")
    return tuple(notes)
