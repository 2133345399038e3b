"""The result of evaluating a data set: every metric with the protocol, labels, and model that it belongs to."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ConfigDict, TypeAdapter, ValidationError

from streamad import __version__
from streamad.bundle import Bundle, combined_sha256
from streamad.calibration import AlertPolicy
from streamad.errors import DatasetError
from streamad.evaluation.events import labels_to_events, match_events
from streamad.evaluation.localization import Localization
from streamad.evaluation.patches import PatchMetrics
from streamad.evaluation.scored_clips import ScoredClip
from streamad.evaluation.scores import Evaluation
from streamad.files import read_json, write_json

FORMAT = "streamad-evaluation"
VERSION = 1

TOLERANCE_SECONDS = 1.0
"""Alerts this close to a true event match it; see `match_events`."""


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

    @classmethod
    def of(cls, clip: ScoredClip, *damage: str) -> ClipRecord:
        """The record of a scored clip, with further damage to it."""
        scored, abnormal = int((~np.isnan(clip.scores)).sum()), int(clip.labels.sum())
        return cls(clip.name, len(clip.scores), scored, abnormal, clip.seconds, (*clip.problems, *damage))


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

    @classmethod
    def of(cls, clips: Sequence[ScoredClip], policy: AlertPolicy) -> AlertMetrics:
        """Compare the alerts of all clips with their true intervals.

        A false alert is one that was raised where nothing was abnormal. A reopened alert can find an event, but does
        not count as a new alert, right or wrong.

        Raises:
            ValueError: A clip has no frame rate.
        """
        events: list[ClipEvent] = []
        alerts = wrong = 0
        normal = 0.0
        for clip in clips:
            if clip.fps is None:
                raise ValueError(f"clip {clip.name!r}: events need the frames a second")
            report = match_events(
                clip.alerts,
                labels_to_events(clip.labels, fps=clip.fps),
                tolerance_seconds=TOLERANCE_SECONDS,
                duration_seconds=len(clip.labels) / clip.fps,
            )
            alerts += len(clip.alerts) - len(clip.reopened)
            wrong += len(set(report.wrong_alerts) - clip.reopened)
            normal += report.normal_seconds or 0.0
            events += [ClipEvent(clip.name, e.start_seconds, e.end_seconds, e.delay_seconds) for e in report.events]
        delays = [event.delay_seconds for event in events if event.delay_seconds is not None]
        values = np.concatenate([clip.alert_scores for clip in clips])
        truth = np.concatenate([clip.labels for clip in clips])
        scored = ~np.isnan(values)
        over = values[scored] >= policy.threshold
        abnormal = truth[scored] > 0
        return cls(
            threshold=policy.threshold,
            alerts_per_day=None if policy.calibration is None else policy.calibration.alerts_per_day,
            found=len(delays),
            missed=len(events) - len(delays),
            right=alerts - wrong,
            wrong=wrong,
            false_alerts_per_hour=wrong / normal * 3600 if normal else None,
            normal_seconds=normal,
            mean_delay_seconds=float(np.mean(delays)) if delays else None,
            frame_true_positive_rate=float(over[abnormal].mean()) if abnormal.any() else 0.0,
            frame_false_positive_rate=float(over[~abnormal].mean()) if (~abnormal).any() else None,
            events=tuple(events),
            vouched_alerts_per_day=None if policy.calibration is None else policy.calibration.vouched_alerts_per_day,
        )


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

    @classmethod
    def of(cls, bundle: Bundle, clips: Sequence[ScoredClip]) -> Origin:
        """The origin of scores that a model gave these clips here."""
        training = bundle.manifest.training
        return cls(
            model=bundle.name,
            model_sha256=combined_sha256(bundle),
            detector=bundle.manifest.detector,
            engine="; ".join(sorted({clip.engine for clip in clips})),
            streamad=__version__,
            selected_on_test_data=training.selected_on_test_data,
            selection=f"{training.checkpoint}; seed {training.seed}, {training.epochs} epochs, {training.data}",
            seconds=sum(clip.seconds or 0.0 for clip in clips),
            machine=f"{platform.machine()}, {os.cpu_count()} processors",
        )


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
        part_of: Number of the data set's test clips if only some of them were evaluated, on purpose: such metrics are
            not comparable with those of all. None: all.
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
    part_of: int | None = None

    __pydantic_config__ = ConfigDict(extra="forbid")

    @property
    def part(self) -> str | None:
        """In words, which part of the test clips was evaluated; None: all."""
        return None if self.part_of is None else f"a part: {len(self.clips)} of {self.part_of} test clips"

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
