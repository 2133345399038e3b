"""Evaluating a model on a data set: score its test clips, then every figure with what it belongs to."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad import __version__
from streamad.alerts.spec import RuleSpec
from streamad.bundle import Bundle, combined_sha256
from streamad.engines import EngineSpec
from streamad.errors import DatasetError
from streamad.evaluation.datasets import Clip, Dataset
from streamad.evaluation.datasets.validate import official_differences
from streamad.evaluation.events import Alert, EventReport, labels_to_events, match_events
from streamad.evaluation.localisation import ClipHeat, localisation_of
from streamad.evaluation.pixels import Mask
from streamad.evaluation.result import AlertFigures, ClipEvent, ClipRecord, EvaluationResult, Origin, protocols_of
from streamad.evaluation.scores import Edge, SingleClass
from streamad.evaluation.traces import Place, Trace, worst_false_alarms, worst_misses
from streamad.pipeline.dataset_scoring import ClipScores, score_dataset
from streamad.scoring import NORMALIZATIONS, Calibration, Normalization

TOLERANCE_SECONDS = 1.0
SHOTS = 8
"""False alarms, and misses, that a report shows."""


@dataclass(frozen=True)
class Evaluated:
    """A result, with what a report draws.

    Attributes:
        result: the figures.
        clips: what the model said of each test clip.
        traces: scores, labels and alerts of each test clip; no alerts without a calibration.
        calibration: of the bundle; None where it has none.
        false_alarms: the normal frames with the highest scores.
        misses: the abnormal frames with the lowest scores.
        masks: pixel masks of these frames, by clip and frame, where there are any.
    """

    result: EvaluationResult
    clips: tuple[ClipScores, ...]
    traces: tuple[Trace, ...]
    calibration: Calibration | None
    false_alarms: tuple[Place, ...]
    misses: tuple[Place, ...]
    masks: Mapping[tuple[int, int], Mask]


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
    _require_both_classes(dataset)  # now, not after hours of scoring
    clips = score_dataset(dataset, bundle, folder / "clips", engine=engine, workers=workers, progress=progress)
    calibration = None
    if bundle.calibration_path is not None:
        calibration = Calibration.load(bundle.calibration_path)
        calibration.require_model(combined_sha256(bundle))
    threshold = None if calibration is None else calibration.threshold
    traces = tuple(
        _trace(clip, scored, bundle, calibration) for clip, scored in zip(dataset.testing, clips, strict=True)
    )
    false_alarms = worst_false_alarms(traces, SHOTS, threshold=threshold)
    misses = worst_misses(traces, SHOTS, threshold=threshold)
    located = localisation_of(
        dataset.testing,
        [_heat(clip) if localise else None for clip in clips],
        cells_are_patches=bundle.manifest.tiling.kind == "cells",
        keep={(place.clip, place.frame) for place in (*false_alarms, *misses)},
    )
    damage = {number: (f"its masks were left out: {problem}",) for number, problem in located.problems}
    result = EvaluationResult(
        name=name or f"{dataset.name}-{bundle.name}",
        data_set=dataset.name,
        label_set=dataset.labels,
        clips=tuple(
            ClipRecord(
                scored.name,
                len(scored.scores),
                int(np.isfinite(scored.scores).sum()),
                int(trace.labels.sum()),
                scored.seconds,
                (*scored.problems, *damage.get(number, ())),
            )
            for number, (scored, trace) in enumerate(zip(clips, traces, strict=True))
        ),
        protocols=protocols_of(
            [trace.scores for trace in traces],
            [trace.labels for trace in traces],
            names=[trace.name for trace in traces],
            protocols=protocols,
            calibration=calibration,
            edge=edge,
            single_class=single_class,
        ),
        localisation=located.figures,
        patches=located.patches,
        alerts=None if calibration is None else alert_figures(traces, calibration),
        origin=_origin(bundle, clips),
        notes=_notes(dataset, bundle, calibration),
    )
    return Evaluated(result, tuple(clips), traces, calibration, tuple(false_alarms), tuple(misses), located.masks)


def alerts_of(
    name: str, scores: npt.NDArray[np.float64], fps: float, calibration: Calibration
) -> tuple[tuple[Alert, ...], frozenset[int]]:
    """(start, end) in seconds of the times that an alert stands, and the positions of those that are no new alert.

    start is when it is raised. An alert that rises again within its cooldown is the same alert for an operator, who is
    not called twice; it did not stand in between.
    """
    rule = RuleSpec().build(name, threshold=calibration.threshold, baseline=calibration.median)
    standing: list[Alert] = []
    again: set[int] = set()
    end_of_clip = len(scores) / fps
    for index, value in enumerate(scores):
        change = rule.update(index, index / fps, float(value))
        if change is None:
            continue
        if change.kind == "closed":
            standing[-1] = (standing[-1][0], max(standing[-1][0], change.pts_seconds))
        elif change.kind == "opened" or change.reason == "reopened":
            if change.kind != "opened":
                again.add(len(standing))
            standing.append((change.pts_seconds, end_of_clip))
    return tuple(standing), frozenset(again)


def alert_figures(traces: Sequence[Trace], calibration: Calibration) -> AlertFigures:
    """Alerts of all clips against their true intervals."""
    reports: list[EventReport] = []
    events: list[ClipEvent] = []
    alerts = wrong = 0
    for trace in traces:
        assert trace.fps is not None  # a clip's own rate, or that of the training video
        report = match_events(
            trace.alerts,
            labels_to_events(trace.labels, fps=trace.fps),
            tolerance_seconds=TOLERANCE_SECONDS,
            duration_seconds=len(trace.labels) / trace.fps,
        )
        reports.append(report)
        alerts += len(trace.alerts) - len(trace.reopened)
        wrong += len(set(report.wrong_alerts) - trace.reopened)
        events += [ClipEvent(trace.name, e.start_seconds, e.end_seconds, e.delay_seconds) for e in report.events]
    delays = [event.delay_seconds for event in events if event.delay_seconds is not None]
    normal = sum(report.normal_seconds or 0.0 for report in reports)
    values, truth = (np.concatenate([getattr(trace, name) for trace in traces]) for name in ("scores", "labels"))
    scored = np.isfinite(values)
    over = values[scored] >= calibration.threshold
    abnormal = truth[scored] > 0
    return AlertFigures(
        threshold=calibration.threshold,
        alerts_per_day=calibration.alerts_per_day,
        found=sum(report.found for report in reports),
        missed=sum(report.missed for report in reports),
        right=alerts - wrong,
        wrong=wrong,
        false_alerts_per_hour=wrong / normal * 3600 if normal else None,
        normal_seconds=normal,
        mean_delay_seconds=float(np.mean(delays)) if delays else None,
        frame_true_positive_rate=float(over[abnormal].mean()) if abnormal.any() else 0.0,
        frame_false_positive_rate=float(over[~abnormal].mean()) if (~abnormal).any() else None,
        events=tuple(events),
    )


def _require_both_classes(dataset: Dataset) -> None:
    frames = sum(clip.frames for clip in dataset.testing)
    abnormal = sum(int(clip.labels.sum()) for clip in dataset.testing if clip.labels is not None)
    if dataset.testing and abnormal in (0, frames):
        raise DatasetError(
            f"nothing can be evaluated: all {frames} frames of {len(dataset.testing)} test clips are "
            f"{'abnormal' if abnormal else 'normal'}; normal and abnormal frames are needed",
            hint="is the test split complete, and are these its labels?",
        )


def _trace(clip: Clip, scored: ClipScores, bundle: Bundle, calibration: Calibration | None) -> Trace:
    assert clip.labels is not None  # test clips have them: the data set was read so
    fps = clip.fps or bundle.manifest.training.fps
    alerts, reopened = (
        ((), frozenset[int]()) if calibration is None else alerts_of(clip.name, scored.scores, fps, calibration)
    )
    return Trace(clip.name, scored.scores, clip.labels, fps, alerts, reopened)


def _heat(clip: ClipScores) -> ClipHeat | None:
    maps = clip.heatmaps()
    return None if maps is None else ClipHeat(maps, clip.boxes(), np.isfinite(clip.scores))


def _origin(bundle: Bundle, clips: Sequence[ClipScores]) -> Origin:
    training = bundle.manifest.training
    return Origin(
        model=bundle.name,
        model_sha256=combined_sha256(bundle),
        detector=bundle.manifest.detector,
        engine="; ".join(sorted({clip.engine for clip in clips})),
        streamad=__version__,
        selected_on_test_data=training.selected_on_test_data,
        selection=f"{training.checkpoint}; seed {training.seed}, {training.epochs} epochs, {training.data}",
        seconds=sum(clip.seconds for clip in clips),
        machine=f"{platform.machine()}, {os.cpu_count()} processors",
    )


def _notes(dataset: Dataset, bundle: Bundle, calibration: Calibration | None) -> tuple[str, ...]:
    window, scored = bundle.manifest.tiling.window or 1, bundle.manifest.score.frame or 0
    notes = [f"Damaged: {problem}." for problem in dataset.problems]
    notes += [f"This copy is not the official set: {difference}" for difference in official_differences(dataset)]
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
