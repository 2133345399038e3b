"""Event-level metrics at a threshold: correct alerts, missed events, delays, and false alerts."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError

Alert = tuple[float, float]
"""(start, end) of an alert in seconds. It starts when it is raised, which is what an operator sees."""
TruthEvent = tuple[float, float, str]
"""(start, end, kind) of what really happened, in seconds."""


@dataclass(frozen=True)
class EventMatch:
    """A true event and the alert that found it.

    Attributes:
        start_seconds: Start of the event.
        end_seconds: End of the event.
        kind: What happened.
        alert: Position of the first alert that found it; None if it was missed.
        delay_seconds: Time from its start to the alert, 0 if the alert was already open; None if it was missed.
    """

    start_seconds: float
    end_seconds: float
    kind: str
    alert: int | None
    delay_seconds: float | None


@dataclass(frozen=True)
class EventReport:
    """Alerts compared with true events.

    Attributes:
        right: Number of alerts that overlap a true event (several may overlap the same one).
        wrong: Number of alerts that overlap none.
        found: Number of true events with an alert.
        missed: Number of true events without one.
        events: Every true event with its alert.
        wrong_alerts: Positions of the wrong alerts.
        mean_delay_seconds: Mean delay of the events found; None if there are none.
        normal_seconds: Watched time outside true events and their tolerance; None if the duration was not given.
        false_alerts_per_hour: Wrong alerts per hour of normal time; None without normal time.
        alerted_normal_seconds: Time that alerts were open outside true events and their tolerance. This exposes an
            alert that never ends, which finds every event.
        tolerance_seconds: The tolerance used.
    """

    right: int
    wrong: int
    found: int
    missed: int
    events: tuple[EventMatch, ...]
    wrong_alerts: tuple[int, ...]
    mean_delay_seconds: float | None
    normal_seconds: float | None
    false_alerts_per_hour: float | None
    alerted_normal_seconds: float
    tolerance_seconds: float


def match_events(
    alerts: Sequence[Alert],
    truth: Sequence[TruthEvent],
    *,
    tolerance_seconds: float = 1.0,
    duration_seconds: float | None = None,
) -> EventReport:
    """Match alerts with the true events of one video.

    An alert matches an event if it overlaps [start − tolerance, end + tolerance], both ends included: labels made by
    hand are seldom more precise than a second, and an alert needs its minimum duration. An event is found by the
    earliest alert that matches it; one alert can find several events.

    Args:
        alerts: Intervals in any order.
        truth: True events in any order; they may overlap.
        tolerance_seconds: See above.
        duration_seconds: Length of the watched video, for the rates in normal time.

    Raises:
        ValueError: An interval ends before it starts or is not finite, or tolerance or duration is negative.
    """
    if not (math.isfinite(tolerance_seconds) and tolerance_seconds >= 0):
        raise ValueError(f"tolerance_seconds must be 0 or more, got {tolerance_seconds}")
    if duration_seconds is not None and not (math.isfinite(duration_seconds) and duration_seconds >= 0):
        raise ValueError(f"duration_seconds must be 0 or more, got {duration_seconds}")
    _check("alert", [(a[0], a[1]) for a in alerts])
    _check("true event", [(t[0], t[1]) for t in truth])

    by_start = sorted(range(len(alerts)), key=lambda i: alerts[i])
    right: set[int] = set()
    events: list[EventMatch] = []
    for start, end, kind in truth:
        first, last = start - tolerance_seconds, end + tolerance_seconds
        mine = [i for i in by_start if alerts[i][0] <= last and alerts[i][1] >= first]
        right.update(mine)
        events.append(
            EventMatch(
                start_seconds=start,
                end_seconds=end,
                kind=kind,
                alert=mine[0] if mine else None,
                delay_seconds=max(alerts[mine[0]][0] - start, 0.0) if mine else None,
            )
        )
    delays = [event.delay_seconds for event in events if event.delay_seconds is not None]
    wrong = tuple(i for i in range(len(alerts)) if i not in right)
    excused = _union((start - tolerance_seconds, end + tolerance_seconds) for start, end, _ in truth)
    standing = _union((start, end) for start, end in alerts)
    normal_seconds = None
    if duration_seconds is not None:
        normal_seconds = duration_seconds - _overlap([(0.0, duration_seconds)], excused)
    return EventReport(
        right=len(right),
        wrong=len(wrong),
        found=len(delays),
        missed=len(events) - len(delays),
        events=tuple(events),
        wrong_alerts=wrong,
        mean_delay_seconds=sum(delays) / len(delays) if delays else None,
        normal_seconds=normal_seconds,
        false_alerts_per_hour=len(wrong) / normal_seconds * 3600.0 if normal_seconds else None,
        alerted_normal_seconds=sum(b - a for a, b in standing) - _overlap(standing, excused),
        tolerance_seconds=tolerance_seconds,
    )


def labels_to_events(labels: npt.ArrayLike, *, fps: float, kind: str = "anomaly") -> tuple[TruthEvent, ...]:
    """Convert runs of 1 in (T,) frame labels to true events: frame i lasts from i/fps to (i + 1)/fps seconds.

    Raises:
        DatasetError: Labels are not 1-D, or not 0 and 1.
        ValueError: `fps` is not positive.
    """
    truth = np.asarray(labels)
    if truth.ndim != 1 or not np.isin(truth, (0, 1)).all():
        raise DatasetError(f"frame labels must be a 1-D array of 0 and 1, got shape {truth.shape}")
    if not fps > 0:
        raise ValueError(f"fps must be > 0, got {fps}")
    edges = np.diff(truth.astype(np.int8), prepend=0, append=0)
    starts, stops = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1)
    return tuple((float(a / fps), float(b / fps), kind) for a, b in zip(starts, stops, strict=True))


def _check(what: str, intervals: Iterable[Alert]) -> None:
    for i, (start, end) in enumerate(intervals):
        if not (math.isfinite(start) and math.isfinite(end) and start <= end):
            raise ValueError(f"{what} {i} must start before it ends, both finite, got ({start}, {end})")


def _union(intervals: Iterable[Alert]) -> list[Alert]:
    """Disjoint, ordered intervals that cover the same time."""
    merged: list[Alert] = []
    for start, end in sorted(intervals):
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], end))
        else:
            merged.append((start, end))
    return merged


def _overlap(first: list[Alert], second: list[Alert]) -> float:
    """Time common to two lists of disjoint intervals, in seconds."""
    return sum(max(0.0, min(b, d) - max(a, c)) for a, b in first for c, d in second)
