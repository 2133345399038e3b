"""The monitor: watches cameras (or files as if they were cameras) until stopped."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import cv2

from streamad import __version__
from streamad.alerts.event import Event
from streamad.alerts.health import HealthChange
from streamad.alerts.sinks import SinkFanout
from streamad.alerts.store import EventStore
from streamad.alerts.tracker import EventChange, utc_now
from streamad.config import Config
from streamad.errors import StreamadError
from streamad.frame import Frame
from streamad.observability.health import Health
from streamad.observability.metrics import Metrics
from streamad.observability.status import EngineStatus, EventsStatus, ModelStatus, StatusDocument
from streamad.pipeline.alerting import alert_settings
from streamad.pipeline.camera import CameraWatch
from streamad.pipeline.frame_queue import FrameQueue, Scored
from streamad.pipeline.model import Model, open_model
from streamad.scoring import FrameScore
from streamad.sources import SupervisedSource, stop_all, wait_any
from streamad.tiling import FrameSizeError

_log = logging.getLogger(__name__)

ENGINE_WAIT_SECONDS = 0.005
"""Longest wait for the engine before the sources are looked at again."""

LIVE_IN_FLIGHT = 2
"""Frames of a live camera inside the engine at once. More would only age: what waits, waits in the decoder's ring,
where the oldest gives way to the newest."""

FILE_IN_FLIGHT = 32
"""The same for files, where nothing is dropped and throughput counts."""

FEW_SLOTS = 6
"""Frames of a camera that may wait for the main loop."""

REFRESH_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class CameraSummary:
    """What became of one camera.

    Attributes:
        frames: frames decoded.
        scored: frames that left the engine (a score may be withheld).
        dropped: frames dropped before.
        alerts: alerts opened.
        error: why its source failed, None where it did not.
    """

    camera: str
    frames: int
    scored: int
    dropped: int
    alerts: int
    error: StreamadError | None


class Monitor:
    """Watches all cameras of a configuration in one loop.

    Args:
        config: checked configuration.
        metrics: where figures go.
        health: told of readiness and ticks.
        store: where events are kept; None keeps none.
        sinks: where events are sent.
        on_score: called with (camera, frame, score) for every frame, in the main loop's thread, after its events.
        on_event: called with every change of an event, in the main loop's thread.
        on_health: the same for health events.
        wall_clock: aware datetimes, for events.

    Raises:
        BundleError, EngineError, CalibrationError: before anything is started.
    """

    def __init__(
        self,
        config: Config,
        *,
        metrics: Metrics | None = None,
        health: Health | None = None,
        store: EventStore | None = None,
        sinks: SinkFanout | None = None,
        on_score: Callable[[CameraWatch, Frame, FrameScore], None] | None = None,
        on_event: Callable[[EventChange], None] | None = None,
        on_health: Callable[[HealthChange], None] | None = None,
        wall_clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.metrics = metrics or Metrics()
        self.health = health or Health()
        self._store = store
        self._sinks = sinks or SinkFanout([])
        self._on_score = on_score
        self._on_event = on_event
        self._on_health = on_health
        self._stop = threading.Event()
        self._started_at = time.time()
        self._models: dict[str, Model] = {}
        self._batchers: dict[str, FrameQueue] = {}
        self._alerts: dict[str, int] = {}
        self._failed: dict[str, StreamadError] = {}
        self.health.set_ready("config")
        try:
            self.cameras = [self._camera(config, index, wall_clock) for index in range(len(config.cameras))]
        except BaseException:
            self._close_models()
            raise
        self._by_id = {camera.spec.id: camera for camera in self.cameras}
        self._batcher_of = {spec.id: self._batchers[config.model_of(spec)] for spec in config.cameras}

    def stop(self) -> None:
        """End `run` after the current round; may be called from any thread or a signal handler."""
        self._stop.set()

    def run(self, *, once: bool = False) -> list[CameraSummary]:
        """Watch until `stop`, or with `once` until every source is over.

        Returns:
            One summary a camera.
        """
        sources = [camera.source for camera in self.cameras]
        finished: set[str] = set()
        try:
            for model in self._models.values():
                model.warm_up()
            self.health.set_ready("model")
            for source in sources:
                source.start()
            refreshed = 0.0
            while not self._stop.is_set():
                self._round(finished)
                self.health.tick()
                now = time.monotonic()
                if now - refreshed >= REFRESH_SECONDS:
                    refreshed = now
                    self._refresh()
                if once and len(finished) == len(self.cameras):
                    break
            for camera in self.cameras:
                if camera.spec.id not in finished:
                    self._drain()
                    self._finish(camera)
            self._refresh()
            return [self._summary(camera) for camera in self.cameras]
        finally:
            stop_all(sources)
            self._close_models()
            self._sinks.close()

    def keep_alive(self) -> None:
        """After `run`: stay healthy for whoever looks at the endpoints, until `stop` or an interrupt."""
        while not self._stop.wait(0.5):
            self.health.tick()

    def status(self) -> StatusDocument:
        """The document of `/status`; safe from any thread."""
        model = next(iter(self._models.values()))
        info, bundle = model.engine.info, model.bundle
        store = self._store
        total = store.count() if store is not None else sum(self._alerts.values())
        return StatusDocument(
            version=__version__,
            started_at=self._started_at,
            uptime_seconds=time.time() - self._started_at,
            engine=EngineStatus(name=info.name, device=info.device, precision=info.precision, why=info.why),
            model=ModelStatus(name=bundle.name, sha256=bundle.sha256, detector=bundle.manifest.detector),
            cameras=[camera.status() for camera in self.cameras],
            events=EventsStatus(
                total=total,
                path=None if store is None else str(store.path),
                error=None if store is None or store.error is None else str(store.error),
            ),
        )

    def preview(self, camera: str) -> bytes | None:
        """Newest frame of a camera as JPEG, None before the first; safe from any thread."""
        watch = self._by_id.get(camera)
        if watch is None or watch.newest is None:
            return None
        ok, data = cv2.imencode(".jpg", watch.newest[0].pixels, (cv2.IMWRITE_JPEG_QUALITY, 75))
        return data.tobytes() if ok else None

    def _camera(self, config: Config, index: int, wall_clock: Callable[[], datetime]) -> CameraWatch:
        spec = config.cameras[index]
        name = config.model_of(spec)
        if name not in self._models:
            live = any(c.source.live for c in config.cameras)
            model = open_model(name, config.engine, hint="latency" if live else "throughput")
            self._models[name] = model
            self._batchers[name] = model.queue(self._batch_done)
            info, bundle = model.engine.info, model.bundle
            self.metrics.set_model(
                model=bundle.name, sha256=bundle.sha256, detector=bundle.manifest.detector,
                engine=info.name, device=info.device, precision=info.precision, why=info.why,
            )  # fmt: skip
            _log.info("model %s on %s %s %s: %s", bundle.name, info.name, info.device, info.precision, info.why)
        settings = alert_settings(
            self._models[name],
            config.rules_of(spec),
            camera=spec.id,
            calibration=spec.calibration,
            alerts_per_day=spec.alerts_per_day,
            threshold=spec.threshold,
        )
        for warning in settings.calibration.warnings if settings.calibration else ():
            _log.warning("camera %s: %s", spec.id, warning)
        self._alerts[spec.id] = 0
        return CameraWatch(
            spec,
            SupervisedSource(spec.id, spec.source, config.reconnect, slots=_slots(self._models[name])),
            self._models[name],
            settings,
            self.metrics.camera(spec.id),
            quality=config.quality_of(spec),
            drift=config.drift,
            wall_clock=wall_clock,
        )

    def _round(self, finished: set[str]) -> None:
        """Take what has arrived, start what is due, publish what is done.

        A batch is filled with what has arrived from all cameras and starts in the first round that brings no further
        frame, so it never waits for more than one round.
        """
        took = False
        for camera in self.cameras:
            batcher = self._batcher_of[camera.spec.id]
            most = (LIVE_IN_FLIGHT if camera.source.spec.drops else FILE_IN_FLIGHT) * len(self.cameras)
            while batcher.waiting < most and (frame := camera.poll()) is not None:
                took = True
                try:
                    tiles = camera.take(frame)
                except FrameSizeError as error:
                    self._give_up(camera, error)
                    break
                self._publish_health(camera)
                if tiles is not None:
                    batcher.put(camera.scorer, tiles)
                if camera.source.spec.drops:
                    break  # one frame a round: no camera keeps the others waiting
        if not took:
            for batcher in self._batchers.values():
                batcher.flush()
        busy = [batcher for batcher in self._batchers.values() if batcher.waiting]
        for batcher in busy:
            self._handle(batcher.ready() if took else batcher.wait(ENGINE_WAIT_SECONDS))
        for camera in self.cameras:
            if camera.source.over and camera.spec.id not in finished and camera.source.poll() is None:
                self._drain()
                self._finish(camera)
                self._report_end(camera)
                finished.add(camera.spec.id)
        if not took and not busy and not self._stop.is_set():
            wait_any([camera.source for camera in self.cameras if not camera.source.over], 0.1)

    def _drain(self) -> None:
        for batcher in self._batchers.values():
            self._handle(batcher.drain())

    def _handle(self, finished: Sequence[Scored]) -> None:
        for scored in finished:
            camera = self._by_id[scored.score.camera]
            if scored.error is not None:
                self.metrics.inference_errors.labels(engine=camera.model.engine.info.name).inc()
                _log.error("camera %s: frame %d not scored: %s", camera.spec.id, scored.score.index, scored.error)
            changes = camera.score(scored.score)
            self._publish(changes)
            self._publish_health(camera)
            if self._on_score is not None and camera.newest is not None:
                self._on_score(camera, camera.newest[0], scored.score)

    def _publish(self, changes: Sequence[EventChange]) -> None:
        for change in changes:
            event: Event = change.event
            if change.kind == "opened":
                self._alerts[event.camera] += 1
            if self._store is not None:
                self._store.save(event)
            self._sinks.emit(event, change.kind)
            if self._on_event is not None:
                self._on_event(change)

    def _finish(self, camera: CameraWatch) -> None:
        self._publish(camera.finish())
        camera.drift.finish()
        camera.health.finish()
        self._publish_health(camera)

    def _publish_health(self, camera: CameraWatch) -> None:
        for change in camera.health.changes():
            if self._store is not None:
                self._store.save(change.event)
            if not change.is_progress:
                self._sinks.emit(change.event, change.kind)
            if self._on_health is not None:
                self._on_health(change)

    def _refresh(self) -> None:
        for camera in self.cameras:
            camera.refresh()
        waiting = sum(batcher.waiting for batcher in self._batchers.values())
        self.metrics.queue_length.labels(queue="engine").set(waiting)
        if self._store is not None:
            self._store.flush()

    def _batch_done(self, tiles: int, seconds: float) -> None:
        self.metrics.batch_size.observe(tiles)
        self.metrics.stage_duration.labels(stage="inference").observe(seconds)

    def _give_up(self, camera: CameraWatch, error: StreamadError) -> None:
        """A source whose frames cannot be scored at all: stop it, keep the others."""
        _log.error("camera %s: %s", camera.spec.id, error)
        self._failed[camera.spec.id] = error
        camera.source.stop()

    def _report_end(self, camera: CameraWatch) -> None:
        status = camera.source.status
        if status.state == "failed":
            _log.error("camera %s failed (%s): %s", camera.spec.id, status.reason, status.message)
        else:
            _log.info("camera %s is over after %d frames", camera.spec.id, status.frames_decoded)

    def _summary(self, camera: CameraWatch) -> CameraSummary:
        status = camera.source.status
        error = self._failed.get(camera.spec.id) or (status.error() if status.state == "failed" else None)
        return CameraSummary(
            camera=camera.spec.id,
            frames=status.frames_decoded,
            scored=camera.scored,
            dropped=sum(status.dropped.values()),
            alerts=self._alerts[camera.spec.id],
            error=error,
        )

    def _close_models(self) -> None:
        for model in self._models.values():
            model.close()


def _slots(model: Model) -> int:
    """Frames of a camera that may wait: more than a window, so that one is whole where the machine does not keep up."""
    window = model.bundle.manifest.tiling.window or 1
    return FEW_SLOTS if window == 1 else window + FEW_SLOTS
