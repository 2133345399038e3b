"""Queue of frames in front of an engine that carries each camera's state."""

from __future__ import annotations

import time
import weakref
from collections.abc import Callable

import numpy as np

from streamad.detectors import CameraScorer
from streamad.engines import StatefulEngine
from streamad.engines.state_buffers import OUTPUTS
from streamad.engines.stateful import Answers, StreamChunk
from streamad.errors import EngineError
from streamad.inference.frame_queue import FrameQueue, Job, OnBatch
from streamad.preprocessing import ModelInput, StreamSlot


class StatefulQueue(FrameQueue):
    """Passes each camera's frames to an engine in order, several frames and cameras in one run if it supports that.

    A run starts when it is full: when each camera has the frames of a run, or as many cameras as a run takes. `flush`
    starts it earlier. Unless `full_runs` is set, a frame that arrives while the engine is idle starts at once, so that
    runs grow only while it is busy.

    Args:
        engine: Runs the network.
        on_batch: See `OnBatch`.
        full_runs: For files: wait for full runs, which also makes them the same each time.
        clock: Monotonic seconds, for the batch window.
    """

    def __init__(
        self,
        engine: StatefulEngine,
        on_batch: OnBatch | None = None,
        *,
        full_runs: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(clock)
        self.engine = engine
        self.on_batch = on_batch
        self._full_runs = full_runs
        self._pending: dict[int, tuple[StreamSlot, list[Job]]] = {}
        self._cameras: weakref.WeakSet[StreamSlot] = weakref.WeakSet()

    def put(self, scorer: CameraScorer, tiles: ModelInput) -> None:
        """Add a camera's newest frame. Blocks while the engine is busy with earlier ones and runs are full.

        Raises:
            ValueError: The input is not that of a network that carries state.
        """
        stream = tiles.stream
        if (
            stream is None and tiles.skipped_reason is not None
        ):  # rejected before the network: it only keeps its position
            self._add(Job(scorer, tiles, 0))
            return
        if stream is None:
            raise ValueError(
                "the engine carries state and the tiles do not say where: was the scorer made by the model?"
            )
        job = Job(scorer, tiles, 1)
        self._add(job)
        self._cameras.add(stream)
        if not self._pending:
            self._pending_since = self._clock()
        self._pending.setdefault(id(stream), (stream, []))[1].append(job)
        if self._is_full() or not (self._full_runs or self._under_way):
            self.flush()

    def flush(self) -> None:
        """Start an incomplete run."""
        if self._pending:
            waiting, self._pending, self._pending_since = list(self._pending.values()), {}, None
            self._start(waiting)

    def _drain_engine(self) -> None:
        self.engine.drain()

    def _is_full(self) -> bool:
        frames, cameras = self.engine.run_sizes[-1], self.engine.camera_sizes[-1]
        lengths = [len(jobs) for _, jobs in self._pending.values()]
        ready = sum(length >= frames for length in lengths)
        # A camera that has ended does not keep others waiting for long.
        return ready >= min(cameras, len(self._cameras)) or sum(lengths) >= 2 * frames * cameras

    def _start(self, waiting: list[tuple[StreamSlot, list[Job]]]) -> None:
        started = time.monotonic()

        def done(answers: Answers) -> None:
            if self.on_batch is not None:
                self.on_batch(sum(len(jobs) for _, jobs in waiting), time.monotonic() - started)
            try:
                for (_, jobs), answer in zip(waiting, answers, strict=True):
                    for row, job in enumerate(jobs):
                        if isinstance(answer, EngineError):
                            job.error = answer
                        else:
                            job.outputs = answer[OUTPUTS][row : row + 1]
            except (ValueError, KeyError) as error:  # the answers do not match the chunks
                failed(error)
                return
            ended()

        def failed(error: Exception) -> None:
            for _, jobs in waiting:
                for job in jobs:
                    job.error = error
            ended()

        def ended() -> None:
            with self._changed:
                for _, jobs in waiting:
                    for job in jobs:
                        job.remaining = 0
                self._under_way -= 1
                self._changed.notify_all()

        with self._changed:
            self._under_way += 1
        try:
            pieces = []
            for stream, jobs in waiting:
                if stream.state is None:
                    stream.state = self.engine.new_state()
                frames = jobs[0].tiles.batch if len(jobs) == 1 else np.concatenate([job.tiles.batch for job in jobs])
                pieces.append(StreamChunk(stream.state, frames))
            self.engine.submit(pieces, done, failed)
        except Exception as error:  # noqa: BLE001 - every frame gets an answer, or its camera would wait forever
            failed(error)
