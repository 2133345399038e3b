"""Evaluate a model on a data set: score its test clips, then compute every metric with its protocol."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from streamad import __version__
from streamad.bundle import Bundle, combined_sha256
from streamad.calibration import AlertPolicy, AlertPolicySpec, Calibration
from streamad.engines import EngineSpec
from streamad.errors import CalibrationError, DatasetError, UsageError
from streamad.evaluation.datasets import DATASETS, Clip, Dataset, load_dataset
from streamad.evaluation.datasets.validate import official_differences
from streamad.evaluation.localization import ClipAnomalyMaps, localization_of
from streamad.evaluation.pixels import Mask
from streamad.evaluation.result import ClipRecord, EvaluationRecord, Origin, inversion_note, protocols_of
from streamad.evaluation.scored_clips import FrameRef, ScoredClip, worst_false_alarms, worst_misses
from streamad.evaluation.scores import Edge, Evaluation, SingleClass
from streamad.progress import Progress
from streamad.scoring import Normalization
from streamad.workflows.evaluate_events import alert_metrics, alerts_of
from streamad.workflows.evaluate_scoring import EvaluatedClip, score_dataset

SHOTS = 8
"""Number of false alarms, and of misses, in a report."""


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluated data set: its figures, and what a report draws.

    Attributes:
        record: The figures, each with its protocol: what `result.json` holds.
        dataset: The data set.
        clips: The scores of each test clip.
        traces: Scores, labels and alerts of each test clip; no alerts without a threshold.
        calibration: The calibration behind the alerts; None without one.
        false_alarms: The normal frames with the highest scores.
        misses: The abnormal frames with the lowest scores.
        masks: Pixel masks of these frames, by clip and frame, where there are any.
    """

    record: EvaluationRecord
    dataset: Dataset
    clips: tuple[EvaluatedClip, ...]
    traces: tuple[ScoredClip, ...]
    calibration: Calibration | None
    false_alarms: tuple[FrameRef, ...]
    misses: tuple[FrameRef, ...]
    masks: Mapping[tuple[int, int], Mask]

    @property
    def protocols(self) -> tuple[Evaluation, ...]:
        """Frame-level figures, one entry a protocol."""
        return self.record.protocols

    def to_dict(self) -> dict[str, Any]:
        """The figures as built-in types: the content of `result.json`."""
        return asdict(self.record)

    def report(self, folder: str | Path) -> list[Path]:
        """Write `report.html`, `report.md` with its pictures, `result.json`, `scores.csv` and `scores.npz`.

        Only the HTML page shows frames of the data set.

        Returns:
            The files.

        Raises:
            OutputError: A file cannot be written.
        """
        from streamad.workflows.evaluate_report import write_report, write_scores  # they draw what this module found

        place = Path(folder)
        return [*write_scores(place, self), *write_report(place, self)]


def find_test_data(
    data_set: str, data: Path | None, *, label_set: str | None = None, allow_pickle: bool = False
) -> Dataset:
    """Read a data set by name or folder; a name without a folder is looked for in $STREAMAD_DATA.

    Raises:
        UsageError: A name without a folder, and the variable is not set.
        DatasetError: See `load_dataset`.
    """
    if data is None and data_set.lower() in DATASETS:
        root = os.environ.get("STREAMAD_DATA")
        if not root:
            raise UsageError(
                f"the folder of {data_set} is not known",
                hint="give --data DIR, or set STREAMAD_DATA to the folder that holds it",
            )
        data = Path(root)
    return load_dataset(data_set, data, label_set=label_set, allow_pickle=allow_pickle, keep_damaged=True)


