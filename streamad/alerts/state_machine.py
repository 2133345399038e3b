"""AlertStateMachine: applies an `AlertPolicy` to the scores of one camera.

Its only clock is `pts_seconds`, so a replayed stream gives the same alerts as the live one.

An alert **opens** at the first frame t for which

* every scored frame with pts in the closed window [t - min_duration, t] has score >= threshold, or every one in
  [t - fast_duration, t] has score >= fast threshold,
* the history covers that window: its first scored frame is at or before the window's start, and
* no alert ended less than `cooldown_seconds` before t.

In other words, the running minimum of the score over the window reaches the threshold. Calibration counts the alerts of
normal video by these running minima (`alert_level` in `streamad.calibration.budget`), so the windows must be changed in
both places. The history restarts at every gap.

An open alert **holds** while score >= release and **ends** at the first frame below it. It stays one alert however long
it lasts; only its severity can rise. If the opening condition is met again within the cooldown, it is the same alert
that goes on (same event, no new alert counted), and the cooldown counts from its next end: a score that flickers around
the threshold gives one event, not a series. Because the later rise is not suppressed, no part of an anomaly goes
unrecorded. An alert that has ended **closes** when it has not gone on for `gap_seconds`, and is **reopened** if it goes
on later: who watches it does not see it flicker. Where the cooldown is no longer than that, it closes at its end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from streamad.calibration.policy import AlertPolicy

Severity = Literal["warning", "critical"]
AlertState = Literal["idle", "pending", "open", "cooldown"]
TransitionKind = Literal["opened", "updated", "closed"]
TransitionReason = Literal["score", "escalated", "reopened", "progress", "gap", "end", "inactive", "reconfigured"]

PROGRESS_SECONDS = 5.0
"""An open alert reports an update this often, so that after a kill its stored event is at most this old."""

_SLACK_SECONDS = 1e-6
"""Times this close count as equal, because 0.52 - 0.48 is not 0.04 in floating point. Far below the spacing of
frames."""


@dataclass(frozen=True, slots=True)
class AlertTransition:
    """A change of a camera's alert.

    Attributes:
        kind: "opened" (the only kind that counts as a new alert), "updated" or "closed".
        reason: Why it changed. opened: "score"; updated: "escalated" (now critical), "reopened" (rose again within the
            cooldown) or "progress" (still open); closed: "score" (fell below the release score), "gap", "end",
            "inactive" (the camera's hours are over) or "reconfigured" (its settings changed).
        camera: The camera's id.
        severity: "critical" once the peak has reached the critical threshold.
        threshold: The policy's threshold.
        index: Frame of the transition. A close has that of the alert's end: the first frame below the release or, for
            all reasons but "score", the last frame that had a score.
        pts_seconds: Its presentation time.
        started_index: First frame of the run of frames over the threshold that opened the alert.
        started_pts_seconds: Its presentation time.
        raised_index: Frame at which the alert opened.
        raised_pts_seconds: Its presentation time.
        peak_score: Highest score since `started_index`.
        peak_index: Frame of the peak.
        peak_pts_seconds: Its presentation time.
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
        """May be replaced while `state` is "idle": no run or alert of another threshold is then under way."""
        self.camera = camera
        self._progress_seconds = progress_seconds

        self._last: _Moment | None = None  # newest scored frame of this history
        self._history_start: float | None = None
        # pts of the newest frame below the threshold and of the one below the fast threshold
        self._last_below: float | None = None
        self._last_below_fast: float | None = None
        self._run_start: _Moment | None = None  # the current run of frames at or over the threshold
        self._run_peak: _Moment | None = None
        self._alert: _Alert | None = None  # the open alert, or the last one while it can be reopened
        self._is_open = False
        self._end: _Moment | None = None  # where the alert, which is still open, has ended
        self._ended_pts: float | None = None
        self._peak_since_end: _Moment | None = None  # also of runs that were too short for the alert to go on

    @property
    def state(self) -> AlertState:
        """State of the alert after the newest frame."""
        if self._is_open:
            return "open"
        if self._run_start is not None:
            return "pending"
        in_cooldown = self._last is not None and self._cooling(self._last.pts_seconds)
        return "cooldown" if in_cooldown else "idle"

    @property
    def severity(self) -> Severity | None:
        """Severity of the open alert; None if none is open."""
        return self._alert.severity if self._is_open and self._alert is not None else None

    @property
    def peak_index(self) -> int | None:
        """Frame of the highest score of the open alert or, before it opens, of the pending run."""
        if self._is_open and self._alert is not None:
            return self._alert.peak.index
        return self._run_peak.index if self._run_peak is not None else None

    def update(self, index: int, pts_seconds: float, score: float) -> AlertTransition | None:
        """Process the score of the next frame.

        Args:
            index: The frame's number.
            pts_seconds: Its presentation time, increasing. A step back is a new time base: a gap that also ends the
                cooldown.
            score: The raw score; NaN or infinite if the frame has no usable score. The state then holds, but an open
                alert closes with reason "gap" after more than `gap_seconds` without a score.

        Returns:
            The transition, or None. If a frame after a gap both closes an old alert and could open the next one, the
            close is returned, and opening is considered from the following frame on.
        """
        stepped_back = self._last is not None and pts_seconds < self._last.pts_seconds
        longest = self.policy.gap_seconds + _SLACK_SECONDS
        closed: AlertTransition | None = None
        if self._last is not None and (stepped_back or pts_seconds - self._last.pts_seconds > longest):
            closed = self.gap()
            if stepped_back:
                self._ended_pts = None
        if not math.isfinite(score):
            return closed
        now = _Moment(index, float(pts_seconds), float(score))
        self._remember(now)
        if closed is not None:
            return closed
        return self._while_open(now) if self._is_open else self._try_open(now)

    def gap(self) -> AlertTransition | None:
        """Process a break of the stream: forget the pending run and the history, and close an open alert at its last
        score.
        """
        return self._break_off("gap")

    def finish(self, reason: TransitionReason = "end") -> AlertTransition | None:
        """Process the end of the stream, or of the watch: close an open alert at its last score."""
        return self._break_off(reason)

    def _remember(self, now: _Moment) -> None:
        self._last = now
        if self._peak_since_end is None or now.score > self._peak_since_end.score:
            self._peak_since_end = now
        if self._history_start is None:
            self._history_start = now.pts_seconds
        fast = self.policy.fast_threshold
        if fast is None or now.score < fast:
            self._last_below_fast = now.pts_seconds
        if now.score < self.policy.threshold:
            self._last_below = now.pts_seconds
            self._run_start = self._run_peak = None
        elif self._run_start is None or self._run_peak is None:
            self._run_start = self._run_peak = now
        elif now.score > self._run_peak.score:
            self._run_peak = now

    def _try_open(self, now: _Moment) -> AlertTransition | None:
        if not self._is_raised(now):
            return None
        assert self._run_start is not None
        assert self._run_peak is not None
        self._is_open = True
        if self._alert is not None and self._cooling(now.pts_seconds):
            self._go_on(self._alert)
            self._alert.severity = self._severity_of(self._alert.peak)
            return self._transition("updated", "reopened", now)
        self._alert = _Alert(self._run_start, now, self._run_peak, self._severity_of(self._run_peak), now.pts_seconds)
        return self._transition("opened", "score", now)

    def _is_raised(self, now: _Moment) -> bool:
        """Whether the condition to open an alert is met."""
        return self._run_start is not None and (
            self._held(now, self.policy.min_duration_seconds, self._last_below)
            or self._held(now, self.policy.fast_duration_seconds, self._last_below_fast)
        )

    def _go_on(self, alert: _Alert) -> None:
        self._end = None
        if self._peak_since_end is not None and self._peak_since_end.score > alert.peak.score:
            alert.peak = self._peak_since_end

    def _held(self, now: _Moment, seconds: float, last_below: float | None) -> bool:
        """Whether the history covers the last `seconds`, and none of their frames was below."""
        window_start = now.pts_seconds - seconds
        is_covered = self._history_start is not None and self._history_start <= window_start + _SLACK_SECONDS
        return is_covered and (last_below is None or last_below < window_start - _SLACK_SECONDS)

    def _while_open(self, now: _Moment) -> AlertTransition | None:
        alert = self._alert
        if alert is None:
            return None
        if self._end is None and now.score < self.policy.release:
            self._end, self._ended_pts, self._peak_since_end = now, now.pts_seconds, None
        if self._end is not None:
            if not (self._cooling(now.pts_seconds) and self._is_raised(now)):
                quiet = self.policy.gap_seconds if self.policy.cooldown_seconds > self.policy.gap_seconds else 0.0
                is_over = now.pts_seconds - self._end.pts_seconds >= quiet - _SLACK_SECONDS
                return self._close("score", self._end) if is_over else None
            self._go_on(alert)
        if now.score > alert.peak.score:
            alert.peak = now
        severity = self._severity_of(alert.peak)
        if severity != alert.severity:
            alert.severity = severity
            return self._transition("updated", "escalated", now)
        if now.pts_seconds - alert.reported_pts_seconds >= self._progress_seconds - _SLACK_SECONDS:
            return self._transition("updated", "progress", now)
        return None

    def _break_off(self, reason: TransitionReason) -> AlertTransition | None:
        transition = None
        if self._is_open and self._end is not None:
            transition = self._close("score", self._end)
        elif self._is_open and self._last is not None:
            self._ended_pts, self._peak_since_end = self._last.pts_seconds, None
            transition = self._close(reason, self._last)
        self._last = self._run_start = self._run_peak = None
        self._history_start = self._last_below = self._last_below_fast = None
        return transition

    def _close(self, reason: TransitionReason, at: _Moment) -> AlertTransition:
        self._is_open, self._end = False, None
        return self._transition("closed", reason, at)

    def _cooling(self, pts_seconds: float) -> bool:
        # A frame before the end has another time base, so the cooldown does not apply to it.
        return (
            self._ended_pts is not None
            and 0 <= pts_seconds - self._ended_pts < self.policy.cooldown_seconds - _SLACK_SECONDS
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
