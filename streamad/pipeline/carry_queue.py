"""Frames through an engine that carries each camera's state."""

from __future__ import annotations

import time

import numpy as np

from streamad.detectors import CameraScorer
from streamad.engines import CarryingEngine
from streamad.engines.base import Batch
from streamad.pipeline.frame_queue import FrameQueue, Job, OnBatch
from streamad.tiling import Carry, Tiles


class CarryQueue(FrameQueue):
    """Gives an engine each camera's frames in their order, as many in a run as it is prepared for.

    Args:
        engine: runs them.
        on_batch: see `OnBatch`.
    """

    def __init__(self, engine: CarryingEngine, on_batch: OnBatch | None = None) -> None:
        super().__init__()
        self.engine = engine
        self.on_batch = on_batch
        self._pending: dict[int, tuple[Carry, list[Job]]] = {}

    def put(self, scorer: CameraScorer, tiles: Tiles) -> None:
        """Add a camera's newest frame; a full run starts at once. Blocks while the engine is busy with earlier ones.

        Raises:
            ValueError: the tiles are not of a network that carries state.
        """
        carry = tiles.carry
        if carry is None and tiles.withheld is not None:  # held back before the network: it only keeps its place
            self._jobs.append(Job(scorer, tiles, 0))
            return
        if carry is None:
            raise ValueError(
                "the engine carries state and the tiles do not say where: was the scorer made by the model?"
            )
        job = Job(scorer, tiles, 1)
        self._jobs.append(job)
        jobs = self._pending.setdefault(id(carry), (carry, []))[1]
        jobs.append(job)
        if len(jobs) == self.engine.run_sizes[-1]:
            self._start(id(carry))

    def flush(self) -> None:
        """Start what is waiting for a full run."""
        for key in list(self._pending):
            self._start(key)

    def _drain_engine(self) -> None:
        self.engine.drain()

    def _start(self, key: int) -> None:
        carry, jobs = self._pending.pop(key)
        if carry.state is None:
            carry.state = self.engine.new_state()
        frames = jobs[0].tiles.batch if len(jobs) == 1 else np.concatenate([job.tiles.batch for job in jobs])
        started = time.monotonic()

        def done(outputs: Batch) -> None:
            if self.on_batch is not None:
                self.on_batch(len(outputs), time.monotonic() - started)
            with self._changed:
                for row, job in enumerate(jobs):
                    job.outputs = outputs[row : row + 1]
                    job.remaining = 0
                self._changed.notify_all()

        def failed(error: Exception) -> None:
            with self._changed:
                for job in jobs:
                    job.error = error
                    job.remaining = 0
                self._changed.notify_all()

        self.engine.submit(carry.state, frames, done, failed)
