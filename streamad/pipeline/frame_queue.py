"""Frames on their way through an engine: they leave in the order in which they came."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streamad.detectors import CameraScorer
from streamad.engines.base import Batch
from streamad.scoring import FrameScore
from streamad.tiling import Tiles

OnBatch = Callable[[int, float], None]
"""Told the number of tiles of each batch and the seconds it took, from a thread of the engine's."""


@dataclass(slots=True)
class Job:
    """One frame on its way through the engine.

    Attributes:
        scorer: its camera's.
        tiles: what the engine is given.
        remaining: tiles that are not answered yet.
        outputs: the answers so far.
        error: why the engine failed on it.
    """

    scorer: CameraScorer
    tiles: Tiles
    remaining: int
    outputs: Batch | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A frame that left the engine.

    Attributes:
        score: its score.
        error: why the engine failed on it; the score is then withheld.
    """

    score: FrameScore
    error: Exception | None = None


class FrameQueue(ABC):
    """Hands frames to an engine and their scores back, in order.

    One thread calls `put`, `flush`, `ready`, `wait` and `drain`; the engine's threads call back.
    """

    def __init__(self) -> None:
        self._jobs: deque[Job] = deque()
        self._changed = threading.Condition()
        self._unsaid: dict[int, Exception] = {}

    @property
    def waiting(self) -> int:
        """Frames that have not left yet."""
        return len(self._jobs)

    @abstractmethod
    def put(self, scorer: CameraScorer, tiles: Tiles) -> None:
        """Add a frame's tiles; full batches start at once. Blocks while the engine is busy with earlier ones."""

    @abstractmethod
    def flush(self) -> None:
        """Start what is waiting for a full batch."""

    def ready(self) -> list[Scored]:
        """Frames that are finished and whose predecessors are, in order."""
        finished = []
        with self._changed:
            while self._jobs and self._jobs[0].remaining == 0:
                finished.append(self._jobs.popleft())
        return [scored for job in finished if (scored := self._scored(job)) is not None]

    def wait(self, timeout: float) -> list[Scored]:
        """`ready()`, after waiting up to `timeout` seconds for the first frame."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs or self._jobs[0].remaining == 0, timeout)
        return self.ready()

    def drain(self) -> list[Scored]:
        """Start what is pending, wait for everything, return the rest."""
        self.flush()
        self._drain_engine()
        finished = []
        while self._jobs:
            finished += self.wait(timeout=1.0)
        return finished

    @abstractmethod
    def _drain_engine(self) -> None:
        """Wait until the engine has answered everything."""

    def _scored(self, job: Job) -> Scored | None:
        """The score of a finished frame; None where it has none of its own."""
        tiles, camera = job.tiles, id(job.scorer)
        if not tiles.due:
            if job.error is not None:
                self._unsaid[camera] = job.error  # told with the camera's next score
            return None
        outputs = job.outputs if job.outputs is not None else np.empty(0, np.float32)
        if job.error is not None:
            # NaN outputs make the scorer withhold the frame and keep its own state consistent.
            outputs = np.full(max(1, len(tiles.batch)), np.nan, np.float32)
        error = job.error or self._unsaid.pop(camera, None)
        return Scored(job.scorer.score(tiles, outputs), error)
