"""The service behind `streamad run`: a monitor with its event store, sinks, score files and web page."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from streamad.alerts.evidence import picture_of
from streamad.alerts.sinks import Delivery, SinkContext, SinkFanout, build_sink
from streamad.alerts.store import AnyEvent, EventStore
from streamad.alerts.tracker import EventChange, utc_now
from streamad.config import Config, load_config
from streamad.formatting import counted
from streamad.frame import Frame
from streamad.live.camera import CameraWatch
from streamad.live.evidence import EvidenceRecorder
from streamad.live.monitor import CameraSummary, Monitor
from streamad.live.score_log import ScoreLog
from streamad.observability.health import Health
from streamad.observability.metrics import Metrics
from streamad.observability.status import StatusDocument
from streamad.observability.systemd import SystemdNotifier
from streamad.observability.timeline import ScoreTimeline
from streamad.scoring import FrameScore
from streamad.web import Logins, WebServer, create_app
from streamad.workflows.learn_on import LearningOn
from streamad.workflows.recalibrate import ScoreHistoryRecorder
from streamad.workflows.reload import Reloading
from streamad.workflows.tighten import Tightening
from streamad.writing import BackgroundWriter

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WatchResult:
    """Summary of a service that ended.

    Attributes:
        cameras: Summary of each camera's run.
        unsaved: Events that could not be stored, because the disk was full to the end.
        is_complete: Whether all outputs were written completely and no callback failed.
    """

    cameras: tuple[CameraSummary, ...]
    unsaved: tuple[AnyEvent, ...]
    is_complete: bool


def watch(
    config: str | Path | Config,
    *,
    path: Path | None = None,
    once: bool = False,
    scores: Path | None = None,
    on_score: Callable[[CameraWatch, Frame, FrameScore], None] | None = None,
    on_event: Callable[[EventChange], None] | None = None,
    on_start: Callable[[Monitor], None] | None = None,
    on_reloadable: Callable[[Reloading], None] | None = None,
    message: Callable[[str], None] = _log.info,
    metrics: Metrics | None = None,
    outputs: Sequence[BackgroundWriter[Any]] = (),
) -> WatchResult:
    """Watch the cameras of a configuration until stopped, with everything that `streamad run` does.

    `Monitor.stop`, which may be called from any thread, ends it cleanly; so does KeyboardInterrupt.

    Args:
        config: The configuration, or the path of its YAML file.
        path: The file of a configuration that was read already, for `reload`.
        once: End when every file has been read.
        scores: Folder for a table of every frame's score, one per camera. Default: no tables.
        on_score: Called with camera, frame and score for every frame, after its events.
        on_event: Called with every change of an event.
        on_start: Called with the monitor before it starts.
        on_reloadable: Called with what reloads the configuration, before it starts.
        message: Called with messages for the user.
        metrics: Metrics to update. Default: new ones.
        outputs: Additional writers to show in `/status`.

    Raises:
        ConfigError, BundleError, EngineError, CalibrationError: Before anything is started.
    """
    if not isinstance(config, Config):
        path = Path(config)
    settings = config if isinstance(config, Config) else load_config(Path(config))
    metrics, health, systemd = metrics or Metrics(), Health(), SystemdNotifier()
    logins = Logins(settings.web, events=settings.events.path)
    if settings.web.enabled:
        logins.check()
    with ExitStack() as stack:
        store = stack.enter_context(
            EventStore(
                settings.events.path,
                max_unsaved=settings.events.max_unsaved,
                on_error=lambda _: metrics.event_store_errors.inc(),
                on_outcome=partial(metrics.wrote, "events"),
            )
        )
        if store.interrupted:
            events = counted(store.interrupted, "event")
            message(f"{events} left open by a process that died: now `interrupted`")
        evidence = None
        if settings.evidence.enabled:
            evidence = stack.enter_context(
                EvidenceRecorder(settings.evidence, utc_now, on_outcome=partial(metrics.wrote, "evidence"))
            )
        context = SinkContext(
            cameras=tuple(camera.id for camera in settings.cameras),
            picture_of=None if evidence is None else partial(picture_of, settings.evidence.folder),
            users=settings.web.users,
        )
        sinks = SinkFanout(
            [build_sink(spec, settings.outbox, context) for spec in settings.sinks], on_outcome=metrics.notified
        )
        stack.callback(sinks.close)
        for event in store.interrupted_events:
            sinks.emit(event, "closed")  # for receivers that were notified of its start
        log = None
        if scores is not None:
            log = stack.enter_context(ScoreLog(scores, on_outcome=partial(metrics.wrote, "scores")))
        history = ScoreHistoryRecorder(settings.history, utc_now, on_outcome=partial(metrics.wrote, "history"))
        stack.callback(history.close)

        timeline, listeners = ScoreTimeline(), list[Callable[[EventChange], None]]()

        def take_score(camera: CameraWatch, frame: Frame, score: FrameScore) -> None:
            history.on_score(camera, score)
            shown, threshold = map(camera.policy.display_score, (score.score, camera.policy.threshold))
            timeline.add(camera.spec.id, shown, threshold)
            tightening.on_score(camera)
            if log is not None:
                latency = time.monotonic() - score.received_at
                log.add(camera.spec.id, score, shown=shown, latency_seconds=latency)
            if on_score is not None:
                on_score(camera, frame, score)

        def take_event(change: EventChange) -> None:
            history.on_event(change)
            for listener in listeners:
                listener(change)
            if on_event is not None:
                on_event(change)

        def refresh() -> None:
            systemd.alive()
            learning.on_refresh()
            for writer in (*writers, learning.writer, *outputs):
                metrics.queue_length.labels(queue=writer.name).set(writer.status()["waiting"])

        monitor = Monitor(
            settings,
            metrics=metrics,
            health=health,
            store=store,
            sinks=sinks,
            evidence=evidence,
            on_score=take_score,
            on_event=take_event,
            on_refresh=refresh,
        )
        learning = LearningOn(settings, monitor, utc_now, on_outcome=partial(metrics.wrote, "learning"))
        stack.callback(learning.close)
        tightening = Tightening(settings, monitor.cameras, utc_now)
        stack.callback(tightening.close)
        reloading = Reloading(
            path, monitor, sinks=sinks, metrics=metrics, learning=learning, tightening=tightening, history=history
        )
        writers: list[BackgroundWriter[Any] | Delivery] = [
            store.writer,
            history.writer,
            *([] if log is None else [log.writer]),
            *([] if evidence is None else [evidence.writer]),
            *sinks.writers,
        ]

        def status() -> StatusDocument:
            shown = (*writers, learning.writer, *outputs)
            document = monitor.status()
            for camera in document["cameras"]:
                camera["learning"] = learning.describe(camera["id"])
            return {**document, "outputs": [writer.status() for writer in shown]}

        def camera_settings(camera: str) -> dict[str, Any] | None:
            found = monitor.settings(camera)
            return None if found is None else {**found, "is_editable": reloading.is_editable}

        if settings.web.enabled:
            app = create_app(
                metrics=metrics,
                health=health,
                status=status,
                store=store,
                preview=monitor.preview,
                evidence=settings.evidence.folder if settings.evidence.enabled else None,
                logins=logins,
                push=None if settings.push is None else settings.push.subscriptions(settings.web.users),
                configuration=reloading,
                camera_settings=camera_settings,
                timeline=timeline,
                budgets=monitor.budgets,
            )
            listeners.append(app.state.feed.on_event)
            server = stack.enter_context(WebServer(app, settings.web))
            message(f"page, /metrics, /healthz, /readyz, /status: {server.url}")
        if on_start is not None:
            on_start(monitor)
        if on_reloadable is not None:
            on_reloadable(reloading)
        cameras = monitor.run(once=once)
        systemd.stopping()
        unsaved = store.unsaved()
        for event in unsaved:  # closing the store raises an error, so they are reported before
            message(f"not stored: {event.to_json()}")
    is_complete = monitor.first_error is None and not any(writer.dropped for writer in writers)
    return WatchResult(tuple(cameras), tuple(unsaved), is_complete)
