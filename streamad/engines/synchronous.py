"""What all engines share: worker threads run batches and answer for each of them, whatever becomes of it."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from concurrent.futures import Future, ThreadPoolExecutor

from streamad.engines.base import Batch, OnDone, OnError, check_count


class WorkerEngine(ABC):
    """Gives `submit` and `drain` to an engine that has only `infer`.

    Args:
        batch_sizes: static batch sizes, ascending.
        workers: batches that run side by side; with one, they are answered in order.
    """

    def __init__(self, batch_sizes: tuple[int, ...], *, workers: int = 1) -> None:
        self._sizes = batch_sizes
        self._workers = workers
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="engine")
        self._changed = threading.Condition()
        self._running = 0
        self._fault: BaseException | None = None

    @property
    def batch_sizes(self) -> tuple[int, ...]:
        """Static batch sizes, ascending."""
        return self._sizes

    @abstractmethod
    def infer(self, batch: Batch) -> Batch:
        """Run one batch and wait; see `Engine.infer`."""

    def submit(self, batch: Batch, done: OnDone, failed: OnError) -> None:
        """Start one batch; see `Engine.submit`."""
        check_count(len(batch), self._sizes)
        with self._changed:
            # One batch more than run at once waits, so that no worker does; beyond that they would only age.
            self._changed.wait_for(lambda: self._running <= self._workers or self._fault is not None)
            self._raise_fault()
            self._running += 1
        try:
            self._pool.submit(self._answer, batch, done, failed).add_done_callback(self._finished)
        except RuntimeError:  # the engine is closed
            with self._changed:
                self._running -= 1
            raise

    def drain(self) -> None:
        """Wait until every submitted batch has been answered."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0)
            self._raise_fault()

    def close(self) -> None:
        """Wait for the last batch and end the workers."""
        self._pool.shutdown(wait=True)

    def _answer(self, batch: Batch, done: OnDone, failed: OnError) -> None:
        try:
            outputs = self.infer(batch)
        except RuntimeError as error:  # EngineError is one; anything else is a fault of ours and shall be seen
            failed(error)
            return
        done(outputs)

    def _finished(self, future: Future[None]) -> None:
        with self._changed:
            self._running -= 1
            self._fault = future.exception() or self._fault
            self._changed.notify_all()

    def _raise_fault(self) -> None:
        """A callback raised: a fault of ours, told to whoever submits or drains next."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault
