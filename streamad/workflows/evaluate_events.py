"""Alerts against true events: the alert policy of live watching on the scores of an evaluation."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamad.alerts.state_machine import AlertStateMachine
from streamad.calibration import AlertPolicy
from streamad.evaluation.events import Alert, labels_to_events, match_events
from streamad.evaluation.result import AlertMetrics, ClipEvent
from streamad.evaluation.scored_clips import ScoredClip

TOLERANCE_SECONDS = 1.0


def alerts_of(
    name: str, scores: npt.NDArray[np.float64], fps: float, policy: AlertPolicy
) -> tuple[tuple[Alert, ...], frozenset[int]]:
    """Apply an alert policy to the scores of a clip.

    An alert that is reopened within its cooldown is the same alert for an operator, but was not open in between.

    Args:
        name: Name of the clip.
        scores: (frames,) raw scores, NaN where a frame has none.
        fps: Frames a second.
        policy: When a score becomes an alert.

    Returns:
        (start, end) in seconds of each time that an alert is open, start being when it is raised; and the positions of
        those that reopen an earlier alert.
    """
    machine = AlertStateMachine(policy, name)
    standing: list[Alert] = []
    again: set[int] = set()
    end_of_clip = len(scores) / fps
    for index, value in enumerate(scores):
        change = machine.update(index, index / fps, float(value))
        if change is None:
            continue
        if change.kind == "closed":
            standing[-1] = (standing[-1][0], max(standing[-1][0], change.pts_seconds))
        elif change.kind == "opened" or change.reason == "reopened":
            if change.kind != "opened":
                again.add(len(standing))
            standing.append((change.pts_seconds, end_of_clip))
    return tuple(standing), frozenset(again)


def alert_metrics(traces: Sequence[ScoredClip], policy: AlertPolicy) -> AlertMetrics:
    """Compare the alerts of all clips with their true intervals.

    A false alert is one that was raised where nothing was abnormal. A reopened alert can find an event, but does not
    count as a new alert, right or wrong.

    Raises:
        ValueError: A trace has no frame rate.
    """
    events: list[ClipEvent] = []
    alerts = wrong = 0
    normal = 0.0
    for trace in traces:
        if trace.fps is None:
            raise ValueError(f"clip {trace.name!r}: events need the frames a second")
        report = match_events(
            trace.alerts,
            labels_to_events(trace.labels, fps=trace.fps),
            tolerance_seconds=TOLERANCE_SECONDS,
            duration_seconds=len(trace.labels) / trace.fps,
        )
        alerts += len(trace.alerts) - len(trace.reopened)
        wrong += len(set(report.wrong_alerts) - trace.reopened)
        normal += report.normal_seconds or 0.0
        events += [ClipEvent(trace.name, e.start_seconds, e.end_seconds, e.delay_seconds) for e in report.events]
    delays = [event.delay_seconds for event in events if event.delay_seconds is not None]
    values, truth = (np.concatenate([getattr(trace, name) for trace in traces]) for name in ("scores", "labels"))
    scored = ~np.isnan(values)
    over = values[scored] >= policy.threshold
    abnormal = truth[scored] > 0
    return AlertMetrics(
        threshold=policy.threshold,
        alerts_per_day=None if policy.calibration is None else policy.calibration.alerts_per_day,
        found=len(delays),
        missed=len(events) - len(delays),
        right=alerts - wrong,
        wrong=wrong,
        false_alerts_per_hour=wrong / normal * 3600 if normal else None,
        normal_seconds=normal,
        mean_delay_seconds=float(np.mean(delays)) if delays else None,
        frame_true_positive_rate=float(over[abnormal].mean()) if abnormal.any() else 0.0,
        frame_false_positive_rate=float(over[~abnormal].mean()) if (~abnormal).any() else None,
        events=tuple(events),
        vouched_alerts_per_day=None if policy.calibration is None else policy.calibration.vouched_alerts_per_day,
    )