def evaluate_dataset(
    dataset: Dataset,
    bundle: Bundle,
    folder: Path,
    *,
    name: str | None = None,
    engine: EngineSpec | None = None,
    workers: int | None = None,
    protocols: Sequence[Normalization] | None = None,
    edge: Edge = "leave_out",
    single_class: SingleClass = "leave_out",
    localize: bool = True,
    threshold: float | None = None,
    progress: Progress | None = None,
    on_clip: Callable[[EvaluatedClip], None] | None = None,
) -> EvaluationResult:
    """Evaluate a model on the test clips of a data set.

    Args:
        dataset: Clips and labels.
        bundle: The model, with its calibration for `calibrated` and the alerts.
        folder: Gets the scores of every clip; clips that an earlier run finished are not scored again.
        name: Name of the run, for comparisons. Default: data set and model.
        engine: Which engine. Default: auto.
        workers: Number of clips scored at a time.
        protocols: Protocols of the metrics. Default: all that are possible.
        edge: See `evaluate_scores`.
        single_class: See `evaluate_scores`.
        localize: Compare anomaly maps with pixel masks, if there are both.
        threshold: Raw score from which a frame is anomalous. Default: the calibration's.
        progress: See `score_dataset`.
        on_clip: See `score_dataset`.

    Raises:
        DatasetError: Nothing can be evaluated.
        CalibrationError: `calibrated` is requested without a calibration, or the calibration is another model's.
        EngineError: The engine cannot run here.
    """
    # Fail now, not after hours of scoring.
    _require_both_classes(dataset)
    calibration = _calibration(bundle, protocols or ())
    clips = score_dataset(
        dataset, bundle, folder / "clips", engine=engine, workers=workers, progress=progress, on_clip=on_clip
    )
    policy = _policy(bundle, calibration, threshold)
    if threshold is not None and calibration is not None and calibration.local is not None:
        calibration = None  # a threshold that was given by hand is one of the detector's own scores
    statistics = None if calibration is None else calibration.local
    if statistics is not None:
        clips = [replace(clip, local=statistics) for clip in clips]
    shown = None if policy is None else policy.threshold
    traces = tuple(_trace(clip, scored, bundle, policy) for clip, scored in zip(dataset.testing, clips, strict=True))
    false_alarms = worst_false_alarms(traces, SHOTS, threshold=shown)
    misses = worst_misses(traces, SHOTS, threshold=shown)
    located = localization_of(
        dataset.testing,
        [_heat(clip) if localize else None for clip in clips],
        cells_are_patches=bundle.manifest.tiling.kind == "cells"
        and statistics is None
        and bundle.manifest.fusion is None,
        keep={(place.clip, place.frame) for place in (*false_alarms, *misses)},
    )
    damage = {number: (f"its masks were left out: {problem}",) for number, problem in located.problems}
    protocols_found = protocols_of(
        [scored.scores for scored in clips],
        [trace.labels for trace in traces],
        names=[trace.name for trace in traces],
        protocols=protocols,
        calibration=calibration,
        local=None if statistics is None else [trace.scores for trace in traces],
        edge=edge,
        single_class=single_class,
    )
    result = EvaluationRecord(
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
        protocols=protocols_found,
        localization=located.metrics,
        patches=located.patches,
        alerts=None if policy is None else alert_metrics(traces, policy),
        origin=_origin(bundle, clips),
        notes=(*inversion_note(protocols_found), *_notes(dataset, bundle, calibration)),
    )
    return EvaluationResult(
        result, dataset, tuple(clips), traces, calibration, tuple(false_alarms), tuple(misses), located.masks
    )


def _calibration(bundle: Bundle, protocols: Sequence[Normalization]) -> Calibration | None:
    if bundle.calibration_path is None:
        if "calibrated" in protocols:
            raise CalibrationError(
                f"the model {bundle.name} has no calibration, which the protocol calibrated needs",
                hint=f"streamad calibrate {bundle.name} --data NORMAL_VIDEO, or leave the protocol out",
            )
        return None
    calibration = Calibration.load(bundle.calibration_path)
    calibration.require_model(combined_sha256(bundle))
    return calibration


def _require_both_classes(dataset: Dataset) -> None:
    frames = sum(clip.frames for clip in dataset.testing)
    abnormal = sum(int(clip.labels.sum()) for clip in dataset.testing if clip.labels is not None)
    if dataset.testing and abnormal in (0, frames):
        raise DatasetError(
            f"nothing can be evaluated: all {frames} frames of {len(dataset.testing)} test clips are "
            f"{'abnormal' if abnormal else 'normal'}; normal and abnormal frames are needed",
            hint="is the test split complete, and are these its labels?",
        )


def _policy(bundle: Bundle, calibration: Calibration | None, threshold: float | None) -> AlertPolicy | None:
    if threshold is not None:
        return AlertPolicySpec().at(threshold, baseline=min(bundle.manifest.score.still, threshold))
    return None if calibration is None else AlertPolicySpec().of_calibration(calibration)


def _trace(clip: Clip, scored: EvaluatedClip, bundle: Bundle, policy: AlertPolicy | None) -> ScoredClip:
    assert clip.labels is not None  # test clips have them: the data set was read so
    fps = clip.fps or bundle.manifest.training.fps
    own = None if scored.local is None else scored.scores
    scores = scored.scores if scored.local is None else scored.local_scores(scored.local)
    if policy is None:
        return ScoredClip(clip.name, scores, clip.labels, fps)
    return ScoredClip(clip.name, scores, clip.labels, fps, *alerts_of(clip.name, scores, fps, policy), own)


def _heat(clip: EvaluatedClip) -> ClipAnomalyMaps | None:
    maps = clip.anomaly_maps()
    return None if maps is None else ClipAnomalyMaps(maps, clip.boxes(), np.isfinite(clip.scores))


def _origin(bundle: Bundle, clips: Sequence[EvaluatedClip]) -> Origin:
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


_DIFFERENCES = 5
"""Differences to the official counts that a report names."""


def _notes(dataset: Dataset, bundle: Bundle, calibration: Calibration | None) -> tuple[str, ...]:
    window, scored = bundle.manifest.tiling.window or 1, bundle.manifest.score.frame or 0
    notes = [f"Damaged: {problem}." for problem in dataset.problems]
    notes += [f"{note[0].upper()}{note[1:]}." for note in dataset.notes]
    unlike = official_differences(dataset)
    notes += [f"This copy is not the official set: {difference}" for difference in unlike[:_DIFFERENCES]]
    if len(unlike) > _DIFFERENCES:
        more = len(unlike) - _DIFFERENCES
        notes.append(f"This copy differs in {more} more points: streamad datasets validate names them.")
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
        notes.append("The model has no calibration: no `calibrated` figures, and no alerts without a given threshold.")
    return tuple(notes)
