"""The monitor: watches cameras, or files as if they were cameras, until stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from streamad import __version__
from streamad.alerts.event import Event
from streamad.alerts.health import HealthChange
from streamad.alerts.sinks import SinkFanout
from streamad.alerts.store import EventStore
from streamad.alerts.tracker import EventChange, utc_now
from streamad.bundle import Bundle
from streamad.calibration import AlertPolicy
from streamad.config import CameraSpec, Config
from streamad.errors import StreamadError
from streamad.formatting import counted
from streamad.frame import Frame
from streamad.inference.alerting import resolve_policy
from streamad.inference.frame_queue import FrameQueue, Scored
from streamad.inference.model import Model, open_model
from streamad.inference.session import WINDOW
from streamad.live.camera import CameraWatch
from streamad.live.color_picture import picture_of_now
from streamad.live.config_change import ConfigChange
from streamad.live.evidence import EvidenceRecorder
from streamad.live.faults import FaultLog
from streamad.observability.health import Health
from streamad.observability.metrics import Metrics
from streamad.observability.status import (
    CameraStatus,
    EngineStatus,
    EventsStatus,
    EvidenceSourceStatus,
    ModelStatus,
    StatusDocument,
)
from streamad.scoring import FrameScore
from streamad.sources import SupervisedSource, stop_all, wait_any

_log = logging.getLogger(__name__)

ENGINE_WAIT_SECONDS = 0.005
"""Longest wait for the engine before the sources are polled again."""

LIVE_IN_FLIGHT = 2
"""Maximum number of a live camera's frames in the engine. Others wait in the decoder's ring, where the newest replaces
the oldest. Each camera has its own limit, so that none takes the share of others."""

FILE_IN_FLIGHT = 32
"""The same for files, where nothing is dropped and throughput matters."""

FEW_SLOTS = 6
"""Number of a camera's frames that may wait for the main loop."""

REFRESH_SECONDS = 0.5

STOP_SECONDS = 2.0
"""Longest wait at the end for the decoder of a camera that was removed."""


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """Summary of one camera's run.

    Attributes:
        camera: The configured id.
        frames: Number of frames decoded.
        scored: Number of frames that left the engine, including those without a score.
        skipped: Number of frames without a score, by cause ("warming_up", "quality:dark").
        dropped: Number of frames dropped before the engine.
        alerts: Number of alerts opened.
        error: Why the camera failed; None if it did not.
    """

    camera: str
    frames: int
    scored: int
    skipped: Mapping[str, int]
    dropped: int
    alerts: int
    error: StreamadError | None


