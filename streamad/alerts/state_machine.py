"""AlertStateMachine: applies an `AlertPolicy` to the scores of one camera.

Its only clock is `pts_seconds`, so a replayed stream gives the same alerts as the live one.

An alert **opens** at the first frame t for which

* every scored frame with pts in the closed window [t - min_duration, t] has score >= threshold,
* the history covers that window: its first scored frame lies at or before t - min_duration, and
* no alert closed less than `cooldown_seconds` before t.

That is: the running minimum of the score over `min_duration` reaches the threshold. Calibration counts the
alerts of normal video by this running minimum (`streamad.calibration.budget`), so a change of the window here is
a change there. The history starts over at every gap.

An open alert **holds** while score >= release and **closes** at the first frame under it. However long it
lasts it stays one alert; only its severity may rise. Where the opening condition is met within the cooldown,
the previous alert is **reopened** (same event, no new alert counted) and the cooldown then counts from its
next close: a score that flickers around the threshold is one event, not a series. Reopening, rather than suppressing
the later rise, leaves no part of an anomaly unrecorded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from streamad.calibration.policy import AlertPolicy

Severity = Literal["warning", "critical"]
AlertState = Literal["idle", "pending", "open", "cooldown"]
TransitionKind = Literal["opened", "updated", "closed"]
TransitionReason = Literal["score", "escalated", "reopened", "progress", "gap", "end"]

PROGRESS_SECONDS = 5.0
"""An open alert reports itself this often, so a killed process leaves an event at most this much out of date."""

_SLACK_SECONDS = 1e-6
"""Times this close are equal: 0.52 - 0.48 is not 0.04 to a float. Far under the spacing of frames."""


@dataclass(frozen=True, slots=True)
class AlertTransition:
    """What changed with a camera's alert.

    Attributes:
        kind: "opened" (the only one that counts as a new alert), "updated" or "closed".
        reason: why. opened: "score"; updated: "escalated" (now critical), "reopened" (rose again within the
            cooldown) or "progress" (still open); closed: "score" (fell under the release), "gap" or "end".
        camera: the configured id.
        severity: "critical" once the peak has reached the critical threshold.
        threshold: the policy's threshold.
        index: frame of the transition; for "gap" and "end" the last frame that had a score.
        pts_seconds: its presentation time.
        started_index: first frame of the run of frames over the threshold that opened the alert.
        started_pts_seconds: its presentation time.
        raised_index: the frame at which the alert opened.
        raised_pts_seconds: its presentation time.
        peak_score: highest score since `started_index`.
        peak_index: frame of the peak.
        peak_pts_seconds: its presentation time.
    """

    kind: TransitionKind
    reason: TransitionReason
    camera: str
    severity: Severity
    threshold: float
    index: int
    pts_seconds: float
    started_index: int
    started_pts_seconds: float
    raised_index: int
    raised_pts_seconds: float
    peak_score: float
    peak_index: int
    peak_pts_seconds: float


@dataclass(frozen=True, slots=True)
class _Moment:
    index: int
    pts_seconds: float
    score: float


@dataclass(slots=True)
class _Alert:
    started: _Moment
    raised: _Moment
    peak: _Moment
    severity: Severity
    reported_pts_seconds: float


class AlertStateMachine:
    """The alert of one camera: idle, pending, open, cooldown.

    Args:
        policy: When a score becomes an alert.
        camera: The configured id.
        progress_seconds: An open alert reports an "updated" transition this often.

    Raises:
        ValueError: `progress_seconds` is not positive.
    """

    def __init__(self, policy: AlertPolicy, camera: str, *, progress_seconds: float = PROGRESS_SECONDS) -> None:
        if not progress_seconds > 0:
            raise ValueError(f"progress_seconds must be more than 0, got {progress_seconds}")
        self.policy = policy
        self.camera = camera
        self._progress_seconds = progress_seconds

        self._last: _Moment | None = None  # newest scored frame of this history
        self._history_start: float | None = None
        self._last_below: float | None = None
        self._run_start: _Moment | None = None  # the run of frames at or over the threshold that goes on now
        self._run_peak: _Moment | None = None
        self._alert: _Alert | None = None  # the open alert, or the last one while it can be reopened
        self._is_open = False
        self._closed_pts: float | None = None

    @property
    def state(self) -> AlertState:
        """Where the alert stands after the newest frame."""
        if self._is_open:
            return "open"
        if self._run_start is not None:
            return "pending"
        in_cooldown = self._last is not None and self._cooling(self._last.pts_seconds)
        return "cooldown" if in_cooldown else "idle"

    @property
    def severity(self) -> Severity | None:
        """Severity of the open alert, None where none is open."""
        return self._alert.severity if self._is_open and self._alert is not None else None

    @property
    def peak_index(self) -> int | None:
        """Frame of the highest score of the open alert or, before it opens, of the pending run."""
        if self._is_open and self._alert is not None:
            return self._alert.peak.index
        return self._run_peak.index if self._run_peak is not None else None

    def update(self, index: int, pts_seconds: float, score: float) -> AlertTransition | None:
        """Take the score of the next frame.

        Args:
            index: the frame's number.
            pts_seconds: its presentation time, increasing. A step back is a new time base: a gap that also
                ends the cooldown.
            score: NaN or infinite where the frame has no usable score. The state then holds, but an open
                alert closes, with reason "gap", once there was no score for more than `gap_seconds`.

        Returns:
            What changed, or None. Where a frame both ends an old alert (it comes after a hole) and could open
            the next one, the close is returned and the opening considered from the following frame on.
        """
        stepped_back = self._last is not None and pts_seconds < self._last.pts_seconds
        longest = self.policy.gap_seconds + _SLACK_SECONDS
        closed: AlertTransition | None = None
        if self._last is not None and (stepped_back or pts_seconds - self._last.pts_seconds > longest):
            closed = self.gap()
            if stepped_back:
                self._closed_pts = None
        if not math.isfinite(score):
            return closed
        now = _Moment(index, float(pts_seconds), float(score))
        self._remember(now)
        if closed is not None:
            return closed
        return self._while_open(now) if self._is_open else self._try_open(now)

    def gap(self) -> AlertTransition | None:
        """The stream broke off: forget the pending run and the history, close an open alert at its last
        score.
        """
        return self._end("gap")

    def finish(self) -> AlertTransition | None:
        """The stream ended for good: close an open alert at its last score."""
        return self._end("end")

    def _remember(self, now: _Moment) -> None:
        self._last = now
        if self._history_start is None:
            self._history_start = now.pts_seconds
        if now.score < self.policy.threshold:
            self._last_below = now.pts_seconds
            self._run_start = self._run_peak = None
        elif self._run_start is None or self._run_peak is None:
            self._run_start = self._run_peak = now
        elif now.score > self._run_peak.score:
            self._run_peak = now

    def _try_open(self, now: _Moment) -> AlertTransition | None:
        if self._run_start is None or self._run_peak is None or self._history_start is None:
            return None
        window_start = now.pts_seconds - self.policy.min_duration_seconds
        is_covered = self._history_start <= window_start + _SLACK_SECONDS
        dipped = self._last_below is not None and self._last_below >= window_start - _SLACK_SECONDS
        if dipped or not is_covered:
            return None
        self._is_open = True
        if self._alert is not None and self._cooling(now.pts_seconds):
            if self._run_peak.score > self._alert.peak.score:
                self._alert.peak = self._run_peak
            self._alert.severity = self._severity_of(self._alert.peak)
            return self._transition("updated", "reopened", now)
        self._alert = _Alert(self._run_start, now, self._run_peak, self._severity_of(self._run_peak), now.pts_seconds)
        return self._transition("opened", "score", now)

    def _while_open(self, now: _Moment) -> AlertTransition | None:
        alert = self._alert
        if alert is None:
            return None
        if now.score < self.policy.release:
            return self._close("score", now)
        if now.score > alert.peak.score:
            alert.peak = now
        severity = self._severity_of(alert.peak)
        if severity != alert.severity:
            alert.severity = severity
            return self._transition("updated", "escalated", now)
        if now.pts_seconds - alert.reported_pts_seconds >= self._progress_seconds - _SLACK_SECONDS:
            return self._transition("updated", "progress", now)
        return None

    def _end(self, reason: TransitionReason) -> AlertTransition | None:
        transition = self._close(reason, self._last) if self._is_open and self._last is not None else None
        self._last = self._run_start = self._run_peak = None
        self._history_start = self._last_below = None
        return transition

    def _close(self, reason: TransitionReason, at: _Moment) -> AlertTransition:
        self._is_open = False
        self._closed_pts = at.pts_seconds
        return self._transition("closed", reason, at)

    def _cooling(self, pts_seconds: float) -> bool:
        # Before the close lies only what has another time base; the cooldown means nothing there.
        return (
            self._closed_pts is not None
            and 0 <= pts_seconds - self._closed_pts < self.policy.cooldown_seconds - _SLACK_SECONDS
        )

    def _severity_of(self, peak: _Moment) -> Severity:
        is_critical = self.policy.critical_threshold is not None and peak.score >= self.policy.critical_threshold
        return "critical" if is_critical else "warning"

    def _transition(self, kind: TransitionKind, reason: TransitionReason, at: _Moment) -> AlertTransition:
        alert = self._alert
        assert alert is not None
        alert.reported_pts_seconds = at.pts_seconds
        return AlertTransition(
            kind=kind,
            reason=reason,
            camera=self.camera,
            severity=alert.severity,
            threshold=self.policy.threshold,
            index=at.index,
            pts_seconds=at.pts_seconds,
            started_index=alert.started.index,
            started_pts_seconds=alert.started.pts_seconds,
            raised_index=alert.raised.index,
            raised_pts_seconds=alert.raised.pts_seconds,
            peak_score=alert.peak.score,
            peak_index=alert.peak.index,
            peak_pts_seconds=alert.peak.pts_seconds,
        )
