"""The demo: render a scene, calibrate on its normal part, watch the rest, compare every alert with the truth."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from streamad.alerts.store import EventStore
from streamad.alerts.tracker import EventChange
from streamad.calibration import AlertPolicySpec, Calibration
from streamad.config import Config, parse_config
from streamad.evaluation import EventReport, match_events, roc_auc
from streamad.files import write_atomic
from streamad.frame import Frame
from streamad.inference.model import open_model
from streamad.inference.session import ScoredFrame
from streamad.live.camera import CameraWatch
from streamad.live.monitor import Monitor
from streamad.progress import Progress, no_progress
from streamad.scoring import FrameScore
from streamad.sources import FileSpec
from streamad.synthetic_scene import SceneEvent, SceneTruth
from streamad.workflows.calibrate import calibrate_model
from streamad.workflows.score_writer import Recording, ScoreWriter

CAMERA = "walkway"

RULES = AlertPolicySpec(cooldown_seconds=3.0)
"""The demo's anomalies follow one another within seconds; the usual cooldown of 10 s would join them."""

TOLERANCE_SECONDS = 1.0
"""An alert this close to a true anomaly counts as having met it, as in `match_events`."""


@dataclass(frozen=True)
class DemoResult:
    """The end of a demo.

    Attributes:
        report: alerts against the truth.
        auc: frame AUC of the raw scores over the watched video.
        frames_per_second: watched frames a second of wall time.
        recording: CSV, plot and annotated video.
    """

    report: EventReport
    auc: float
    frames_per_second: float
    recording: Recording


@dataclass
class Watch:
    """Holds alerts against the truth while a scene is watched.

    Args:
        truth: the scene.
        tell: receives a line for every alert and every missed anomaly, as it happens.
    """

    truth: SceneTruth
    tell: Callable[[str], None]
    alerts: dict[str, tuple[float, float]] = field(default_factory=dict)
    _found: set[int] = field(default_factory=set)
    _over: set[int] = field(default_factory=set)

    @property
    def events(self) -> tuple[SceneEvent, ...]:
        """True anomalies of the watched video."""
        return self.truth.events_of(self.truth.testing[0])

    def on_event(self, change: EventChange) -> None:
        """An event opened, rose again, or closed."""
        event = change.event
        end = event.updated_pts_seconds if event.ended_pts_seconds is None else event.ended_pts_seconds
        self.alerts[event.id] = (event.raised_pts_seconds, end)
        if change.kind == "opened":
            self._tell_alert(f"ALERT {event.severity}", event.started_pts_seconds, event.raised_pts_seconds)
        elif event.reason == "reopened":
            self._tell_alert("ALERT again", event.updated_pts_seconds, event.updated_pts_seconds)
        elif change.kind == "closed" and self._truth_at(event.raised_pts_seconds, end) is None:
            self.tell(f"{end:6.1f} s  false alert: the one of {event.raised_pts_seconds:.1f} s met nothing unusual")

    def on_time(self, seconds: float) -> None:
        """The watched video reached this time."""
        for number, true in enumerate(self.events):
            if true.end_seconds + TOLERANCE_SECONDS < seconds and number not in self._over:
                self._over.add(number)
                met = any(_meets(true, start, end) for start, end in self.alerts.values())
                if number not in self._found and not met:
                    self.tell(f"{true.end_seconds:6.1f} s  missed: {true.kind} from {true.start_seconds:.1f} s")

    def boxes(self, frame: int) -> list[tuple[float, float, float, float]]:
        """True boxes of anomalies in a frame."""
        found = (e.boxes[frame - e.first_frame] for e in self.events if e.first_frame <= frame <= e.last_frame)
        return [box for box in found if box is not None]

    def _tell_alert(self, what: str, start: float, now: float) -> None:
        number = self._truth_at(start, now)
        if number is None:
            beside = "nothing unusual so far"
        else:
            true = self.events[number]
            beside = f"{true.kind} since {true.start_seconds:.1f} s: right"
            if number not in self._found:
                beside += f", {max(0.0, now - true.start_seconds):.1f} s after it began"
            self._found.add(number)
        self.tell(f"{now:6.1f} s  {what:14s}  truth: {beside}")

    def _truth_at(self, start: float, end: float) -> int | None:
        """Number of the first true anomaly that this span meets."""
        return next((number for number, true in enumerate(self.events) if _meets(true, start, end)), None)


