"""Tighten: recalibrate a running camera on its own scores until its budget is reached, without a restart."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from streamad.alerts.marks import false_alarms, false_alarms_changed_at
from streamad.bundle import CALIBRATION, Bundle
from streamad.calibration import AlertPolicy, Calibration
from streamad.config import CameraSpec, Config
from streamad.errors import CalibrationError, OutputError, StreamadError
from streamad.inference.alerting import resolve_policy
from streamad.live.camera import CameraWatch
from streamad.workflows.recalibrate import calibrate_on_recent, keep_previous, scores_sha256
from streamad.zones import newly_watched

LEAST_SECONDS = 1200.0
"""Minimum scored time to set a threshold on; until then, the first day's budget applies anyway."""

LOOK_SECONDS = 300.0
"""A camera's history is read at this interval until it contains enough …"""
REST_SECONDS = 3600.0
"""… and no earlier than this after its threshold was set."""

CLOSE_SECONDS = 1.0
"""Maximum wait for a running calibration when the watch ends."""

_log = logging.getLogger(__name__)


@dataclass
class _Course:
    """State of one camera.

    Attributes:
        camera: The camera.
        bundle: The model that the calibration belongs to.
        path: The calibration file in the folder of the camera's scores.
        is_own: Whether the threshold was already set on the camera's own scores.
        is_begun: Whether the calibration of an earlier run was looked for.
        next_look: When the history is read next, by `clock`.
        ready: The new policy, waiting for a frame without an alert.
    """

    camera: CameraWatch
    bundle: Bundle
    path: Path
    is_own: bool = False
    is_begun: bool = False
    next_look: float = 0.0
    ready: AlertPolicy | None = None


def tightened(config: Config, camera: CameraSpec, bundle: Bundle, base: Calibration) -> Calibration | None:
    """Return the calibration that a watch continues with: that of an earlier run on the camera's own scores.

    Args:
        config: The configuration of the watch.
        camera: The camera.
        bundle: Its model.
        base: The calibration that the configuration names, or the bundle's.

    Returns:
        The calibration, for the budget of `base`. None: there is none, the camera was learned or calibrated since, or
        its zones have changed.

    Raises:
        CalibrationError: The file is damaged.
    """
    path = _path_of(config, camera.id)
    if not config.history.tighten or config.history.hours <= 0 or not path.exists():
        return None
    kept = Calibration.load(path)
    if scores_sha256(bundle, kept) != scores_sha256(bundle, base) or kept.model_sha256 != base.model_sha256:
        return None
    if kept.created < base.created:  # both UTC, ISO 8601
        return None
    if newly_watched(kept.zones, camera.zones) > newly_watched(base.zones, camera.zones):
        return None
    return kept if kept.alerts_per_day == base.alerts_per_day else kept.with_budget(base.alerts_per_day)


def _path_of(config: Config, camera: str) -> Path:
    return config.history.folder / camera / CALIBRATION