class Monitor:
    """Watches all cameras of a configuration in one loop.

    Args:
        config: The checked configuration.
        metrics: Where metrics go.
        health: Receives readiness and ticks.
        store: Where events are kept. Default: nowhere.
        sinks: Where events are sent.
        evidence: Collects evidence of events. The caller closes it after `run`.
        on_score: Called with (camera, frame, score) for every frame, in the main loop's thread, after its events.
        on_event: Called with every change of an event, in the main loop's thread.
        on_health: Called with every change of a health event, likewise.
        on_refresh: Called about twice a second in the main loop's thread, between two frames.
        wall_clock: Aware datetimes, for events.

    Exceptions from a camera's frames affect only that camera (`streamad.live.faults`). Exceptions from callbacks, the
    event store and sinks are logged and counted, and the loop continues; `first_error` keeps the first of them.

    Raises:
        BundleError, EngineError, CalibrationError: Before anything is started.
    """

    def __init__(
        self,
        config: Config,
        *,
        metrics: Metrics | None = None,
        health: Health | None = None,
        store: EventStore | None = None,
        sinks: SinkFanout | None = None,
        evidence: EvidenceRecorder | None = None,
        on_score: Callable[[CameraWatch, Frame, FrameScore], None] | None = None,
        on_event: Callable[[EventChange], None] | None = None,
        on_health: Callable[[HealthChange], None] | None = None,
        on_refresh: Callable[[], None] | None = None,
        wall_clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.metrics = metrics or Metrics()
        self.health = health or Health()
        self._store = store
        self._sinks = sinks or SinkFanout([])
        self._evidence = evidence
        self._on_score = on_score
        self._on_event = on_event
        self._on_health = on_health
        self._on_refresh = on_refresh
        self._stop = threading.Event()
        self._started = time.monotonic()
        self._config = config
        self._models: dict[str, Model] = {}
        self._batchers: dict[str, FrameQueue] = {}
        self._batcher_of: dict[str, FrameQueue] = {}
        self._alerts: dict[str, int] = {}
        self._wall_clock = wall_clock
        self._calls: deque[Callable[[], None]] = deque()
        self._finished: set[str] = set()
        self._retiring: list[tuple[CameraWatch, threading.Thread]] = []
        self._fault_log = FaultLog()
        self.first_error: Exception | None = None
        """The first exception from a callback, the event store or a sink; None if there was none."""
        self.health.set_ready("config")
        try:
            self.cameras = [self._camera(config, spec) for spec in config.cameras]
        except BaseException:
            self._close_models()
            raise
        if evidence is not None:
            evidence.attach(self.cameras)
        self._turns = list(self.cameras)
        self._overloaded = False
        self._last_status = {camera.spec.id: camera.status() for camera in self.cameras}
        self._by_id = {camera.spec.id: camera for camera in self.cameras}

    def stop(self) -> None:
        """End `run` after the current round; can be called from any thread or a signal handler."""
        self._stop.set()

    @property
    def config(self) -> Config:
        """The configuration that is active now."""
        return self._config

    def model(self, name: str) -> Model | None:
        """The open model of a name in the configuration; None if it is not open."""
        return self._models.get(name)

    def call(self, work: Callable[[], None]) -> None:
        """Have something done in the main loop's thread, between two frames; can be called from any thread."""
        self._calls.append(work)

    def run(self, *, once: bool = False) -> list[CameraSummary]:
        """Watch until `stop`, or with `once` until every source has ended.

        Returns:
            One summary per camera.
        """
        with ExitStack() as stack:
            stack.callback(self._sinks.close)
            stack.callback(self._close_models)
            stack.callback(self._stop_sources)
            for model in self._models.values():
                model.warm_up()
            self.health.set_ready("model")
            for camera in self.cameras:
                camera.source.start()
            refreshed = 0.0
            while not self._stop.is_set():
                while self._calls:
                    with self._surviving("reload"):
                        self._calls.popleft()()
                self._round(self._finished)
                self.health.tick()
                now = time.monotonic()
                if now - refreshed >= REFRESH_SECONDS:
                    refreshed = now
                    self._refresh()
                if once and len(self._finished) == len(self.cameras):
                    break
            for camera in self.cameras:
                if camera.spec.id not in self._finished:
                    self._drain()
                    self._finish(camera)
            self._refresh()
            return [self._summary(camera) for camera in self.cameras]

    def use_model(self, camera: CameraWatch, model: Model, policy: AlertPolicy) -> bool:
        """Watch a camera with another model from its next frame on, and close the one before.

        To be called from `on_refresh`.

        Args:
            camera: The only camera of its model.
            model: A model with the same inputs and score, which is now this object's to close.
            policy: Its policy.

        Returns:
            Whether it was replaced; False while an alert is under way.

        Raises:
            ValueError: Other cameras have the same model, or its inputs or score are defined in another way.
        """
        name = self._config.model_of(camera.spec)
        if [self._config.model_of(other.spec) for other in self.cameras].count(name) > 1:
            raise ValueError(f"camera {camera.spec.id} shares its model with other cameras")
        self._handle(self._batchers[name].drain())
        if camera.session.alert_state != "idle":
            return False
        queue = model.queue(self._batch_done)
        camera.use_model(model, policy, queue)
        old, self._models[name] = self._models[name], model
        self._batchers[name] = self._batcher_of[camera.spec.id] = queue
        old.close()
        self._publish_models()
        return True

    def change(
        self,
        config: Config,
        change: ConfigChange,
        *,
        models: Mapping[str, Model],
        policies: Mapping[str, Mapping[str | None, AlertPolicy]],
    ) -> None:
        """Watch by another configuration; cameras that it does not touch keep their decoders, frames and events.

        To be called in the main loop's thread (`call`). Nothing here may fail: what can is prepared before.

        Args:
            config: The new configuration.
            change: What is different.
            models: Opened models, by name, that cameras need and that are not open yet, or that replace one whose
                cameras are all restarted or removed; now this object's to close.
            policies: See `CameraWatch`; for each camera that is added, restarted or changed.
        """
        replaced = [self._models[name] for name in models if name in self._models]
        for name, model in models.items():
            self._open(name, model)
        for name in (*change.removed, *change.restarted):
            self._retire(self._by_id[name])
        specs = {spec.id: spec for spec in config.cameras}
        for name in change.changed:
            camera = self._by_id[name]
            with self._isolated(camera):
                self._publish(camera.reconfigure(specs[name], policies[name]))
        self._config = config
        cameras = {camera.spec.id: camera for camera in self.cameras}
        for name in (*change.added, *change.restarted):
            cameras[name] = self._camera(config, specs[name], policies[name])
        if self._evidence is not None:
            self._evidence.attach([cameras[name] for name in (*change.added, *change.restarted)])
        self._by_id = {name: cameras[name] for name in specs}
        self.cameras = list(self._by_id.values())
        self._turns = list(self.cameras)
        for name in (*change.added, *change.restarted):
            cameras[name].source.start()
        for model in replaced:
            model.close()
        self._close_unused()
        self._publish_models()

    def _retire(self, camera: CameraWatch) -> None:
        """End a camera that is no longer watched; its decoder ends in a thread, since that may take a second."""
        name = camera.spec.id
        if name not in self._finished:
            self._handle(self._batcher_of[name].drain())
            self._finish(camera)
        self._batcher_of[name].forget(name)
        self._finished.discard(name)
        self.cameras = [other for other in self.cameras if other is not camera]
        if self._evidence is not None:
            self._evidence.detach(camera)
        thread = threading.Thread(target=camera.source.stop, name=f"stop {name}", daemon=True)
        self._retiring.append((camera, thread))
        thread.start()

    def _close_unused(self) -> None:
        used = {self._config.model_of(spec) for spec in self._config.cameras}
        for name in [name for name in self._models if name not in used]:
            self._handle(self._batchers.pop(name).drain())
            self._models.pop(name).close()
        for camera in [name for name in self._batcher_of if name not in self._by_id]:
            del self._batcher_of[camera]
            self._last_status.pop(camera, None)
            self._alerts.pop(camera, None)

    def _forget_retired(self) -> None:
        """Delete the series of removed cameras once their decoders have ended."""
        for camera, thread in [pair for pair in self._retiring if not pair[1].is_alive()]:
            self._retiring.remove((camera, thread))
            if camera.spec.id not in self._by_id:
                self.metrics.remove_camera(camera.spec.id)

    def _stop_sources(self) -> None:
        for _, thread in self._retiring:
            thread.join(STOP_SECONDS)
        stop_all([camera.source for camera in self.cameras])

    def keep_alive(self) -> None:
        """After `run`: keep the endpoints healthy until `stop` or an interrupt."""
        while not self._stop.wait(0.5):
            self.health.tick()

    def status(self) -> StatusDocument:
        """Return the document of `/status`; safe from any thread."""
        models = list(self._models.values())
        info = models[0].engine.info
        bundles = [model.bundle for model in models]
        uptime = time.monotonic() - self._started
        return StatusDocument(
            version=__version__,
            started_at=time.time() - uptime,
            uptime_seconds=uptime,
            overloaded=self._overloaded,
            engine=EngineStatus(name=info.name, device=info.device, precision=info.precision, why=info.why),
            models=[ModelStatus(name=b.name, sha256=b.sha256, detector=b.manifest.detector) for b in bundles],
            cameras=[self._camera_status(camera) for camera in self.cameras],
            events=self._events_status(),
        )

    def settings(self, camera: str) -> dict[str, Any] | None:
        """Return how a camera is watched (`CameraWatch.settings`); None if there is no such camera. Thread-safe."""
        watch = self._by_id.get(camera)
        return None if watch is None else watch.settings()

    def budgets(self, camera: str) -> list[dict[str, float]] | None:
        """Return budgets of false alerts to choose from for a camera (`CameraWatch.budgets`);
        None if there is no such camera. Thread-safe.
        """
        watch = self._by_id.get(camera)
        return None if watch is None else watch.budgets()

    def preview(self, camera: str, *, has_map: bool = False) -> bytes | None:
        """Return a camera's newest picture as JPEG; None if there is none that JPEG can hold. Thread-safe.

        In color, if somebody looked in the last seconds: decoders make color pictures on demand. Otherwise, and for
        sources without color, the newest frame as it was scored.

        Args:
            camera: The camera's id.
            has_map: Whether the anomaly map is drawn over it.
        """
        watch = self._by_id.get(camera)
        return None if watch is None else picture_of_now(watch, has_map=has_map)

    def _events_status(self) -> EventsStatus:
        store = self._store
        if store is None:
            return EventsStatus(total=sum(self._alerts.values()), path=None, error=None)
        error: Exception | None = store.error
        try:
            total = store.count()
        except Exception as unreadable:  # noqa: BLE001 - the cameras' status matters more; the error is shown
            total, error = sum(self._alerts.values()), error or unreadable
        return EventsStatus(total=total, path=str(store.path), error=None if error is None else str(error))

    def _camera_status(self, camera: CameraWatch) -> CameraStatus:
        """Return a camera's status; the previous one if it fails, so that one camera never hides the others."""
        try:
            status = camera.status()
            status["evidence_source"] = self._evidence_source(camera)
            self._last_status[camera.spec.id] = status
        except Exception as error:  # noqa: BLE001 - read by the web thread while the main loop runs
            self._fault_log.report(f"status of camera {camera.spec.id}", error)
        return self._last_status[camera.spec.id]

    def _evidence_source(self, camera: CameraWatch) -> EvidenceSourceStatus | None:
        return None if self._evidence is None else self._evidence.source_status(camera.spec.id)

    def _open(self, name: str, model: Model) -> None:
        self._batchers[name] = model.queue(self._batch_done)
        self._models[name] = model
        self._publish_models()
        info, bundle = model.engine.info, model.bundle
        _log.info("model %s on %s %s %s: %s", bundle.name, info.name, info.device, info.precision, info.why)

    def _camera(
        self, config: Config, spec: CameraSpec, policies: Mapping[str | None, AlertPolicy] | None = None
    ) -> CameraWatch:
        name = config.model_of(spec)
        if name not in self._models:
            self._open(name, open_model_of(config, name))
        policies = policies or policies_of(config, spec, self._models[name].bundle)
        self._batcher_of[spec.id] = self._batchers[name]
        self._alerts.setdefault(spec.id, 0)
        recording = None if self._evidence is None else self._evidence.recording(policies[None])
        return CameraWatch(
            spec,
            SupervisedSource(
                spec.id, spec.source, config.reconnect, slots=_slots(self._models[name]), recording=recording
            ),
            self._models[name],
            policies,
            self.metrics.camera(spec.id),
            queue=self._batchers[name],
            quality=config.quality_of(spec),
            drift=config.drift,
            wall_clock=self._wall_clock,
        )

    def _publish_models(self) -> None:
        self.metrics.set_models(
            {
                "model": model.bundle.name, "sha256": model.bundle.sha256, "detector": model.bundle.manifest.detector,
                "engine": model.engine.info.name, "device": model.engine.info.device,
                "precision": model.engine.info.precision, "why": model.engine.info.why,
            }
            for model in self._models.values()
        )  # fmt: skip

    def _round(self, finished: set[str]) -> None:
        """Take frames that arrived, start batches that are due, publish scores that are done.

        Cameras take turns: each gives one frame a round, those that had to wait come first in the next, and none has
        more than its share of frames in the engine. On an overloaded machine all cameras thus lose frames alike. A
        queue that got no frame in a round starts its incomplete batch, and one that keeps getting frames does so when
        its batch window ends: neither waits for the cameras of another model.
        """
        fed: set[FrameQueue] = set()
        served: list[CameraWatch] = []
        for camera in self._turns:
            batcher = self._batcher_of[camera.spec.id]
            with self._isolated(camera):
                if self._take(camera, batcher):
                    fed.add(batcher)
                    served.append(camera)
            for other in fed:
                other.flush_due()
        self._turns = [camera for camera in self._turns if camera not in served] + served
        for batcher in self._batchers.values():
            batcher.flush_due(idle=batcher not in fed)
        busy = [batcher for batcher in self._batchers.values() if batcher.waiting]
        for batcher in busy:
            self._handle(batcher.ready() if fed else batcher.wait(ENGINE_WAIT_SECONDS))
        for camera in self.cameras:
            if camera.source.over and camera.spec.id not in finished:
                self._drain()
                self._finish(camera)
                self._report_end(camera)
                finished.add(camera.spec.id)
        if not fed and not busy and not self._stop.is_set():
            wait_any([camera.source for camera in self.cameras if not camera.source.over], 0.1)

    def _take(self, camera: CameraWatch, batcher: FrameQueue) -> bool:
        """Give the camera's next frame to its queue; return whether there was one and room for it."""
        is_live = camera.source.spec.drops
        most = LIVE_IN_FLIGHT if is_live else FILE_IN_FLIGHT
        if batcher.waiting_of(camera.spec.id) >= most or (is_live and batcher.is_busy):
            return False
        frame = camera.poll()
        if frame is None:
            return False
        camera.take(frame)
        self._publish_health(camera)
        return True

    @contextmanager
    def _isolated(self, camera: CameraWatch, *, scoring: bool = False) -> Iterator[None]:
        """Contain exceptions from a camera's frames: the camera starts over or is given up; the others continue.

        Args:
            camera: The camera whose frames are processed.
            scoring: Whether a score is being handled, so that the scorer failed on earlier frames.
        """
        try:
            yield
        except Exception as error:  # noqa: BLE001 - one camera's fault must not affect the others
            self._fault_log.report(f"camera {camera.spec.id}", error)
            if not camera.source.spec.drops and not scoring:
                self._drain()  # nothing of a file is lost: earlier frames keep their scores
            give_up = camera.faults.note(error)
            try:
                self._publish(camera.reset())
            except Exception as again:  # noqa: BLE001 - a camera that cannot even start over is given up
                self._fault_log.report(f"camera {camera.spec.id}, beginning again", again)
                give_up = True
            if give_up:
                self._give_up(camera)
            self._publish_health(camera)

    @contextmanager
    def _surviving(self, part: str) -> Iterator[None]:
        """Log and count exceptions from a part that watching can do without."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - no output may end the watch
            self.first_error = self.first_error or error
            self.metrics.internal_errors.labels(part=part).inc()
            self._fault_log.report(part.replace("_", " "), error)

    def _drain(self) -> None:
        for batcher in self._batchers.values():
            self._handle(batcher.drain())

    def _handle(self, finished: Sequence[Scored]) -> None:
        begun_again: set[str] = set()
        for scored in finished:
            camera = self._by_id[scored.score.camera]
            if camera.spec.id in begun_again:
                continue  # of a discarded state
            scorer = camera.session.scorer
            with self._isolated(camera, scoring=True):
                self._handle_one(camera, scored)
            if camera.session.scorer is not scorer:
                begun_again.add(camera.spec.id)

    def _handle_one(self, camera: CameraWatch, scored: Scored) -> None:
        if scored.error is not None and scored.is_broken:
            raise scored.error
        for result in camera.receive(scored):
            self._publish(result.changes)
            self._publish_health(camera)
            if result.score.skipped_reason == WINDOW:
                continue
            if self._evidence is not None:
                with self._surviving("evidence"):
                    self._evidence.on_score(camera, result.frame, result.score)
            if self._on_score is not None:
                with self._surviving("score_callback"):
                    self._on_score(camera, result.frame, result.score)
        if scored.error is not None:  # of the engine: the scorer skipped the frame, and its state is valid
            self.metrics.inference_errors.labels(engine=camera.model.engine.info.name).inc()
            self._fault_log.report(f"camera {camera.spec.id}, frame not scored", scored.error)
            if camera.faults.note(scored.error):
                self._give_up(camera)

    def _publish(self, changes: Sequence[EventChange]) -> None:
        for change in changes:
            event: Event = change.event
            if change.kind == "opened":
                self._alerts[event.camera] += 1
            if self._store is not None:
                with self._surviving("event_store"):
                    self._store.save(event)
            if self._evidence is not None:
                with self._surviving("evidence"):
                    self._evidence.on_event(change)
            with self._surviving("sinks"):
                self._sinks.emit(event, change.kind)
            if self._on_event is not None:
                with self._surviving("event_callback"):
                    self._on_event(change)

    def _finish(self, camera: CameraWatch) -> None:
        with self._isolated(camera):
            self._publish(camera.finish())
            camera.drift.finish()
        camera.health.finish()
        self._publish_health(camera)

    def _publish_health(self, camera: CameraWatch) -> None:
        for change in camera.health.changes():
            if self._store is not None:
                with self._surviving("event_store"):
                    self._store.save(change.event)
            if not change.is_progress:
                with self._surviving("sinks"):
                    self._sinks.emit(change.event, change.kind)
            if self._on_health is not None:
                with self._surviving("health_callback"):
                    self._on_health(change)

    def _refresh(self) -> None:
        load_changed = False
        for camera in self.cameras:
            with self._isolated(camera):
                load_changed |= camera.refresh()
                self._publish(camera.keep_hours())
                if not self._batcher_of[camera.spec.id].waiting_of(camera.spec.id):
                    self._publish(camera.tick())
                    self._publish_health(camera)
        if load_changed:
            self._report_load()
        self._forget_retired()
        if self._on_refresh is not None:
            with self._surviving("refresh_callback"):
                self._on_refresh()
        waiting = sum(batcher.waiting for batcher in self._batchers.values())
        self.metrics.queue_length.labels(queue="engine").set(waiting)
        if self._store is not None:
            with self._surviving("event_store"):
                self._store.flush()
        if self._evidence is not None:
            with self._surviving("evidence"):
                self._evidence.refresh()
                for camera in self.cameras:
                    second = self._evidence_source(camera)
                    is_up = None if second is None else second["state"] == "up"
                    self.metrics.camera(camera.spec.id).set_evidence_source_up(is_up)

    def _report_load(self) -> None:
        """Log once that the machine falls behind, and once that it keeps up again."""
        behind = [camera.spec.id for camera in self.cameras if camera.overload.is_active]
        if bool(behind) == self._overloaded:
            return
        self._overloaded = bool(behind)
        self.metrics.overloaded.set(1 if behind else 0)
        if behind:
            _log.warning(
                "this machine does not keep up with %s: frames are dropped, evenly among cameras; fewer cameras, a "
                "lower frame rate or a lighter model would help (docs/results/performance.md)",
                counted(len(self.cameras), "camera"),
            )
        else:
            _log.info("this machine keeps up with all cameras again")

    def _batch_done(self, tiles: int, seconds: float) -> None:
        self.metrics.batch_size.observe(tiles)
        self.metrics.stage_duration.labels(stage="inference").observe(seconds)

    def _give_up(self, camera: CameraWatch) -> None:
        """Stop a camera whose frames cannot be scored; the others continue."""
        error = camera.faults.last
        if error is not None and camera.failure is None:
            _log.error("camera %s is given up: %s", camera.spec.id, error)
            camera.give_up(error)

    def _report_end(self, camera: CameraWatch) -> None:
        status = camera.source.status
        if camera.failure is not None:
            return  # reported already
        if status.state == "failed":
            _log.error("camera %s failed (%s): %s", camera.spec.id, status.reason, status.message)
        else:
            _log.info("camera %s is over after %d frames", camera.spec.id, status.frames_decoded)

    def _summary(self, camera: CameraWatch) -> CameraSummary:
        status = camera.source.status
        error = camera.failure or camera.faults.last or (status.error() if status.state == "failed" else None)
        return CameraSummary(
            camera=camera.spec.id,
            frames=status.frames_decoded,
            scored=camera.scored,
            skipped=dict(camera.skipped),
            dropped=sum(status.dropped.values()),
            alerts=self._alerts[camera.spec.id],
            error=error,
        )

    def _close_models(self) -> None:
        with ExitStack() as stack:
            for model in self._models.values():
                stack.callback(model.close)


def open_model_of(config: Config, name: str) -> Model:
    """Open a model of a configuration.

    Raises:
        BundleError, EngineError: It cannot be opened.
    """
    live = any(camera.source.live for camera in config.cameras)
    return open_model(name, config.engine, hint="latency" if live else "throughput")


def policies_of(config: Config, spec: CameraSpec, bundle: Bundle) -> dict[str | None, AlertPolicy]:
    """Return a camera's policy for each of its profiles, and for None the one of all other hours.

    Raises:
        CalibrationError: See `resolve_policy`.
    """
    policies: dict[str | None, AlertPolicy] = {}
    for name, calibration in ((None, spec.calibration), *((p.name, p.calibration) for p in spec.profiles)):
        policies[name] = policy = resolve_policy(
            bundle,
            config.rules_of(spec),
            camera=spec.id,
            calibration=calibration,
            alerts_per_day=spec.alerts_per_day,
            threshold=spec.threshold,
            zones=spec.zones,
        )
        for warning in policy.calibration.warnings if policy.calibration else ():
            _log.warning("camera %s: %s%s", spec.id, "" if name is None else f"profile {name}: ", warning)
    return policies


def _slots(model: Model) -> int:
    """Number of a camera's frames that may wait: more than a window, so that one is complete under overload."""
    window = model.bundle.manifest.tiling.window or 1
    return FEW_SLOTS if window == 1 else window + FEW_SLOTS