def _meets(true: SceneEvent, start: float, end: float) -> bool:
    """Whether a span meets a true anomaly, with the tolerance of `match_events`."""
    return start < true.end_seconds + TOLERANCE_SECONDS and end > true.start_seconds - TOLERANCE_SECONDS


def calibrate_scene(
    truth: SceneTruth,
    model: str | Path,
    out: Path,
    *,
    alerts_per_day: float,
    trained_on: int = 0,
    progress: Progress = no_progress,
) -> Calibration:
    """Calibrate a bundle on the scene's normal part and write it beside the scene.

    Args:
        truth: the scene.
        model: the bundle.
        out: file of the calibration.
        alerts_per_day: the budget.
        trained_on: how many of the normal videos, from the first, the bundle was trained on; they are left out, since
            a network scores what it was trained on too low.
        progress: see `score_clips`.
    """
    with open_model(model, hint="throughput") as loaded:
        calibration = calibrate_model(
            loaded,
            [FileSpec(path=truth.file(video)) for video in truth.training[trained_on:]],
            source=f"rendered scene, seed {truth.seed}, normal part",
            fps=truth.fps,
            alerts_per_day=alerts_per_day,
            rules=RULES,
            progress=progress,
        )
    calibration.save(out)
    return calibration


def write_config(truth: SceneTruth, model: str | Path, calibration: Path, out: Path, *, port: int) -> Config:
    """The configuration that the demo runs; written so that `streamad run` can run it again."""
    document = {
        "version": 1,
        "model": str(model),
        "cameras": [
            {
                "id": CAMERA,
                "source": {"type": "file", "path": str(truth.file(truth.testing[0]))},
                "calibration": str(calibration),
            }
        ],
        "rules": {"cooldown_seconds": RULES.cooldown_seconds},
        "events": {"path": str(out.parent / "events.sqlite")},
        "web": {"host": "127.0.0.1", "port": port},
    }
    text = "# Written by `streamad demo`; run it again with `streamad run`.\n" + yaml.safe_dump(
        document, sort_keys=False
    )
    write_atomic(out, text)
    return parse_config(text, name=str(out))


def watch_scene(
    truth: SceneTruth,
    monitor: Monitor,
    watch: Watch,
    recorder: ScoreWriter,
) -> DemoResult:
    """Run a prepared monitor over the scene's live part; see `connect`."""
    started = time.monotonic()
    monitor.run(once=True)
    elapsed = time.monotonic() - started
    video = truth.testing[0]
    spans = [(e.start_seconds, e.end_seconds, e.kind) for e in watch.events]
    watch.on_time(float("inf"))
    report = match_events(
        list(watch.alerts.values()),
        spans,
        tolerance_seconds=TOLERANCE_SECONDS,
        duration_seconds=video.frames / truth.fps,
    )
    recording = recorder.finish(truth=spans)
    labels, raw = truth.labels_of(video), np.array([s.score for s in recorder.scores])
    kept = np.isfinite(raw)
    numbers = np.array([s.index for s in recorder.scores])
    auc = roc_auc(raw[kept], labels[numbers[kept]]) if 0 < labels[numbers[kept]].mean() < 1 else float("nan")
    return DemoResult(report, auc, video.frames / elapsed, recording)


def connect(
    truth: SceneTruth,
    config: Config,
    store: EventStore,
    folder: Path,
    tell: Callable[[str], None],
    *,
    video: bool = True,
    progress: Progress = no_progress,
) -> tuple[Monitor, Watch, ScoreWriter]:
    """A monitor of the scene whose scores and events reach a watch and a recorder."""
    watch = Watch(truth, tell)
    holder: list[ScoreWriter] = []
    total = truth.testing[0].frames

    def on_score(camera: CameraWatch, frame: Frame, score: FrameScore) -> None:
        watch.on_time(score.pts_seconds)
        holder[0].add(ScoredFrame(frame, score), truth_boxes=watch.boxes(frame.index))
        progress("watching", len(holder[0].scores), total)

    def on_event(change: EventChange) -> None:
        watch.on_event(change)
        holder[0].note(change)

    monitor = Monitor(config, store=store, on_score=on_score, on_event=on_event)
    camera = monitor.cameras[0]
    holder.append(ScoreWriter(folder, "watch", camera.model, camera.policy, fps=truth.fps if video else None))
    return monitor, watch, holder[0]
