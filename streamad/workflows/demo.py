"""The demo: learn the normal part of a rendered scene, watch the rest, and compare every alert with the truth."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import yaml

from streamad.alerts.store import EventStore
from streamad.alerts.tracker import EventChange
from streamad.calibration import AlertPolicySpec
from streamad.config import Config, parse_config
from streamad.evaluation import EventReport, match_events, roc_auc
from streamad.files import write_atomic
from streamad.frame import Frame
from streamad.inference.session import ScoredFrame
from streamad.live.camera import CameraWatch
from streamad.live.monitor import Monitor
from streamad.protocols import Progress, no_progress
from streamad.scoring import FrameScore
from streamad.sources import FileSpec
from streamad.synthetic_scene import SceneEvent, SceneTruth
from streamad.workflows.learn import (
    RECORDINGS,
    Learned,
    LearnPlan,
    RecordingStore,
    capture,
    finished,
    learn,
    require_enough,
)
from streamad.workflows.score_writer import Recording, ScoreWriter

CAMERA = "walkway"

RULES = AlertPolicySpec(cooldown_seconds=3.0)
"""The demo's anomalies follow one another within seconds; the default cooldown of 10 s would merge their alerts."""

TOLERANCE_SECONDS = 1.0
"""An alert this close to a true anomaly counts as matching it, as in `match_events`."""


@dataclass(frozen=True)
class DemoResult:
    """Result of a demo.

    Attributes:
        report: Alerts compared with the true anomalies.
        auc: Frame AUC of the raw scores over the watched video; NaN if it has only one class.
        frames_per_second: Watched frames per second of wall time.
        recording: CSV, plot and annotated video.
    """

    report: EventReport
    auc: float
    frames_per_second: float
    recording: Recording


@dataclass
class Watch:
    """Compares alerts with the truth while a scene is watched.

    Args:
        truth: The scene.
        tell: Called with a line for every alert and every missed anomaly, as it happens.
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
        """Handle an event that opened, changed or closed."""
        event = change.event
        end = event.updated_pts_seconds if event.ended_pts_seconds is None else event.ended_pts_seconds
        self.alerts[event.id] = (event.raised_pts_seconds, end)
        if change.kind == "opened":
            self._tell_alert(f"ALERT {event.severity}", event.raised_pts_seconds)
        elif event.reason == "reopened":
            self._tell_alert("ALERT again", event.updated_pts_seconds)
        elif change.kind == "closed" and self._truth_at(event.raised_pts_seconds, end) is None:
            self.tell(f"{end:6.1f} s  false alert: the one of {event.raised_pts_seconds:.1f} s met nothing unusual")

    def on_time(self, seconds: float) -> None:
        """Handle the progress of the watched video to this time, and report missed anomalies."""
        for number, true in enumerate(self.events):
            if true.end_seconds + TOLERANCE_SECONDS < seconds and number not in self._over:
                self._over.add(number)
                met = any(_meets(true, start, end) for start, end in self.alerts.values())
                if number not in self._found and not met:
                    self.tell(f"{true.end_seconds:6.1f} s  missed: {true.kind} from {true.start_seconds:.1f} s")

    def boxes(self, frame: int) -> list[tuple[float, float, float, float]]:
        """Return the true boxes of the anomalies in a frame."""
        found = (e.boxes[frame - e.first_frame] for e in self.events if e.first_frame <= frame <= e.last_frame)
        return [box for box in found if box is not None]

    def _tell_alert(self, what: str, now: float) -> None:
        number = self._truth_at(now, now)
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
        """Return the number of the first true anomaly that matches this interval; None if there is none."""
        return next((number for number, true in enumerate(self.events) if _meets(true, start, end)), None)


def _meets(true: SceneEvent, start: float, end: float) -> bool:
    """Whether an interval matches a true anomaly, with the tolerance of `match_events`."""
    return start < true.end_seconds + TOLERANCE_SECONDS and end > true.start_seconds - TOLERANCE_SECONDS


def learn_scene(
    truth: SceneTruth, out: Path, *, alerts_per_day: float = 1.0, progress: Progress = no_progress
) -> Learned:
    """Learn the scene's normal part as `streamad learn` does from files, with the default detector and options.

    Args:
        truth: The scene.
        out: Folder of the model; existing content is replaced.
        alerts_per_day: Budget of false alerts.
        progress: Called with each stage's name, the steps done, and their total.
    """
    shutil.rmtree(out, ignore_errors=True)
    source = f"rendered scene, seed {truth.seed}, normal part"
    recordings = RecordingStore(out / RECORDINGS)
    wanted = sum(video.frames for video in truth.training) / truth.fps
    found = capture(
        [FileSpec(path=truth.file(video)) for video in truth.training],
        recordings,
        seconds=None,
        profile="day",
        words=source,
        max_bytes=0,  # keep nothing: a later run learns the whole scene again
        given_seconds=wanted,
        progress=lambda _, done, __: progress("checking", round(done), round(wanted)),
    )
    require_enough(found, recordings)
    plan = LearnPlan(CAMERA, alerts_per_day=alerts_per_day, data=source, license="Apache-2.0, rendered by this project")
    learned = learn(plan, recordings, out, place=found.place, survey=found.survey, rules=RULES, progress=progress)
    finished(recordings, found)
    return learned


def write_config(truth: SceneTruth, model: str | Path, out: Path, *, port: int) -> Config:
    """Write the demo's configuration to `out`, so that `streamad run` can run it again, and return it."""
    document = {
        "version": 1,
        "model": str(model),
        "cameras": [
            {
                "id": CAMERA,
                "source": {"type": "file", "path": str(truth.file(truth.testing[0]))},
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
    """Run a monitor from `connect` over the scene's live part, and compare its alerts with the truth."""
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
    """Create a monitor of the scene, with a watch and a score writer that receive its scores and events."""
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
