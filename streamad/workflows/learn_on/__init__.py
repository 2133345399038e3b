"""Learn on: a watched camera's model goes on learning from what no alert touched, without a restart."""

from __future__ import annotations

import logging
import os
import shutil
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from streamad.alerts.marks import false_alarms
from streamad.bundle import Bundle, load_bundle
from streamad.calibration import AlertPolicy, Calibration
from streamad.calibration.false_alarms import FalseAlarm
from streamad.config import Config
from streamad.detectors import FittedDetector, detector_of
from streamad.errors import OutputError, StreamadError
from streamad.files import locked
from streamad.formatting import span
from streamad.inference.alerting import resolve_policy
from streamad.inference.model import Model, open_model
from streamad.inference.session import ScoredFrame
from streamad.live.camera import CameraWatch
from streamad.live.monitor import Monitor
from streamad.preprocessing import ModelInput
from streamad.versions import activate, active_version, new_version
from streamad.workflows.learn_on.job import LearnError, LearnJob, LearnProcess
from streamad.workflows.learn_on.recorder import MOST_BYTES, WatchedBlock, WatchedRecorder, write_blocks
from streamad.writing import BackgroundWriter, Outcome
from streamad.zones import ZoneSpec, zones_json, zones_sha256

FOLDER = "watched"
"""Folder in that of a camera's scores."""

LEAST_SECONDS, MOST_SECONDS = 1200.0, 86_400.0
"""A model is learned on from as much normal video as it was learned from, but at least and at most this much: first at
each doubling, and then about once a day."""

CHANGE = 4.0
"""A threshold that is this many times the one before, or this fraction of it, is not used. Scores are relative to the
usual movement of a place, so more of the same video moves it far less."""

BUSY_SECONDS = 300.0
"""Time until the next attempt if another process is writing to the model."""

CLOSE_SECONDS = 2.0
"""Longest wait for a fit that is ended with the watch."""

_log = logging.getLogger(__name__)


@dataclass
class _Next:
    """A new version that waits for a moment without an alert."""

    model: Model
    policy: AlertPolicy
    watched_seconds: float


@dataclass
class _Course:
    """What is under way for one camera.

    Attributes:
        camera: The camera.
        folder: Folder of its watched video, of all versions.
        recorder: Records it for the version that is watched with.
        zones: The zones that it is recorded with.
        is_recording: Whether it does; not while a version is being made.
        next_try: No version is made before this time, by the clock.
        ready: The next version.
    """

    camera: CameraWatch
    folder: Path
    recorder: WatchedRecorder
    zones: tuple[ZoneSpec, ...]
    is_recording: bool = True
    next_try: float = 0.0
    ready: _Next | None = field(default=None, repr=False)