class Tightening:
    """Sets the thresholds of cameras on the scores that a `ScoreHistoryRecorder` keeps.

    A threshold from little video allows more alerts than requested (`vouched_budget`). As a camera's own scores
    accumulate, they support fewer: it is recalibrated once they cover more time than the current threshold is based on,
    then at each doubling, until the requested budget is reached. It is also recalibrated when an event is marked as a
    false alarm or such a mark is withdrawn, on no less time than the current threshold is based on. The calculation
    runs in a thread; the policy is replaced between two frames while no alert is under way. The calibration is stored
    beside the scores, with the previous one, and a later run continues with it. Only live cameras are tightened: files
    give the same alerts in every run.

    Args:
        config: The configuration of the watch.
        cameras: Its cameras.
        wall_clock: Returns the current time as an aware datetime.
        clock: `time.monotonic`.
    """

    def __init__(
        self,
        config: Config,
        cameras: Iterable[CameraWatch],
        wall_clock: Callable[[], datetime],
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._wall_clock = wall_clock
        self._clock = clock
        self._worker: threading.Thread | None = None
        self._courses: dict[str, _Course] = {}
        self._settled: dict[str, _Course] = {}
        """Cameras whose budget is reached: only marks change their thresholds."""
        for camera in cameras:
            self.follow(camera)

    def follow(self, camera: CameraWatch) -> None:
        """Set the thresholds of a camera that is new or has other settings."""
        name = camera.spec.id
        self.forget(name)
        config = self._config
        if not config.history.tighten or config.history.hours <= 0:
            return
        if camera.policy.calibration is not None and camera.source.spec.drops:
            course = self._courses[name] = _Course(camera, camera.model.bundle, _path_of(config, name))
            if camera.profile is None:
                self._begin(course, camera.policy.calibration)

    def use(self, config: Config) -> None:
        """Follow another configuration; cameras that it touches follow (`follow`, `forget`)."""
        self._config = config

    def forget(self, camera: str) -> None:
        """Set the thresholds of a camera no longer."""
        self._courses.pop(camera, None)
        self._settled.pop(camera, None)

    def on_score(self, camera: CameraWatch) -> None:
        """Replace the policy or start a calculation if it is time. Call for each scored frame, after its events."""
        name = camera.spec.id
        course = self._courses.get(name) or self._settled.get(name)
        if course is None or camera.profile is not None:  # a profile has a calibration of its own
            return
        if course.bundle is not camera.model.bundle:  # the model has learned on
            self._settled.pop(name, None)
            course = self._courses[name] = _Course(camera, camera.model.bundle, course.path)
        if not course.is_begun and camera.policy.calibration is not None:  # a profile was active at the start
            self._begin(course, camera.policy.calibration)
        if course.ready is not None:
            self._replace(course, course.ready)
            return
        now = self._clock()
        if now < course.next_look or (self._worker is not None and self._worker.is_alive()):
            return
        known = camera.policy.calibration
        if known is None:
            self._courses.pop(name, None)
            self._settled.pop(name, None)
            return
        if not known.seconds_to_budget and name in self._courses:
            self._settled[name] = self._courses.pop(name)
        course.next_look = now + LOOK_SECONDS
        self._worker = threading.Thread(
            target=self._calibrate, args=(course, known), name=f"tighten {camera.spec.id}", daemon=True
        )
        self._worker.start()

    def close(self) -> None:
        """Wait briefly for a running calculation; it can be abandoned, since its files are written atomically."""
        if self._worker is not None:
            self._worker.join(CLOSE_SECONDS)

    def _begin(self, course: _Course, base: Calibration) -> None:
        """Continue with the calibration of an earlier run, unless the camera was learned or calibrated since."""
        name, course.is_begun = course.camera.spec.id, True
        try:
            kept = tightened(self._config, course.camera.spec, course.bundle, base)
        except StreamadError as error:
            _log.warning("camera %s: %s", name, error)
            return
        if kept is not None:
            course.is_own = True
            self._replace(course, self._policy_of(course, kept))

    def _policy_of(self, course: _Course, calibration: Calibration) -> AlertPolicy:
        camera = course.camera
        rules = self._config.rules_of(camera.spec)
        return resolve_policy(
            course.bundle, rules, camera=camera.spec.id, calibration=calibration, zones=camera.session.zones
        )

    def _replace(self, course: _Course, policy: AlertPolicy) -> None:
        camera, old, new = course.camera, course.camera.policy, policy.calibration
        if camera.session.alert_state != "idle":
            return
        assert old.calibration is not None
        assert new is not None
        camera.use(policy)
        course.ready, course.is_own = None, True
        _log.info(
            "camera %s: %s (raw score %.4g) from %s; before: %s (%.4g)",
            camera.spec.id, new.summary, new.threshold, new.source, old.calibration.summary, old.threshold,
        )  # fmt: skip

    def _calibrate(self, course: _Course, known: Calibration) -> None:
        """Set the threshold on the camera's scores if there are enough of them. Runs in a thread."""
        camera, rests_on, now = course.camera, known.alert_curve.exposure_seconds, self._wall_clock()
        events, zones = self._config.events.path, camera.session.zones
        try:
            changed_at = false_alarms_changed_at(events, camera.spec.id)
            is_marked = changed_at is not None and changed_at > datetime.fromisoformat(known.created)
            if not is_marked and not known.seconds_to_budget:
                return
            is_doubling = course.is_own and not is_marked
            wanted = min(2 * rests_on, rests_on + known.seconds_to_budget) if is_doubling else rests_on
            calibration, _ = calibrate_on_recent(
                course.bundle,
                known,
                folder=self._config.history.folder,
                camera=camera.spec.id,
                now=now,
                recent_seconds=3600 * self._config.history.hours,
                least_seconds=max(wanted, LEAST_SECONDS),
                false_alarms=false_alarms(events, camera.spec.id),
                rules=self._config.rules_of(camera.spec),
                zones=zones,
            )
            policy = self._policy_of(course, calibration)
        except CalibrationError as error:
            _log.debug("camera %s: %s", camera.spec.id, error)  # not enough scores yet
            return
        except OutputError as error:  # the marks cannot be read now
            _log.warning("camera %s: %s", camera.spec.id, error)
            return
        except Exception:  # noqa: BLE001 - watching goes on with the old threshold
            _log.exception("camera %s: its threshold could not be set on its own scores", camera.spec.id)
            return
        course.next_look = self._clock() + REST_SECONDS
        if course.bundle is not camera.model.bundle or zones != camera.session.zones:
            return
        try:
            keep_previous(course.path)
            calibration.save(course.path)
        except StreamadError as error:  # the policy is still used; it is computed again after a restart
            _log.warning("camera %s: %s", camera.spec.id, error)
        course.ready = policy
