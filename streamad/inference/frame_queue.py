"""Frames on their way through an engine: they leave in the order in which they came."""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streamad.detectors import CameraScorer
from streamad.detectors.base import skipped_score
from streamad.engines.base import Batch
from streamad.preprocessing import ModelInput
from streamad.scoring import FrameScore

OnBatch = Callable[[int, float], None]
"""Told the number of tiles of each batch and the seconds it took, from a thread of the engine's."""


BATCH_WINDOW_SECONDS = 0.05
"""Longest time that a frame waits for others to fill its batch: about one frame of a camera at 25 frames/s."""

BATCHES_AHEAD = 2
"""Batches under way at which an engine needs no more: one runs, one waits. A further one would block the caller."""


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
    tiles: ModelInput
    remaining: int
    outputs: Batch | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class Scored:
    """A frame that left the engine.

    Attributes:
        score: its score.
        error: why the engine or the camera's scorer failed on it; the score is then skipped.
        is_broken: the scorer failed, so what it remembers of the camera is not to be trusted any more.
    """

    score: FrameScore
    error: Exception | None = None
    is_broken: bool = False


class FrameQueue(ABC):
    """Hands frames to an engine and their scores back, in order.

    One thread calls `put`, `flush`, `ready`, `wait` and `drain`; the engine's threads call back.

    Args:
        clock: monotonic seconds, for the batch window.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._jobs: deque[Job] = deque()
        self._of_camera: Counter[str] = Counter()
        self._pending_since: float | None = None
        self._under_way = 0  # batches, under `_changed`: the engine's threads count down
        self._changed = threading.Condition()
        self._unsaid: dict[int, Exception] = {}

    @property
    def waiting(self) -> int:
        """Frames that have not left yet."""
        return len(self._jobs)

    @property
    def is_busy(self) -> bool:
        """Whether the engine has enough to do, so that starting another batch might block."""
        return self._under_way >= BATCHES_AHEAD

    def waiting_of(self, camera: str) -> int:
        """Frames of one camera that have not left yet."""
        return self._of_camera[camera]

    def forget(self, camera: str) -> None:
        """Drop a camera's frames: their scores would be of a state that is no more."""
        with self._changed:
            self._jobs = deque(job for job in self._jobs if job.tiles.camera != camera)
        del self._of_camera[camera]

    def flush_due(self, *, idle: bool = False) -> None:
        """Start what waits for a full batch if it has waited for the batch window; never blocks.

        While the engine has enough to do (`is_busy`) nothing is started: it would not begin any sooner.

        Args:
            idle: no further frame is to be expected now, so waiting is of no use: start it at once.
        """
        since = self._pending_since
        if since is not None and not self.is_busy and (idle or self._clock() - since >= BATCH_WINDOW_SECONDS):
            self.flush()

    def _add(self, job: Job) -> None:
        self._jobs.append(job)
        self._of_camera[job.tiles.camera] += 1

    @abstractmethod
    def put(self, scorer: CameraScorer, tiles: ModelInput) -> None:
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
        for job in finished:
            self._of_camera[job.tiles.camera] -= 1
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
        try:
            return Scored(job.scorer.score(tiles, outputs), error)
        except Exception as fault:  # noqa: BLE001 - whoever reads the score decides; other cameras' frames go on
            return Scored(skipped_score(tiles, "fault"), fault, is_broken=True)
