"""ThreadedEngine: `submit` and `drain` for engines, implemented with worker threads."""

from __future__ import annotations

from abc import ABC, abstractmethod

from streamad.engines.base import Batch, EngineInfo, OnDone, OnError, check_count
from streamad.engines.bounded_executor import BoundedExecutor


class ThreadedEngine(ABC):
    """Adds `submit` and `drain` to an engine that implements `infer` and sets `_info`.

    Args:
        batch_sizes: Static batch sizes, ascending.
        workers: Number of batches that run in parallel. With one, batches finish in order.
    """

    _info: EngineInfo

    def __init__(self, batch_sizes: tuple[int, ...], *, workers: int = 1) -> None:
        self._sizes = batch_sizes
        self._workers = workers
        self._executor = BoundedExecutor(workers)

    @property
    def info(self) -> EngineInfo:
        """What really runs."""
        return self._info

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
        """Wait until all submitted batches are finished."""
        self._executor.drain()

    def close(self) -> None:
        """Wait for the last batch and end the worker threads."""
        self._executor.close()
