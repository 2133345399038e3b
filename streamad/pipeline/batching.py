"""Batches across frames and cameras: tiles go in, scores come out in the same order."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from streamad.detectors import CameraScorer
from streamad.engines.base import Batch, Engine
from streamad.scoring import FrameScore
from streamad.tiling import Tiles


@dataclass(slots=True)
class _Job:
    """One frame on its way through the engine."""

    scorer: CameraScorer
    tiles: Tiles
    outputs: Batch | None
    remaining: int
    error: Exception | None = None


@dataclass(slots=True)
class _Slice:
    """Consecutive tiles of one job inside a batch."""

    job: _Job
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Scored:
    """A frame that left the engine.

    Attributes:
        score: its score.
        error: why the engine failed on it; the score is then withheld.
    """

    score: FrameScore
    error: Exception | None = None


@dataclass
class Batcher:
    """Packs the tiles of many frames into full batches and hands the outputs back.

    Frames leave in the order in which they came, whatever order batches finish in. One thread calls `put`, `flush`,
    `ready` and `drain`; the engine's threads call back.

    Args:
        engine: runs the batches.
        on_batch: told the number of tiles of each batch and the seconds it took, from a thread of the engine's.
    """

    engine: Engine
    on_batch: Callable[[int, float], None] | None = None
    _jobs: deque[_Job] = field(default_factory=deque)
    _pending: list[_Slice] = field(default_factory=list)
    _pending_tiles: int = 0
    _changed: threading.Condition = field(default_factory=threading.Condition)

    @property
    def waiting(self) -> int:
        """Frames that have not left yet."""
        return len(self._jobs)

    def put(self, scorer: CameraScorer, tiles: Tiles) -> None:
        """Add a frame's tiles; full batches start at once. Blocks while the engine is busy with earlier ones."""
        count = 0 if tiles.withheld else len(tiles.batch)
        job = _Job(scorer, tiles, None, count)
        self._jobs.append(job)
        largest = self.engine.batch_sizes[-1]
        start = 0
        while start < count:
            stop = min(count, start + largest - self._pending_tiles)
            self._pending.append(_Slice(job, start, stop))
            self._pending_tiles += stop - start
            start = stop
            if self._pending_tiles == largest:
                self.flush()

    def flush(self) -> None:
        """Start what is waiting for a full batch."""
        if not self._pending:
            return
        slices, self._pending, self._pending_tiles = self._pending, [], 0
        parts = [s.job.tiles.batch[s.start : s.stop] for s in slices]
        batch = parts[0] if len(parts) == 1 else np.concatenate(parts)
        started = time.monotonic()

        def done(outputs: Batch) -> None:
            if self.on_batch is not None:
                self.on_batch(len(outputs), time.monotonic() - started)
            offset = 0
            with self._changed:
                for part in slices:
                    size = part.stop - part.start
                    job = part.job
                    if job.outputs is None:
                        job.outputs = np.empty((len(job.tiles.batch), *outputs.shape[1:]), np.float32)
                    job.outputs[part.start : part.stop] = outputs[offset : offset + size]
                    job.remaining -= size
                    offset += size
                self._changed.notify_all()

        def failed(error: Exception) -> None:
            with self._changed:
                for part in slices:
                    part.job.error = error
                    part.job.remaining -= part.stop - part.start
                self._changed.notify_all()

        self.engine.submit(batch, done, failed)

    def ready(self) -> list[Scored]:
        """Frames that are finished and whose predecessors are, in order."""
        finished = []
        with self._changed:
            while self._jobs and self._jobs[0].remaining == 0:
                finished.append(self._jobs.popleft())
        return [self._scored(job) for job in finished]

    def wait(self, timeout: float) -> list[Scored]:
        """`ready()`, after waiting up to `timeout` seconds for the first frame."""
        with self._changed:
            self._changed.wait_for(lambda: not self._jobs or self._jobs[0].remaining == 0, timeout)
        return self.ready()

    def drain(self) -> list[Scored]:
        """Start what is pending, wait for everything, return the rest."""
        self.flush()
        self.engine.drain()
        finished = []
        while self._jobs:
            finished += self.wait(timeout=1.0)
        return finished

    @staticmethod
    def _scored(job: _Job) -> Scored:
        tiles = job.tiles
        outputs = job.outputs if job.outputs is not None else np.empty(0, np.float32)
        if job.error is not None:
            # NaN outputs make the scorer withhold the frame and keep its own state consistent.
            outputs = np.full(max(1, len(tiles.batch)), np.nan, np.float32)
        return Scored(job.scorer.score(tiles, outputs), job.error)
