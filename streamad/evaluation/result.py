"""The result of evaluating a data set: every metric with the protocol, labels, and model that it belongs to."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from streamad.calibration import Calibration
from streamad.errors import DatasetError
from streamad.evaluation.localization import Localization
from streamad.evaluation.patches import PatchMetrics
from streamad.evaluation.scores import Edge, Evaluation, SingleClass, evaluate_scores
from streamad.files import read_json, write_json
from streamad.scoring import NORMALIZATIONS, Normalization

FORMAT = "streamad-evaluation"
VERSION = 1


@dataclass(frozen=True)
class ClipRecord:
    """One test clip.

    Attributes:
        name: Name of the clip.
        frames: Number of frames.
        scored: Number of frames with a score.
        abnormal: Number of frames labeled abnormal.
        seconds: Wall time of decoding and scoring; None if the scores came from a file.
        problems: Damage that did not end the run.
    """

    name: str
    frames: int
    scored: int
    abnormal: int
    seconds: float | None = None
    problems: tuple[str, ...] = ()


@dataclass(frozen=True)
class ClipEvent:
    """One true event: a run of abnormal frames.

    Attributes:
        clip: Name of its clip.
        start_seconds: Start, relative to the start of the clip.
        end_seconds: End, relative to the start of the clip.
        delay_seconds: Time from its start to the alert that found it; None if no alert did.
    """

    clip: str
    start_seconds: float
    end_seconds: float
    delay_seconds: float | None


@dataclass(frozen=True)
class AlertMetrics:
    """Alerts at a threshold, event by event.

    Attributes:
        threshold: Raw score from which a frame is anomalous.
        alerts_per_day: The requested budget of false alerts, from normal video only; None if the user gave the
            threshold.
        found: Number of true events with an alert.
        missed: Number of true events without one.
        right: Number of alerts that overlapped a true event when they were first raised.
        wrong: Number of alerts raised where nothing was abnormal.
        false_alerts_per_hour: Wrong alerts per hour of normal time; None without normal time.
        normal_seconds: Normal time watched.
        mean_delay_seconds: Mean time from an event's start to its alert; None if none was found.
        frame_true_positive_rate: Share of abnormal scored frames at or over the threshold.
        frame_false_positive_rate: Share of normal scored frames at or over the threshold; None if there are none.
        events: All true events.
        vouched_alerts_per_day: The budget that the threshold was set for. None: the requested one.
    """

    threshold: float
    alerts_per_day: float | None
    found: int
    missed: int
    right: int
    wrong: int
    false_alerts_per_hour: float | None
    normal_seconds: float
    mean_delay_seconds: float | None
    frame_true_positive_rate: float
    frame_false_positive_rate: float | None
    events: tuple[ClipEvent, ...] = ()
    vouched_alerts_per_day: float | None = None


@dataclass(frozen=True)
class Origin:
    """What produced the scores.

    Attributes:
        model: Name of the bundle; None for scores of another program.
        model_sha256: SHA-256 of its weights.
        detector: Name of its detector.
        engine: Engine, device, and precision that ran it.
        streamad: Version of streamad.
        selected_on_test_data: Whether anything was selected by looking at test data; None if not stated.
        selection: What was selected and how.
        seconds: Wall time of decoding and scoring, summed over clips; None if the scores came from a file.
        machine: Type and number of processors.
    """

    model: str | None = None
    model_sha256: str | None = None
    detector: str | None = None
    engine: str | None = None
    streamad: str = ""
    selected_on_test_data: bool | None = None
    selection: str = "not stated"
    seconds: float | None = None
    machine: str = ""


@dataclass(frozen=True)
class EvaluationRecord:
    """An evaluated data set. `save` writes it as JSON.

    Attributes:
        name: Name of the run, for comparisons.
        data_set: Name of the data set.
        label_set: The labels used.
        clips: One entry per test clip.
        protocols: Frame-level metrics, one entry per protocol.
        localization: None without pixel masks or anomaly maps.
        patches: The patch protocol; None without masks, or if the detector's cells are not patches.
        alerts: None without a calibration.
        origin: What produced the scores.
        notes: What readers must know.
    """

    name: str
    data_set: str
    label_set: str
    clips: tuple[ClipRecord, ...]
    protocols: tuple[Evaluation, ...]
    localization: Localization | None
    alerts: AlertMetrics | None
    origin: Origin
    patches: PatchMetrics | None = None
    notes: tuple[str, ...] = ()

    __pydantic_config__ = ConfigDict(extra="forbid")

    def save(self, path: Path) -> None:
        """Write the result as JSON, atomically.

        Raises:
            OutputError: The file cannot be written.
        """
        write_json(path, {"format": FORMAT, "version": VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> EvaluationRecord:
        """Read a file written by `save`; `path` may be the folder that contains `result.json`.

        Raises:
            DatasetError: The file is missing, damaged, or of another version.
        """
        file = path / "result.json" if path.is_dir() else path
        try:
            document: dict[str, Any] = read_json(file)
        except OSError as error:
            raise DatasetError(
                f"cannot read the result {file}: {error.strerror or error}",
                hint="specify a folder written by `streamad evaluate`",
            ) from error
        except ValueError as error:
            raise DatasetError(f"{file} is not a result of `streamad evaluate`: {error}") from error
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise DatasetError(f"{file} is not a result of `streamad evaluate`")
        version = document.pop("version", None)
        if version != VERSION:
            raise DatasetError(f"{file} has version {version}, only version {VERSION} is supported")
        try:
            return TypeAdapter(cls).validate_python(document)
        except ValidationError as error:
            raise DatasetError(f"{file} is damaged: {error.errors()[0]['msg']}") from error


INVERTED = 0.3
"""Micro AUC below which scores seem to mean the opposite; chance is 0.5."""


def inversion_note(protocols: Sequence[Evaluation]) -> tuple[str, ...]:
    """Return a note if a micro AUC is so low that the scores may be high for normal frames."""
    low = [f"{e.auc_micro:.4f} ({e.normalization})" for e in protocols if e.auc_micro < INVERTED]
    if not low:
        return ()
    return (
        f"A micro AUC is far below 0.5: {', '.join(low)}. Higher must mean more anomalous: are the scores inverted?",
    )


def protocols_of(
    scores: Sequence[np.ndarray],
    labels: Sequence[np.ndarray],
    *,
    names: Sequence[str],
    protocols: Sequence[Normalization] | None = None,
    calibration: Calibration | None = None,
    local: Sequence[np.ndarray] | None = None,
    edge: Edge = "leave_out",
    single_class: SingleClass = "leave_out",
) -> tuple[Evaluation, ...]:
    """Compute the frame-level metrics under each protocol.

    Args:
        scores: See `evaluate_scores`.
        labels: See `evaluate_scores`.
        names: Names of the videos.
        protocols: The protocols to compute. `calibrated` without a calibration takes the scores as already calibrated.
            Default: all, with `calibrated` only if a calibration is given.
        calibration: The calibration for `calibrated`.
        local: Scores of the same videos from a calibration with per-location statistics: `calibrated` uses these, and
            its metrics are named `local`.
        edge: See `evaluate_scores`.
        single_class: See `evaluate_scores`.

    Raises:
        DatasetError: See `evaluate_scores`.
    """
    wanted = protocols or [p for p in NORMALIZATIONS if p != "calibrated" or calibration is not None]
    figures = [
        evaluate_scores(
            local if local is not None and protocol == "calibrated" else scores,
            labels,
            normalization=protocol,
            calibration=calibration if protocol == "calibrated" else None,
            edge=edge,
            single_class=single_class,
            names=names,
        )
        for protocol in wanted
    ]
    if local is None:
        return tuple(figures)
    return tuple(replace(f, normalization="local") if f.normalization == "calibrated" else f for f in figures)
