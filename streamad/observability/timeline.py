"""ScoreTimeline: the highest score of every ten seconds of the last day, in memory."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

STEP_SECONDS = 10
KEPT_SECONDS = 24 * 3600
_SLOTS = KEPT_SECONDS // STEP_SECONDS


class TimelinePoint(NamedTuple):
    """The highest score of a period.

    Attributes:
        at: Unix time of its beginning.
        score: The highest displayed score.
        threshold: The threshold at that moment, on the same scale.
    """

    at: int
    score: float
    threshold: float


class _Ring:
    """One camera's periods. A slot belongs to the period that `number` names, so that the wall clock may be set."""

    def __init__(self) -> None:
        self.number = np.full(_SLOTS, -1, np.int64)
        self.score = np.full(_SLOTS, -np.inf, np.float32)
        self.threshold = np.zeros(_SLOTS, np.float32)


class ScoreTimeline:
    """Keeps the highest score of every ten seconds of the last 24 hours of each camera: 140 kB a camera.

    One thread adds; any thread reads.

    Args:
        wall_clock: Unix time, seconds.
    """

    def __init__(self, wall_clock: Callable[[], float] = time.time) -> None:
        self._wall_clock = wall_clock
        self._rings: dict[str, _Ring] = {}

    def add(self, camera: str, score: float, threshold: float) -> None:
        """Take a frame's score.

        Args:
            camera: The camera's id.
            score: As displayed; frames without a score (NaN) are ignored.
            threshold: The threshold, on the same scale.
        """
        if not math.isfinite(score):
            return
        ring = self._rings.get(camera) or self._rings.setdefault(camera, _Ring())
        number = int(self._wall_clock() // STEP_SECONDS)
        slot = number % _SLOTS
        if ring.number[slot] != number:
            ring.score[slot], ring.threshold[slot], ring.number[slot] = score, threshold, number
        elif score > ring.score[slot]:
            ring.score[slot], ring.threshold[slot] = score, threshold

    def points(self, camera: str, since: float, until: float, step_seconds: int = STEP_SECONDS) -> list[TimelinePoint]:
        """Return the periods with a score that begin in [since, until), oldest first.

        Args:
            camera: The camera's id; one without scores has no points.
            since: Unix time.
            until: Unix time.
            step_seconds: Length of a period, a multiple of ten seconds.
        """
        ring = self._rings.get(camera)
        if ring is None:
            return []
        number, score, threshold = ring.number.copy(), ring.score.copy(), ring.threshold.copy()
        newest = int(self._wall_clock() // STEP_SECONDS)
        at = number * STEP_SECONDS
        # What lies in the future was added before the clock was set back.
        wanted = (number > newest - _SLOTS) & (number <= newest) & (at >= since) & (at < until)
        found: dict[int, TimelinePoint] = {}
        for slot in np.flatnonzero(wanted)[np.argsort(number[wanted])]:
            begin = int(at[slot]) // step_seconds * step_seconds
            known = found.get(begin)
            if known is None or score[slot] > known.score:
                found[begin] = TimelinePoint(begin, float(score[slot]), float(threshold[slot]))
        return list(found.values())