class LearningOn:
    """Learns models on while they are watched with.

    What a camera's network sees of each frame is kept on disk. When that is as long as the video that the model was
    learned from, a process of its own fits the next version to both and calibrates it; it becomes the active version,
    and the watch changes to it between two frames, while no alert is under way. Whatever fails is logged once, and the
    watch goes on with the version that it has.

    Only models that `streamad learn` made for one live camera are learned on; why another is not, the log says once.

    Args:
        config: The configuration of the watch.
        monitor: The watch. Its `on_refresh` must call this object's.
        wall_clock: Aware datetimes.
        clock: `time.monotonic`.
        on_outcome: See `BackgroundWriter`.
    """

    def __init__(
        self,
        config: Config,
        monitor: Monitor,
        wall_clock: Callable[[], datetime],
        *,
        clock: Callable[[], float] = time.monotonic,
        on_outcome: Callable[[Outcome, int, str], None] | None = None,
    ) -> None:
        self._config = config
        self._monitor = monitor
        self._wall_clock = wall_clock
        self._clock = clock
        self.writer = BackgroundWriter[WatchedBlock]("learning", write_blocks, capacity=30, on_outcome=on_outcome)
        self._worker: threading.Thread | None = None
        self._process: LearnProcess | None = None
        self._is_closing = False
        self._courses: dict[str, _Course] = {}
        self._reasons: dict[str, str] = {}
        """Why cameras do not learn on."""
        for camera in monitor.cameras:
            self.follow(camera)

    def follow(self, camera: CameraWatch) -> None:
        """Learn the model of a camera that is new or has other settings; what is under way goes on if it still fits."""
        name, zones, spec = camera.spec.id, camera.session.zones, self._config.history
        if not spec.learn or spec.hours <= 0 or not camera.source.spec.drops:
            return  # files have the same alerts in every run
        reason, course = self._why_not(camera), self._courses.get(name)
        if reason is None and course is not None and course.camera is camera and course.zones == zones:
            return
        self.forget(name)
        if reason is not None:
            self._reasons[name] = reason
            _log.info("camera %s: its model does not learn on while it is watched: %s", name, reason)
            return
        folder = spec.folder / name / FOLDER
        course = _Course(camera, folder, self._recorder(folder, camera.model.bundle, zones), zones)
        self._courses[name] = course
        self._observe(course)

    def forget(self, camera: str) -> None:
        """Learn a camera's model no longer."""
        self._reasons.pop(camera, None)
        course = self._courses.pop(camera, None)
        if course is None:
            return
        course.camera.session.on_input = None
        if course.is_recording:
            course.recorder.flush()
        if course.ready is not None:
            course.ready.model.close()

    def use(self, config: Config) -> None:
        """Learn by another configuration; cameras that it touches follow (`follow`, `forget`)."""
        self._config = config

    def on_refresh(self) -> None:
        """Change to a version that is ready, or begin to make one, if it is time; called between two frames."""
        for course in list(self._courses.values()):
            if course.ready is not None:
                self._change(course, course.ready)
            elif course.is_recording and self._is_due(course):
                course.recorder.flush()
                course.is_recording = False
                self._worker = threading.Thread(
                    target=self._learn, args=(course,), name=f"learn {course.camera.spec.id}", daemon=True
                )
                self._worker.start()

    def describe(self, camera: str) -> str | None:
        """Return what a camera has learned and when it will have learned more, or why it does not; None for files, and
        where learning is turned off.
        """
        course = self._courses.get(camera)
        if course is None:
            reason = self._reasons.get(camera)
            return None if reason is None else f"does not learn on: {reason}"
        known = f"learned from {span(_known_seconds(course.camera.model.bundle))} of normal video"
        if course.ready is not None:
            return f"{known}; a new version waits for the end of the alert"
        if not course.is_recording:
            return f"{known}; a new version is being made"
        missing = self._wanted_seconds(course) - course.recorder.kept.seconds
        return f"{known}; the next version follows after {span(max(missing, 0.0))} more"

    def close(self) -> None:
        """End what is under way, and write what waits."""
        self._is_closing = True
        for course in self._courses.values():
            course.camera.session.on_input = None
            if course.is_recording:
                course.recorder.flush()
        process = self._process
        if process is not None:
            process.stop()
        if self._worker is not None:
            self._worker.join(CLOSE_SECONDS)
        for course in self._courses.values():
            if course.ready is not None:
                course.ready.model.close()
        self.writer.close()

    def _why_not(self, camera: CameraWatch) -> str | None:
        """Return why the model of a live camera is not learned on; None if it is."""
        bundle, known = camera.model.bundle, camera.policy.calibration
        if sum(other.model.bundle.home == bundle.home for other in self._monitor.cameras) > 1:
            return f"several cameras share {bundle.name}; `streamad learn` makes each a model of its own"
        detector = None if bundle.manifest.fusion is not None else detector_of(bundle)
        if not isinstance(detector, FittedDetector) or not detector.learns_on(bundle):
            return f"{bundle.name} does not hold what it was learned from; `streamad learn` makes a model that does"
        if bundle.path == bundle.home:
            return f"{bundle.name} was not made by `streamad learn`"
        if camera.spec.calibration is not None or camera.spec.profiles or known is None or known.local is not None:
            return "its threshold is not the model's own"
        if not os.access(bundle.home, os.W_OK):
            return f"{bundle.home} cannot be written to"
        return None

    def _recorder(self, folder: Path, bundle: Bundle, zones: Sequence[ZoneSpec]) -> WatchedRecorder:
        """Return the recorder for a version and zones; what was watched with others is removed."""
        own = folder / f"{bundle.path.name}-{bundle.sha256[:12]}"
        if zones:
            own = own.with_name(f"{own.name}-{zones_sha256(zones)[:12]}")
        for other in folder.iterdir() if folder.is_dir() else ():
            if other != own:
                shutil.rmtree(other, ignore_errors=True)
        return WatchedRecorder(
            own,
            model_sha256=bundle.sha256,
            length=bundle.manifest.input.channels,
            wall_clock=self._wall_clock,
            put=self.writer.put,
        )

    def _observe(self, course: _Course) -> None:
        def take(model_input: ModelInput, result: ScoredFrame) -> None:
            camera = course.camera
            if not course.is_recording or not camera.is_active:
                return  # outside its hours, what is normal may differ
            try:
                course.recorder.take(model_input, result, camera.policy, in_alert=camera.session.open_event is not None)
            except Exception:  # noqa: BLE001 - watching goes on
                _log.exception("camera %s: learning ends, its frames cannot be recorded", camera.spec.id)
                self._end(course, "its frames could not be recorded")

        course.camera.session.on_input = take

    def _end(self, course: _Course, reason: str) -> None:
        if self._courses.get(course.camera.spec.id) is not course:
            return  # it was removed, or has other zones
        course.camera.session.on_input = None
        del self._courses[course.camera.spec.id]
        self._reasons[course.camera.spec.id] = reason

    def _is_due(self, course: _Course) -> bool:
        if (self._worker is not None and self._worker.is_alive()) or self._clock() < course.next_try:
            return False
        kept = course.recorder.kept
        return kept.seconds >= self._wanted_seconds(course) or kept.size_bytes >= MOST_BYTES

    def _wanted_seconds(self, course: _Course) -> float:
        return min(max(_known_seconds(course.camera.model.bundle), LEAST_SECONDS), MOST_SECONDS)

    def _change(self, course: _Course, following: _Next) -> None:
        camera, before = course.camera, course.camera.policy.calibration
        course.ready, bundle, known = None, following.model.bundle, following.policy.calibration
        try:
            is_changed = self._monitor.use_model(camera, following.model, following.policy)
        except Exception:  # noqa: BLE001 - watching goes on
            _log.exception("camera %s: learning ends, its new version cannot be used", camera.spec.id)
            self._end(course, "its new version could not be used")
            return
        if not is_changed:
            course.ready = following
            return
        course.recorder = self._recorder(course.folder, bundle, camera.session.zones)
        course.is_recording = True
        assert before is not None
        assert known is not None
        _log.info(
            "camera %s: learned from %s more of normal video: version %d, from %s in all; %s (raw score %.4g); before: "
            "%s (%.4g)",
            camera.spec.id, span(following.watched_seconds), int(bundle.path.name), span(_known_seconds(bundle)),
            known.summary, known.threshold, before.summary, before.threshold,
        )  # fmt: skip

    def _learn(self, course: _Course) -> None:
        """In a thread: make the next version, and have it ready."""
        camera, bundle = course.camera, course.camera.model.bundle
        try:
            with locked(bundle.home) as is_alone:
                if not is_alone:
                    course.next_try, course.is_recording = self._clock() + BUSY_SECONDS, True
                    return
                if active_version(bundle.home) != bundle.path:
                    _log.warning(
                        "camera %s: another version of %s was activated: learning ends until a reload (SIGHUP), "
                        "which takes that version up",
                        camera.spec.id, bundle.name,
                    )  # fmt: skip
                    self._end(course, "another version was activated, which a reload takes up")
                    return
                following = self._made(course)
                course.recorder.discard()  # what was watched is in the new version
                if self._courses.get(camera.spec.id) is not course:  # it was removed, or has other zones
                    following.model.close()
                    return
                course.ready = following
        except Exception as error:  # noqa: BLE001 - watching goes on with the version that it has
            if not self._is_closing:
                course.recorder.discard()
                course.is_recording = True
                trace = None if isinstance(error, StreamadError | OSError) else error
                _log.warning(
                    "camera %s: its model could not be learned on, and learning starts over: %s",
                    camera.spec.id, error, exc_info=trace,
                )  # fmt: skip

    def _made(self, course: _Course) -> _Next:
        """Make and activate the next version.

        Raises:
            StreamadError: It cannot be made, or not be used.
        """
        camera, base = course.camera, course.camera.model.bundle
        rules, active = self._config.rules_of(camera.spec), camera.policy.calibration
        zones = camera.session.zones
        assert active is not None
        own = active if base.calibration_path is None else Calibration.load(base.calibration_path)
        fresh = new_version(base.home)
        try:
            self.writer.flush(CLOSE_SECONDS)
            process = LearnProcess(
                LearnJob(
                    base=str(base.path),
                    watched=str(course.recorder.folder),
                    out=str(fresh),
                    camera=camera.spec.id,
                    alerts_per_day=own.alerts_per_day,
                    rules=rules.model_dump(mode="json"),
                    false_alarms=self._false_alarms(camera.spec.id),
                    zones=zones_json(zones),
                )
            )
            self._process = process
            if self._is_closing:
                process.stop()
            process.wait()
            self._process = None
            bundle = load_bundle(fresh)
            policy = self._policy(camera, bundle)
            if not 1 / CHANGE <= policy.threshold / active.threshold <= CHANGE:
                raise LearnError(f"its threshold would be {policy.threshold:.4g} instead of {active.threshold:.4g}")
            model = open_model(bundle, camera.model.engine_spec, hint="latency")
            try:
                model.warm_up()
                model.bundle = load_bundle(activate(base.home, fresh))
            except BaseException:
                model.close()
                raise
        except BaseException:
            self._process = None
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        watched = _known_seconds(model.bundle) - _known_seconds(base)
        return _Next(model, self._policy(camera, model.bundle), watched)

    def _false_alarms(self, camera: str) -> tuple[FalseAlarm, ...]:
        try:
            return false_alarms(self._config.events.path, camera)
        except OutputError as error:
            _log.warning("camera %s: it learns nothing from false alarms: %s", camera, error)
            return ()

    def _policy(self, camera: CameraWatch, bundle: Bundle) -> AlertPolicy:
        rules = self._config.rules_of(camera.spec)
        return resolve_policy(
            bundle,
            rules,
            camera=camera.spec.id,
            alerts_per_day=camera.spec.alerts_per_day,
            zones=camera.session.zones,
        )


def _known_seconds(bundle: Bundle) -> float:
    """Length of the normal video that a model was learned from."""
    return float(bundle.manifest.training.options.get("seconds", 0.0))
