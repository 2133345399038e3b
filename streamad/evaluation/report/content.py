"""What a report is made of, beside the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamad.evaluation.result import EvaluationResult
from streamad.scoring import Calibration


@dataclass(frozen=True)
class Trace:
    """The scores of one clip.

    Attributes:
        name: the clip's.
        scores: (frames,) raw scores, NaN where a frame has none.
        labels: (frames,) 0 or 1.
        fps: frames a second; None: the time axis counts frames.
        alerts: (start, end) of alerts, seconds.
    """

    name: str
    scores: npt.NDArray[np.float64] = field(repr=False)
    labels: npt.NDArray[np.uint8] = field(repr=False)
    fps: float | None = None
    alerts: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True)
class Thumbnail:
    """A frame worth looking at.

    Attributes:
        caption: clip, frame, score, why it is here.
        jpeg: the picture, its heat map laid over.
    """

    caption: str
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows.

    Attributes:
        result: the figures.
        traces: scores of each clip.
        calibration: gives the threshold in the pictures; None draws none.
        false_alarms: the worst normal frames.
        misses: the true events with the lowest scores.
    """

    result: EvaluationResult
    traces: Sequence[Trace]
    calibration: Calibration | None = None
    false_alarms: Sequence[Thumbnail] = ()
    misses: Sequence[Thumbnail] = ()


@dataclass(frozen=True)
class Place:
    """A frame that was picked for a thumbnail.

    Attributes:
        clip: position of the clip.
        frame: position of the frame in it.
        score: its raw score.
        why: in words.
    """

    clip: int
    frame: int
    score: float
    why: str


def worst_false_alarms(traces: Sequence[Trace], count: int, *, apart_seconds: float = 2.0) -> list[Place]:
    """The normal frames with the highest scores, one for each stretch of `apart_seconds`, the worst first."""
    found: list[Place] = []
    for number, trace in enumerate(traces):
        values = np.where((trace.labels == 0) & np.isfinite(trace.scores), trace.scores, -np.inf)
        reach = max(1, round(apart_seconds * (trace.fps or 25.0)))
        for _ in range(count):
            at = int(values.argmax()) if values.size else 0
            if not values.size or not np.isfinite(values[at]):
                break
            found.append(Place(number, at, float(values[at]), "normal, but scored high"))
            values[max(0, at - reach) : at + reach + 1] = -np.inf
    return sorted(found, key=lambda place: -place.score)[:count]


def worst_misses(traces: Sequence[Trace], count: int) -> list[Place]:
    """The true events (runs of abnormal frames) whose highest score is lowest, each at that frame, the worst first."""
    found: list[Place] = []
    for number, trace in enumerate(traces):
        edges = np.flatnonzero(np.diff(np.concatenate(([0], trace.labels, [0]))))
        for first, stop in edges.reshape(-1, 2):
            inside = trace.scores[first:stop]
            if not np.isfinite(inside).any():
                continue
            at = int(first + np.nanargmax(np.where(np.isfinite(inside), inside, np.nan)))
            why = f"highest score of the event in frames {first} to {stop - 1}"
            found.append(Place(number, at, float(trace.scores[at]), why))
    return sorted(found, key=lambda place: place.score)[:count]
