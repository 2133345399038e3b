"""One camera of the monitor: a session with its metrics, health, load and status."""

from __future__ import annotations

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any

from streamad.alerts.event import Event
from streamad.alerts.tracker import EventChange
from streamad.bundle import Bundle
from streamad.calibration import AlertPolicy
from streamad.calibration.drift import DriftSpec
from streamad.config import CameraSpec
from streamad.errors import StreamadError
from streamad.files import sha256_of
from streamad.formatting import counted, number
from streamad.frame import Frame
from streamad.inference.frame_queue import FrameQueue, Scored
from streamad.inference.model import Model
from streamad.inference.session import WINDOW, ScoredFrame, Session
from streamad.live.camera_drift import CameraDrift
from streamad.live.camera_health import CameraHealth
from streamad.live.faults import CameraFaults, reason_of
from streamad.live.overload import Overload
from streamad.live.schedule import CameraSchedule
from streamad.observability.metrics import CameraMetrics
from streamad.observability.status import RECENT_SCORES, AlertLabel, CameraState, CameraStatus, ReturnPeriodStatus
from streamad.scoring import FrameScore
from streamad.sources import SourceStatus, SupervisedSource
from streamad.sources.quality import QualitySpec

EXCESS, LEAST_EXCESS, EXCESS_SECONDS = 10.0, 5, 3600.0
"""More alerts in this time than so many times the budget, and so many, are said to be too many: one camera in twenty
has seven times its budget after 20 minutes of video (docs/concepts/calibration.md)."""

BUDGETS = (1 / 90, 1 / 30, 2 / 30, 1 / 7, 2 / 7, 0.5, 1.0, 2.0, 5.0, 10.0, 24.0, 48.0, 120.0, 240.0)
"""Budgets to choose from, false alerts a day: from one in three months to ten an hour."""

_log = logging.getLogger(__name__)


