"""What an evaluation of a data set found: every figure with the protocol, labels and model that it belongs to."""

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
from streamad.evaluation.patches import PatchFigures
from streamad.evaluation.scores import Edge, Evaluation, SingleClass, evaluate_scores
from streamad.files import read_json, write_json
from streamad.scoring import NORMALIZATIONS, Normalization

FORMAT = "streamad-evaluation"
VERSION = 1


@dataclass(frozen=True)
class ClipRecord:
    """One test clip.

    Attributes:
        name: the clip's.
        frames: its frames.
        scored: those with a score.
        abnormal: those labeled abnormal.
        seconds: wall time of decoding and scoring it; None where its scores came from a file.
        problems: damage that did not end the run.
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
        clip: name of its clip.
        start_seconds: its beginning, from the clip's.
        end_seconds: its end.
        delay_seconds: from its beginning to the alert that found it; None where none did.
    """

    clip: str
    start_seconds: float
    end_seconds: float
    delay_seconds: float | None


@dataclass(frozen=True)
class AlertMetrics:
    """Alerts at a threshold, event by event.

    Attributes:
        threshold: raw score from which a frame is anomalous.
        alerts_per_day: the budget of false alerts that it was set for, from normal video alone; None where somebody
            gave the threshold.
        found: true events with an alert.
        missed: true events without.
        right: alerts that stood in a true event when they were first raised.
        wrong: alerts that were raised where nothing was abnormal.
        false_alerts_per_hour: wrong alerts an hour of normal time; None without normal time.
        normal_seconds: normal time watched.
        mean_delay_seconds: from an event's beginning to its alert; None where none was found.
        frame_true_positive_rate: share of abnormal scored frames at or over the threshold.
        frame_false_positive_rate: share of normal scored frames at or over it; None where there are none.
        events: all true events.
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


@dataclass(frozen=True)
class Origin:
    """What made the scores.

    Attributes:
        model: name of the bundle; None for scores of another program.
        model_sha256: its hash.
        detector: its detector.
        engine: engine, device and precision that ran it.
        streamad: version of this program.
        selected_on_test_data: whether anything was picked by looking at test data; None where nobody says.
        selection: in words, what was picked and how.
        seconds: wall time of decoding and scoring, summed over clips; None where the scores came from a file.
        machine: processor and number of them.
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
        name: the run's name, for comparisons.
        data_set: the data set's.
        label_set: which labels.
        clips: one entry a test clip.
        protocols: frame-level figures, one entry a protocol.
        localization: None without pixel masks or heat maps.
        patches: the patch protocol; None for detectors whose cells are no patches, and without masks.
        alerts: None without a calibration.
        origin: what made the scores.
        notes: what a reader must know.
    """

    name: str
    data_set: str
    label_set: str
    clips: tuple[ClipRecord, ...]
    protocols: tuple[Evaluation, ...]
    localization: Localization | None
    alerts: AlertMetrics | None
    origin: Origin
    patches: PatchFigures | None = None
    notes: tuple[str, ...] = ()

    __pydantic_config__ = ConfigDict(extra="forbid")

    def save(self, path: Path) -> None:
        """Write it as JSON, atomically.

        Raises:
            OutputError: the file cannot be written.
        """
        write_json(path, {"format": FORMAT, "version": VERSION, **asdict(self)})

    @classmethod
    def load(cls, path: Path) -> EvaluationRecord:
        """Read what `save` wrote; `path` may be the folder that holds `result.json`.

        Raises:
            DatasetError: there is none, or it is damaged or of another version.
        """
        file = path / "result.json" if path.is_dir() else path
        try:
            document: dict[str, Any] = read_json(file)
        except OSError as error:
            raise DatasetError(
                f"cannot read the result {file}: {error.strerror or error}", hint="give a folder of `streamad evaluate`"
            ) from error
        except ValueError as error:
            raise DatasetError(f"{file} is no result of `streamad evaluate`: {error}") from error
        if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
            raise DatasetError(f"{file} is no result of `streamad evaluate`")
        version = document.pop("version", None)
        if version != VERSION:
            raise DatasetError(f"{file} is of version {version}, this streamad reads version {VERSION}")
        try:
            return TypeAdapter(cls).validate_python(document)
        except ValidationError as error:
            raise DatasetError(f"{file} is damaged: {error.errors()[0]['msg']}") from error


INVERTED = 0.3
"""Micro AUC under which scores seem to mean the opposite: at chance it is 0.5."""


def inversion_note(protocols: Sequence[Evaluation]) -> tuple[str, ...]:
    """A note where a micro AUC is so low that the scores may be high where everything is normal."""
    low = [f"{e.auc_micro:.4f} ({e.normalization})" for e in protocols if e.auc_micro < INVERTED]
    if not low:
        return ()
    return (
        f"A micro AUC far under 0.5: {', '.join(low)}. Higher must mean more anomalous; are these scores of normality?",
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
    """Frame-level figures under each protocol.

    Args:
        scores: see `evaluate_scores`.
        labels: see `evaluate_scores`.
        names: of the videos.
        protocols: those wanted, of which `calibrated` without a calibration takes the scores as calibrated ones; None:
            all, but `calibrated` only with a calibration.
        calibration: for `calibrated`.
        local: the scores of the same videos by a calibration with local statistics: `calibrated` takes these, and
            its figures are named `local`.
        edge: see `evaluate_scores`.
        single_class: see `evaluate_scores`.

    Raises:
        DatasetError: see `evaluate_scores`.
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
