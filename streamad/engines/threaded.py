"""What all engines share: worker threads run batches and answer for each of them, whatever becomes of it."""

from __future__ import annotations

from abc import ABC, abstractmethod

from streamad.engines.base import Batch, OnDone, OnError, check_count
from streamad.engines.bounded_executor import BoundedExecutor


class ThreadedEngine(ABC):
    """Gives `submit` and `drain` to an engine that has only `infer`.

    Args:
        batch_sizes: static batch sizes, ascending.
        workers: batches that run side by side; with one, they are answered in order.
    """

    def __init__(self, batch_sizes: tuple[int, ...], *, workers: int = 1) -> None:
        self._sizes = batch_sizes
        self._workers = workers
        self._executor = BoundedExecutor(workers)

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
        self._executor.submit(lambda: self.infer(batch), done, failed)

    def drain(self) -> None:
        """Wait until every submitted batch has been answered."""
        self._executor.drain()

    def close(self) -> None:
        """Wait for the last batch and end the workers."""
        self._executor.close()
