"""Evaluate a model on a data set: score its test clips, then compute every metric with its protocol."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from streamad.alerts.state_machine import AlertStateMachine
from streamad.bundle import Bundle, combined_sha256
from streamad.calibration import AlertPolicy, AlertPolicySpec, Calibration
from streamad.engines import EngineSpec
from streamad.errors import CalibrationError, DatasetError, UsageError
from streamad.evaluation.datasets import DATASETS, Dataset, load_dataset
from streamad.evaluation.datasets.validate import notes_on
from streamad.evaluation.events import Alert
from streamad.evaluation.localization import Located, localization_of
from streamad.evaluation.pixels import Mask
from streamad.evaluation.result import AlertMetrics, ClipRecord, EvaluationRecord, Origin
from streamad.evaluation.scored_clips import FrameRef, ScoredClip, worst_false_alarms, worst_misses
from streamad.evaluation.scores import Edge, Evaluation, SingleClass, inversion_note, protocols_of
from streamad.protocols import Progress
from streamad.scoring import Normalization
from streamad.workflows.evaluate_scoring import score_dataset

SHOTS = 8
"""Number of false alarms, and of misses, in a report."""


@dataclass(frozen=True)
class EvaluationResult:
    """An evaluated data set: its metrics, and the data for a report.

    Attributes:
        record: The metrics, each with its protocol: the content of `result.json`.
        dataset: The data set.
        clips: Scores, labels and alerts of each test clip; no alerts without a threshold.
        calibration: The calibration that the alerts are based on, if any.
        false_alarms: The normal frames with the highest scores.
        misses: The abnormal frames with the lowest scores.
        masks: Pixel masks of these frames, if any, by clip and frame.
    """

    record: EvaluationRecord
    dataset: Dataset
    clips: tuple[ScoredClip, ...]
    calibration: Calibration | None
    false_alarms: tuple[FrameRef, ...]
    misses: tuple[FrameRef, ...]
    masks: Mapping[tuple[int, int], Mask]

    @property
    def protocols(self) -> tuple[Evaluation, ...]:
        """Frame-level metrics, one entry per protocol."""
        return self.record.protocols

    @property
    def traces(self) -> tuple[ScoredClip, ...]:
        """The clips with the raw scores that alerts are based on, which are per-location scores if there are any."""
        return tuple(replace(clip, scores=clip.alert_scores) for clip in self.clips)

    def to_dict(self) -> dict[str, Any]:
        """Convert the metrics to built-in types: the content of `result.json`."""
        return asdict(self.record)

    def report(self, folder: str | Path) -> list[Path]:
        """Write `report.html`, `report.md` with its pictures, `result.json`, `scores.csv` and `scores.npz`.

        Only the HTML page shows frames of the data set.

        Returns:
            The files.

        Raises:
            OutputError: A file cannot be written.
        """
        from streamad.workflows.evaluate_report import write_evaluation  # imports this module

        return write_evaluation(Path(folder), self)


def find_test_data(
    data_set: str, data: Path | None, *, label_set: str | None = None, allow_pickle: bool = False
) -> Dataset:
    """Read a data set by name or folder; a name without a folder is looked for in $STREAMAD_DATA.

    Raises:
        UsageError: A name without a folder is given, and the variable is not set.
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
    on_clip: Callable[[ScoredClip], None] | None = None,
) -> EvaluationResult:
    """Evaluate a model on the test clips of a data set.

    Args:
        dataset: Clips and labels.
        bundle: The model, with its calibration for `calibrated` and the alerts.
        folder: Folder for the scores of every clip; clips that an earlier run finished are not scored again.
        name: Name of the run, for comparisons. Default: `default_name`.
        engine: The engine to run the model on. Default: chosen automatically.
        workers: Number of clips scored at a time.
        protocols: Protocols of the metrics. Default: all that apply.
        edge: See `evaluate_scores`.
        single_class: See `evaluate_scores`.
        localize: Compare anomaly maps with pixel masks, if there are both.
        threshold: Raw score from which a frame is anomalous. Default: the calibration's.
        progress: See `score_dataset`.
        on_clip: See `score_dataset`.

    Raises:
        DatasetError: Nothing can be evaluated.
        CalibrationError: `calibrated` is requested without a calibration, or the calibration is another model's.
        EngineError: The engine cannot run on this machine.
    """
    # Fail now, not after hours of scoring.
    _require_both_classes(dataset)
    calibration = _calibration(bundle, protocols or ())
    policy = _policy(bundle, calibration, threshold)
    if threshold is not None and calibration is not None and calibration.local is not None:
        calibration = None  # a threshold from the user refers to the detector's own scores
    notes = [*notes_on(dataset), *_notes_on_model(bundle, dataset, calibration)]
    clips = score_dataset(
        dataset, bundle, folder / "clips", engine=engine, workers=workers, progress=progress, on_clip=on_clip
    )
    statistics = None if calibration is None else calibration.local
    if statistics is not None:
        clips = [clip.relative_to(statistics) for clip in clips]
    if policy is not None:
        clips = [with_alerts(clip, policy) for clip in clips]
    shown = None if policy is None else policy.threshold
    false_alarms = worst_false_alarms(clips, SHOTS, threshold=shown)
    misses = worst_misses(clips, SHOTS, threshold=shown)
    located = Located()
    if localize:
        located = localization_of(
            dataset.testing,
            clips,
            cells_are_patches=bundle.manifest.tiling.kind == "cells"
            and statistics is None
            and bundle.manifest.fusion is None,
            keep={(place.clip, place.frame) for place in (*false_alarms, *misses)},
        )
    damage = {number: (f"its masks were left out: {problem}",) for number, problem in located.problems}
    metrics = protocols_of(clips, protocols=protocols, calibration=calibration, edge=edge, single_class=single_class)
    record = EvaluationRecord(
        name=name or default_name(dataset, bundle),
        data_set=dataset.name,
        label_set=dataset.labels,
        clips=tuple(ClipRecord.of(clip, *damage.get(number, ())) for number, clip in enumerate(clips)),
        protocols=metrics,
        localization=located.metrics,
        patches=located.patches,
        alerts=None if policy is None else AlertMetrics.of(clips, policy),
        origin=Origin.of(bundle, clips),
        notes=(*_note_on_part(dataset), *inversion_note(metrics), *notes),
        part_of=dataset.whole,
    )
    return EvaluationResult(
        record, dataset, tuple(clips), calibration, tuple(false_alarms), tuple(misses), located.masks
    )


