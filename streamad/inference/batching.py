"""Batches across frames and cameras: inputs go in, scores come out in the same order."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from streamad.detectors import CameraScorer
from streamad.engines.base import Batch, Engine
from streamad.inference.frame_queue import FrameQueue, Job, OnBatch, Scored
from streamad.preprocessing import ModelInput

__all__ = ["Batcher", "Scored"]


@dataclass(slots=True)
class _Slice:
    """Consecutive inputs of one job inside a batch."""

    job: Job
    start: int
    stop: int


class Batcher(FrameQueue):
    """Packs the inputs of many frames into full batches and distributes the outputs.

    Frames leave in the order in which they came, whatever order the batches finish in.

    Args:
        engine: Runs the batches.
        on_batch: See `OnBatch`.
        clock: Monotonic seconds, for the batch window.
    """

    def __init__(
        self, engine: Engine, on_batch: OnBatch | None = None, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        super().__init__(clock)
        self.engine = engine
        self.on_batch = on_batch
        self._pending: list[_Slice] = []
        self._pending_tiles = 0

    def put(self, scorer: CameraScorer, tiles: ModelInput) -> None:
        """See `FrameQueue.put`."""
        count = 0 if tiles.skipped_reason else len(tiles.batch)
        job = Job(scorer, tiles, count)
        self._add(job)
        largest = self.engine.batch_sizes[-1]
        start = 0
        while start < count:
            stop = min(count, start + largest - self._pending_tiles)
            if not self._pending:
                self._pending_since = self._clock()
            self._pending.append(_Slice(job, start, stop))
            self._pending_tiles += stop - start
            start = stop
            if self._pending_tiles == largest:
                self.flush()

    def flush(self) -> None:
        """See `FrameQueue.flush`."""
        if not self._pending:
            return
        slices, self._pending, self._pending_tiles, self._pending_since = self._pending, [], 0, None
        started = time.monotonic()

        def done(outputs: Batch) -> None:
            if self.on_batch is not None:
                self.on_batch(len(outputs), time.monotonic() - started)
            try:
                with self._changed:
                    offset = 0
                    for part in slices:
                        size = part.stop - part.start
                        job = part.job
                        if job.outputs is None:
                            job.outputs = np.empty((len(job.tiles.batch), *outputs.shape[1:]), np.float32)
                        job.outputs[part.start : part.stop] = outputs[offset : offset + size]
                        offset += size
            except ValueError as error:  # the outputs do not match the inputs
                failed(error)
                return
            ended()

        def failed(error: Exception) -> None:
            for part in slices:
                part.job.error = error
            ended()

        def ended() -> None:
            with self._changed:
                for part in slices:
                    part.job.remaining -= part.stop - part.start
                self._under_way -= 1
                self._changed.notify_all()

        with self._changed:
            self._under_way += 1
        try:
            parts = [s.job.tiles.batch[s.start : s.stop] for s in slices]
            self.engine.submit(parts[0] if len(parts) == 1 else np.concatenate(parts), done, failed)
        except Exception as error:  # noqa: BLE001 - every frame gets an answer, or its camera would wait forever
            failed(error)

    def _drain_engine(self) -> None:
        self.engine.drain()
