"""Queue of frames in front of an engine; scores leave in the order in which the frames came."""

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
"""Called with the size of each batch and the seconds it took, from one of the engine's threads."""


BATCH_WINDOW_SECONDS = 0.05
"""Longest time that a frame waits for others to fill its batch: about one frame of a camera at 25 frames/s."""

BATCHES_AHEAD = 2
"""An engine with this many batches is busy: one runs, one waits. Another would block the caller."""


@dataclass(slots=True)
class Job:
    """One frame on its way through the engine.

    Attributes:
        scorer: The camera's scorer.
        tiles: The network's input.
        remaining: Inputs without an output so far.
        outputs: The outputs so far.
        error: Why the engine failed.
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
        score: Its score.
        error: Why the engine or the camera's scorer failed; the frame then has no score.
        is_broken: Whether the scorer failed, so that its state is no longer valid.
        model_input: What the network saw of it.
    """

    score: FrameScore
    error: Exception | None = None
    is_broken: bool = False
    model_input: ModelInput | None = None


class FrameQueue(ABC):
    """Passes frames to an engine and returns their scores in order.

    One thread calls `put`, `flush`, `ready`, `wait`, and `drain`; the engine's threads call back.

    Args:
        clock: Monotonic seconds, for the batch window.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._jobs: deque[Job] = deque()
        self._of_camera: Counter[str] = Counter()
        self._pending_since: float | None = None
        self._under_way = 0  # batches, under `_changed`: the engine's threads count down
        self._changed = threading.Condition()
        self._unreported: dict[int, Exception] = {}

    @property
    def waiting(self) -> int:
        """Number of frames that have not left yet."""
        return len(self._jobs)

    @property
    def is_busy(self) -> bool:
        """Whether the engine has enough to do, so that starting another batch might block."""
        return self._under_way >= BATCHES_AHEAD

    def waiting_of(self, camera: str) -> int:
        """Number of frames of one camera that have not left yet."""
        return self._of_camera[camera]

    def forget(self, camera: str) -> None:
        """Drop a camera's frames; their scores would belong to a discarded state."""
        with self._changed:
            self._jobs = deque(job for job in self._jobs if job.tiles.camera != camera)
        del self._of_camera[camera]

    def flush_due(self, *, idle: bool = False) -> None:
        """Start an incomplete batch that has waited for the batch window; never blocks.

        Nothing is started while the engine is busy (`is_busy`), because it would not run any sooner.

        Args:
            idle: No further frame is expected now: start the batch at once.
        """
        since = self._pending_since
        if since is not None and not self.is_busy and (idle or self._clock() - since >= BATCH_WINDOW_SECONDS):
            self.flush()

    def _add(self, job: Job) -> None:
        self._jobs.append(job)
        self._of_camera[job.tiles.camera] += 1

    @abstractmethod
    def put(self, scorer: CameraScorer, tiles: ModelInput) -> None:
        """Add a frame's input. Full batches start at once, which blocks while the engine is busy with earlier ones."""

    @abstractmethod
    def flush(self) -> None:
        """Start an incomplete batch."""

    def ready(self) -> list[Scored]:
        """Return the finished frames whose predecessors are finished, in order."""
        finished = []
        with self._changed:
            while self._jobs and self._jobs[0].remaining == 0:
                finished.append(self._jobs.popleft())
        for job in finished:
            self._of_camera[job.tiles.camera] -= 1
        return [scored for job in finished if (scored := self._scored(job)) is not None]

    def wait(self, timeout: float) -> list[Scored]:
        """Return `ready()` after waiting up to `timeout` seconds for the first frame."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs or self._jobs[0].remaining == 0, timeout)
        return self.ready()

    def drain(self) -> list[Scored]:
        """Start what is pending, wait for it, and return the remaining frames."""
        self.flush()
        self._drain_engine()
        finished = []
        while self._jobs:
            finished += self.wait(timeout=1.0)
        return finished

    @abstractmethod
    def _drain_engine(self) -> None:
        """Wait until the engine has finished."""

    def _scored(self, job: Job) -> Scored | None:
        """Score a finished frame; None if its input scores nothing."""
        tiles, camera = job.tiles, id(job.scorer)
        if not tiles.due:
            if job.error is not None:
                self._unreported[camera] = job.error  # reported with the camera's next score
            return None
        outputs = job.outputs if job.outputs is not None else np.empty(0, np.float32)
        if job.error is not None:
            # With NaN outputs the scorer skips the frame and keeps its own state consistent.
            outputs = np.full(max(1, len(tiles.batch)), np.nan, np.float32)
        error = job.error or self._unreported.pop(camera, None)
        try:
            return Scored(job.scorer.score(tiles, outputs), error, model_input=tiles)
        except Exception as fault:  # noqa: BLE001 - the reader of the score decides; other cameras continue
            return Scored(skipped_score(tiles, "fault"), fault, is_broken=True)
