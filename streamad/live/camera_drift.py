"""Drift of one camera's scores: metrics, and a health event while it lasts."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from streamad.alerts.event import new_event_id
from streamad.alerts.health import HealthChange, HealthEvent
from streamad.calibration import Calibration
from streamad.calibration.drift import DriftMonitor, DriftReport, DriftSpec
from streamad.observability.metrics import CameraMetrics
from streamad.observability.status import DriftStatus
from streamad.scoring import FrameScore

METRIC_FRAMES = 25
"""The gauges are set every so many frames."""

_log = logging.getLogger(__name__)


class CameraDrift:
    """Compares a camera's normal scores with its calibration.

    Args:
        camera: The configured id.
        calibration: The calibration. None: drift is not monitored.
        spec: Windows and the rate of false warnings.
        metrics: The camera's metrics.
        note: Takes changes of the event.
        wall_clock: Aware datetimes, for events.
    """

    def __init__(
        self,
        camera: str,
        calibration: Calibration | None,
        spec: DriftSpec,
        metrics: CameraMetrics,
        *,
        note: Callable[[HealthChange], None],
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._camera = camera
        self._spec = spec
        self._metrics = metrics
        self._note = note
        self._wall_clock = wall_clock
        self._monitor = None if calibration is None else DriftMonitor(calibration, spec)
        self._event: HealthEvent | None = None
        self._window_from: tuple[int, float] | None = None
        self._frames = 0

    @property
    def status(self) -> DriftStatus | None:
        """For `/status`; None without a calibration."""
        if self._monitor is None:
            return None
        report = self._monitor.report
        return DriftStatus(
            ratio=self._monitor.ratio,
            drifted=None if report is None else self._event is not None,
            message=None if self._event is None else self._event.message,
        )

    def use(self, calibration: Calibration | None) -> None:
        """Compare with another calibration from now on; the window begins again."""
        self._monitor = None if calibration is None else DriftMonitor(calibration, self._spec)
        self._window_from = None

    def follow(self, score: FrameScore) -> None:
        """Take the score of a frame outside alerts."""
        if self._monitor is None or score.skipped_reason is not None:
            return
        if self._window_from is None:
            self._window_from = score.index, score.pts_seconds
        self._frames += 1
        report = self._monitor.update(score.pts_seconds, score.score)
        if self._frames % METRIC_FRAMES == 0:
            self._metrics.set_drift(self._monitor.ratio, self._monitor.shares)
        if report is not None:
            self._judged(report, score)
            self._window_from = None

    def finish(self) -> None:
        """The source has ended: close an open event."""
        if self._event is not None:
            self._close(self._event.updated_pts_seconds)

    def _judged(self, report: DriftReport, score: FrameScore) -> None:
        if not self._spec.enabled:
            return
        self._metrics.set_drifted(report.has_drifted)
        if report.has_drifted:
            self._warn(report, score)
        elif self._event is not None:
            self._close(score.pts_seconds)

    def _warn(self, report: DriftReport, score: FrameScore) -> None:
        now, first = self._wall_clock(), self._window_from or (score.index, score.pts_seconds)
        if self._event is None:
            _log.warning("camera %s: %s", self._camera, report)
            self._event = HealthEvent(
                id=new_event_id(now), camera=self._camera, topic="drift", state="open", reason="drift",
                reasons=("drift",), message=str(report), started_index=first[0], started_pts_seconds=first[1],
                started_at=now, updated_index=score.index, updated_pts_seconds=score.pts_seconds, updated_at=now,
                frames=self._frames,
            )  # fmt: skip
            self._note(HealthChange(self._event, "opened"))
            return
        self._event = replace(
            self._event, message=str(report), updated_index=score.index, updated_pts_seconds=score.pts_seconds,
            updated_at=now, frames=self._frames,
        )  # fmt: skip
        self._note(HealthChange(self._event, "updated", is_progress=True))

    def _close(self, pts_seconds: float) -> None:
        assert self._event is not None
        now = self._wall_clock()
        closed = replace(self._event, state="closed", ended_pts_seconds=pts_seconds, ended_at=now, updated_at=now)
        self._event = None
        self._note(HealthChange(closed, "closed"))
