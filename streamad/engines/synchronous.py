"""What engines without requests of their own share: one worker thread answers batches in order."""

from __future__ import annotations

from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor

from streamad.engines.base import Batch, OnDone, OnError


class WorkerEngine(ABC):
    """Gives `submit` and `drain` to an engine that has only `infer`."""

    def __init__(self, batch_sizes: tuple[int, ...]) -> None:
        self._sizes = batch_sizes
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="engine")
        self._running: set[Future[None]] = set()

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Static batch sizes, ascending."""
        return self._sizes

    @abstractmethod
    def infer(self, batch: Batch) -> Batch:
        """Run one batch and wait; see `Engine.infer`."""

    def submit(self, batch: Batch, done: OnDone, failed: OnError) -> None:
        """Start one batch; see `Engine.submit`."""
        if len(self._running) >= 2:  # one runs, one waits: more would only hold memory
            next(iter(self._running)).result()
        future = self._worker.submit(self._answer, batch, done, failed)
        self._running.add(future)
        future.add_done_callback(self._running.discard)

    def drain(self) -> None:
        """Wait until every submitted batch has been answered."""
        for future in list(self._running):
            future.result()

    def close(self) -> None:
        """Wait for the last batch and end the worker."""
        self._worker.shutdown(wait=True)

    def _answer(self, batch: Batch, done: OnDone, failed: OnError) -> None:
        try:
            outputs = self.infer(batch)
        except RuntimeError as error:  # EngineError is one; anything else is a fault of ours and shall be seen
            failed(error)
            return
        done(outputs)