class CameraWatch:
    """One camera of the monitor. The main loop uses it; the web thread reads `status` and `newest`.

    Args:
        spec: The camera's configuration.
        source: Its supervised decoder, not yet started.
        model: The model that scores it.
        policies: When its scores become alerts, by profile; None: outside the hours of profiles.
        metrics: Its metrics.
        quality: Its frame-quality gate. Default: as shipped.
        drift: When its scores count as drifted. Default: as shipped.
        queue: The model's queue, shared with other cameras.
        wall_clock: Aware datetimes, for events.
        clock: `time.monotonic`.
    """

    def __init__(
        self,
        spec: CameraSpec,
        source: SupervisedSource,
        model: Model,
        policies: Mapping[str | None, AlertPolicy],
        metrics: CameraMetrics,
        *,
        queue: FrameQueue,
        wall_clock: Callable[[], datetime],
        quality: QualitySpec | None = None,
        drift: DriftSpec | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.spec = spec
        self.source = source
        self.model = model
        now = wall_clock()
        self.schedule = CameraSchedule(spec)
        self.profile = self.schedule.profile(now)
        """The profile that is active now; None if none is."""
        self.calibrations = calibrations_of(spec, model.bundle)
        """The calibrations that its policies were resolved from."""
        self._policies = dict(policies)
        self.policy = policy = self._policies[self.profile]
        quality = quality or QualitySpec()
        self.session = Session(
            model, policy, camera=spec.id, quality=quality, zones=spec.zones, queue=queue, wall_clock=wall_clock
        )
        self.session.set_active(self.schedule.is_active(now))
        self._wall_clock = wall_clock
        self.health = CameraHealth(spec.id, self.session.scorer, quality, metrics, wall_clock=wall_clock)
        self.faults = CameraFaults(is_live=source.spec.drops, clock=clock)
        self.overload = Overload(clock)
        self.failure: StreamadError | None = None
        """Why the camera was given up; None if it was not."""
        self.newest: tuple[Frame, FrameScore] | None = None
        self.shown: tuple[bytes, FrameScore] | None = None
        """The newest color picture, as JPEG, and the score of its frame."""
        self.scored = 0
        self.skipped: Counter[str] = Counter()
        """Number of frames without a score, by cause."""
        self._metrics = metrics
        self._clock = clock
        self._recent: deque[tuple[float, float | None]] = deque(maxlen=RECENT_SCORES)
        self._times: deque[float] = deque(maxlen=50)
        self._opened: deque[float] = deque(maxlen=1000)
        self._latency: float | None = None
        self._seen_drops: dict[str, int] = {}
        self._seen_reconnects: dict[str, int] = {}
        self._seen_first = False
        self._last_index: int | None = None
        self._last_received: float | None = None
        self._is_silent = False
        self._skewed = False
        self.drift = CameraDrift(
            spec.id, policy.calibration, drift or DriftSpec(), metrics, note=self.health.note, wall_clock=wall_clock
        )
        metrics.set_threshold(policy.display_score(policy.threshold))

    def use(self, policy: AlertPolicy) -> None:
        """Watch with another policy from the next frame on; see `Session.use`. Earlier scores, whose display scale is
        that of the old calibration, are no longer shown.
        """
        self.session.use(policy)
        self._take_policy(policy)

    def _take_policy(self, policy: AlertPolicy) -> None:
        self.policy = self._policies[self.profile] = policy
        self.drift.use(policy.calibration)
        self._recent.clear()
        self._opened.clear()
        self._metrics.set_threshold(policy.display_score(policy.threshold))

    def use_model(self, model: Model, policy: AlertPolicy, queue: FrameQueue) -> None:
        """Watch with another model and its policy from the next frame on; see `Session.use_model`."""
        self.session.use_model(model, queue)
        self.model = model
        self.calibrations = calibrations_of(self.spec, model.bundle)
        self.use(policy)

    @property
    def is_active(self) -> bool:
        """Whether the camera raises alerts now."""
        return self.session.is_active

    def keep_hours(self) -> list[EventChange]:
        """Begin or end raising alerts, and change to another profile while no alert is under way, as the hours say."""
        now = self._wall_clock()
        is_active, profile = self.schedule.is_active(now), self.schedule.profile(now)
        changes: list[EventChange] = []
        if is_active != self.session.is_active:
            changes += self._note(self.session.set_active(is_active))
            _log.info("camera %s: %s", self.spec.id, "active" if is_active else self.schedule.text(now))
        if profile != self.profile and self.session.alert_state == "idle":
            self.profile, policy = profile, self._policies[profile]
            changes += self._restart_alerts(policy)
            _log.info("camera %s: profile %s", self.spec.id, profile or "none: its own calibration")
        return changes

    def reconfigure(self, spec: CameraSpec, policies: Mapping[str | None, AlertPolicy]) -> list[EventChange]:
        """Watch by other settings of zones, hours and alerts from the next frame on; an open event closes.

        Args:
            spec: The settings, with the same source and model.
            policies: See `CameraWatch`.
        """
        self.spec, self.schedule = spec, CameraSchedule(spec)
        self.calibrations, self._policies = calibrations_of(spec, self.model.bundle), dict(policies)
        now = self._wall_clock()
        self.profile = self.schedule.profile(now)
        self.session.zones = spec.zones
        changes = self._restart_alerts(self._policies[self.profile])
        return changes + self._note(self.session.set_active(self.schedule.is_active(now)))

    def _restart_alerts(self, policy: AlertPolicy) -> list[EventChange]:
        changes = self._note(self.session.restart_alerts(policy))
        self.health.attach(self.session.scorer)
        self._take_policy(policy)
        return changes

    def poll(self) -> Frame | None:
        """Return the next frame of the source; None if none has come.

        A windowed network needs consecutive frames. On an overloaded machine one frame in every few is dropped, so that
        no window would ever be complete. After a drop, all queued frames are therefore discarded: the next frames find
        room, and windows are complete until the queue is full again.
        """
        frame = self.source.poll()
        while frame is not None and self.faults.is_resting:
            self._metrics.dropped("fault")
            frame = self.source.poll()
        if frame is None or (self.model.bundle.manifest.tiling.window or 1) == 1 or not self.source.spec.drops:
            return frame
        if self._last_index is not None and frame.index != self._last_index + 1:
            frame = self.source.newest(frame)
        self._last_index = frame.index
        return frame

    def take(self, frame: Frame) -> None:
        """Hand a frame that arrived to the session.

        Raises:
            FrameSizeError: The frame is smaller than a patch.
        """
        self._metrics.frame("decoded")
        self._metrics.received(time.time() - (self._clock() - frame.received_at))
        self._last_received = frame.received_at
        self._is_silent = False
        if self._seen_first and frame.is_discontinuity:
            self._metrics.gap()
        self._seen_first = True
        self.session.submit(frame)
        self.health.follow(frame)

    def receive(self, scored: Scored) -> list[ScoredFrame]:
        """Take a frame's score, in order.

        Returns:
            The frame, and frames without a score before it that changed an event.
        """
        results = [result for result in self.session.receive(scored) if _counts(result)]
        for result in results:
            self._note(result.changes)
            if result.score.skipped_reason != WINDOW:
                self._follow(result.frame, result.score)
        return results

    def _follow(self, frame: Frame, score: FrameScore) -> None:
        now = self._clock()
        shown = self.policy.display_score(score.score)
        self.newest = (frame, score)
        if (picture := self.source.color(score.index)) is not None:
            self.shown = picture, score
        self.scored += 1
        self._times.append(now)
        self._latency = now - score.received_at
        self._recent.append((score.pts_seconds, None if score.skipped_reason else shown))
        self._metrics.frame("scored")
        self._metrics.set_score(shown)
        self._metrics.latency(self._latency)
        if score.skipped_reason:
            self._metrics.skipped(score.skipped_reason)
            self.skipped[str(score.cause)] += 1
        else:
            self.faults.good()
        if not score.is_alert and self.is_active:  # outside its hours, what is normal may differ
            self.drift.follow(score)

    def finish(self) -> list[EventChange]:
        """The source has ended: close an open event."""
        return self._note(self.session.close())

    def tick(self) -> list[EventChange]:
        """Close an open alert if no frame has come for the policy's `gap_seconds` by the clock.

        The policy follows the video's time, which stands still while a camera is down. The camera then has no alert, no
        score and no faulty picture. Sources that wait for the machine never count as silent, nor does a source whose
        frames are still in the engine.
        """
        if self._last_received is None or self._is_silent or not self.source.spec.drops or self.source.over:
            return []
        if self._clock() - self._last_received <= self.policy.gap_seconds:
            return []
        self._is_silent = True
        self._metrics.set_score(float("nan"))
        self.health.silent()
        return self._note(self.session.gap())

    def reset(self) -> list[EventChange]:
        """Start over after a fault with a new scorer; closes an open alert."""
        self._metrics.fault()
        self._metrics.set_score(float("nan"))
        self._last_index = None
        changes = self.session.reset()
        self.health.attach(self.session.scorer)
        return self._note(changes)

    def give_up(self, error: StreamadError) -> None:
        """Stop the source for good because its frames cannot be scored."""
        self.failure = error
        self.health.give_up(reason_of(error), str(error), self.newest)
        self.source.stop()

    def refresh(self) -> bool:
        """Copy the source's counts into the metrics; called about twice a second.

        Returns:
            Whether the machine started or stopped falling behind this camera.
        """
        status = self.source.status
        is_up = status.state in ("up", "stale") or (status.state == "ended" and self.scored > 0)
        self._metrics.set_up(is_up and self.failure is None)
        for seen, now, count in (
            (self._seen_drops, status.dropped, self._metrics.dropped),
            (self._seen_reconnects, {str(k): v for k, v in status.reconnects.items()}, self._reconnected),
        ):
            for reason, total in now.items():
                if total > seen.get(reason, 0):
                    count(reason, total - seen.get(reason, 0))
                    seen[reason] = total
        self._warn_of_skew(status)
        return self._follow_load(status)

    def status(self) -> CameraStatus:
        """The camera's part of `/status`."""
        source, failure = self.source.status, self.failure
        newest = self.newest
        recent = list(self._recent)
        age = None if source.last_frame_at is None else self._clock() - source.last_frame_at
        info = source.info
        state: CameraState = "overloaded" if source.state == "up" and self.overload.is_active else source.state
        reason = None if source.reason is None else str(source.reason)
        is_watched = state in ("up", "overloaded") and failure is None and not self._is_silent
        return CameraStatus(
            id=self.spec.id,
            state="failed" if failure is not None else state,
            reason=reason if failure is None else reason_of(failure),
            message=source.message if failure is None else str(failure),
            fps=self._rate(),
            frames=source.frames_decoded,
            dropped=sum(source.dropped.values()),
            reconnects=sum(source.reconnects.values()),
            score=recent[-1][1] if recent and is_watched else None,
            threshold=self.policy.display_score(self.policy.threshold),
            budget=self._budget(),
            recurrence=self._recurrence() if is_watched else None,
            foreign=self._foreign(),
            excess=self._excess(),
            alert=self._alert_label(),
            latency_seconds=self._latency,
            last_frame_at=None if age is None else time.time() - age,
            last_frame_seconds=age,
            recent=recent,
            size=(info.width, info.height) if info else None if newest is None else newest[0].shape[::-1],
            quality=self.health.reason,
            held=dict(self.health.held),
            drift=self.drift.status,
            is_active=self.is_active,
            schedule=None if self.is_active else self.schedule.text(self._wall_clock()),
            profile=self.profile,
        )

    def settings(self) -> dict[str, Any]:
        """How the camera is watched, as JSON types: zones, hours, profiles, budget and threshold."""
        spec, policy, known = self.spec, self.policy, self.policy.calibration
        now = self._wall_clock()
        change = self.schedule.next_change(now)
        return {
            "id": spec.id,
            "zones": [zone.model_dump(mode="json") for zone in spec.zones],
            "time_zone": spec.time_zone,
            "local_time": self.schedule.local(now).isoformat(timespec="seconds"),
            "active": [hours.model_dump(mode="json") for hours in spec.active],
            "profiles": [profile.model_dump(mode="json") for profile in spec.profiles],
            "profile": self.profile,
            "is_active": self.is_active,
            "next_change_at": None if change is None else change.timestamp(),
            "alerts_per_day": None if known is None else known.alerts_per_day,
            "vouched_alerts_per_day": None if known is None else known.vouched_alerts_per_day,
            "threshold": policy.threshold,
            "display_threshold": policy.display_score(policy.threshold),
        }

    def budgets(self) -> list[dict[str, float]]:
        """Budgets of false alerts to choose from, with the threshold that each would have now,
        as displayed; empty without a calibration.
        """
        known = self.policy.calibration
        found = [] if known is None else [known.with_budget(alerts_per_day) for alerts_per_day in BUDGETS]
        return [
            {
                "alerts_per_day": budget.alerts_per_day,
                "vouched_alerts_per_day": budget.vouched_alerts_per_day,
                "threshold": budget.shown_threshold,
            }
            for budget in found
        ]

    def _follow_load(self, status: SourceStatus) -> bool:
        if self.overload.update(status.frames_decoded, status.dropped.get("queue_full", 0)):
            self._metrics.set_overloaded(self.overload.is_active)
            if self.overload.is_active:
                _log.warning(
                    "camera %s: not keeping up: %s %% of its frames were dropped in the last seconds",
                    self.spec.id, number(100 * self.overload.share, 2),
                )  # fmt: skip
            else:
                _log.info("camera %s: keeping up again", self.spec.id)
            return True
        return False

    def _foreign(self) -> str | None:
        if self.policy.calibration is not None and self.health.is_other_view:
            return (
                "the model's reference view was not recognized: the model belongs to another camera, the camera was "
                "moved, or the light changed. Unless it is the light, learn this view: streamad learn"
            )
        return self.policy.foreign

    def _excess(self) -> str | None:
        known, since = self.policy.calibration, self._clock() - EXCESS_SECONDS
        alerts = sum(at > since for at in self._opened)
        if known is None or not self.source.spec.drops or alerts < LEAST_EXCESS:
            return None
        if alerts <= EXCESS * known.vouched_alerts_per_day * EXCESS_SECONDS / 86_400:
            return None
        budget = counted(float(f"{known.vouched_alerts_per_day:.2g}"), "false alert")
        return (
            f"{alerts} alerts in the last hour, and the threshold is set for {budget} a day. What happens now is not "
            "like the video that was learned. If it is normal here, mark these alerts as false"
        )

    def _budget(self) -> str | None:
        known = self.policy.calibration
        return known.budget if known is not None and known.seconds_to_budget else None

    def _recurrence(self) -> ReturnPeriodStatus | None:
        known = None if self.newest is None else self.policy.return_period(self.newest[1].score)
        return None if known is None else {
            "seconds": known.seconds, "at_most": known.at_most, "not_seen": known.not_seen, "text": str(known),
        }  # fmt: skip

    @property
    def open_event(self) -> Event | None:
        """The event that is open now."""
        return self.session.open_event

    def _note(self, changes: Sequence[EventChange]) -> list[EventChange]:
        for change in changes:
            if change.kind == "opened":
                self._metrics.alert(change.event.severity)
                self._opened.append(self._clock())
            self._metrics.set_alert_active(change.kind != "closed")
        return list(changes)

    def _reconnected(self, reason: str, amount: int) -> None:
        for _ in range(amount):
            self._metrics.reconnect(reason)

    def _alert_label(self) -> AlertLabel:
        event = self.open_event
        if event is not None:
            return event.severity
        state = self.session.alert_state
        return "pending" if state == "pending" else "cooldown" if state == "cooldown" else "none"

    def _rate(self) -> float:
        times = list(self._times)
        if len(times) < 2 or self._clock() - times[-1] > 2.0:
            return 0.0
        return (len(times) - 1) / max(1e-6, times[-1] - times[0])

    def _warn_of_skew(self, status: SourceStatus) -> None:
        """Warn if a model that sees movement gets another frame rate than it was trained at."""
        expected = self.model.bundle.manifest.training.fps
        fps = status.info.fps if status.info else None
        if self._skewed or not fps or 0.8 <= fps / expected <= 1.25 or len(self.model.bundle.manifest.tiling.lags) < 2:
            return
        self._skewed = True
        _log.warning(
            "camera %s delivers %.3g frames/s, the model %s was trained at %.3g: movement looks %.1f times as fast",
            self.spec.id, fps, self.model.bundle.name, expected, expected / fps,
        )  # fmt: skip


def calibrations_of(spec: CameraSpec, bundle: Bundle) -> tuple[str, ...]:
    """Return the SHA-256 of every calibration that a camera's policies are resolved from; "" where there is none."""
    if spec.threshold is not None:
        return ()
    paths = (spec.calibration or bundle.calibration_path, *(profile.calibration for profile in spec.profiles))
    return tuple("" if path is None or not path.exists() else sha256_of(path) for path in paths)


def _counts(result: ScoredFrame) -> bool:
    """Whether a frame left the model or changed an event; others are ignored."""
    return result.score.skipped_reason != WINDOW or bool(result.changes)