def default_name(dataset: Dataset, bundle: Bundle) -> str:
    """Return the name of a run that was given none: data set and model, and whether it is of a part of the clips."""
    return f"{dataset.name}-{bundle.name}" + ("" if dataset.whole is None else "-part")


def with_alerts(clip: ScoredClip, policy: AlertPolicy) -> ScoredClip:
    """Apply an alert policy to the scores of a clip.

    Alerts start when they are raised. An alert that is reopened within its cooldown is the same alert for an operator,
    but was not open in between.

    Args:
        clip: The clip.
        policy: When a score becomes an alert.

    Raises:
        ValueError: The clip has no frame rate.
    """
    if clip.fps is None:
        raise ValueError(f"clip {clip.name!r}: alerts need the frames a second")
    machine = AlertStateMachine(policy, clip.name)
    standing: list[Alert] = []
    again: set[int] = set()
    end_of_clip = len(clip.scores) / clip.fps
    for index, value in enumerate(clip.alert_scores):
        change = machine.update(index, index / clip.fps, float(value))
        if change is None:
            continue
        if change.kind == "closed":
            standing[-1] = (standing[-1][0], max(standing[-1][0], change.pts_seconds))
        elif change.kind == "opened" or change.reason == "reopened":
            if change.kind != "opened":
                again.add(len(standing))
            standing.append((change.pts_seconds, end_of_clip))
    return replace(clip, alerts=tuple(standing), reopened=frozenset(again))


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


def _note_on_part(dataset: Dataset) -> list[str]:
    if dataset.whole is None:
        return []
    names = ", ".join(clip.name for clip in dataset.testing)
    return [
        f"A part of the data set, chosen on purpose: {len(dataset.testing)} of {dataset.whole} test clips ({names}). "
        "Not comparable with results on all clips."
    ]


def _notes_on_model(bundle: Bundle, dataset: Dataset, calibration: Calibration | None) -> list[str]:
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
        notes.append("The model has no calibration: no `calibrated` figures, and no alerts without a given threshold.")
    return notes
