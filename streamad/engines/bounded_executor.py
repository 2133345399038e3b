"""BoundedExecutor: worker threads with a bounded queue. Exceptions raised by callbacks are re-raised to the caller."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from streamad.engines.base import OnError

Answer = TypeVar("Answer")


class BoundedExecutor:
    """Runs tasks in worker threads, in order of submission.

    Args:
        workers: Number of threads.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="engine")
        self._changed = threading.Condition()
        self._running = 0
        self._fault: BaseException | None = None

    def submit(self, work: Callable[[], Answer], done: Callable[[Answer], None], failed: OnError) -> None:
        """Start a task. Either `done` or `failed` is called exactly once, from a worker thread.

        Blocks while more tasks are pending than there are workers. An exception that a callback raised earlier is
        re-raised here.

        Raises:
            RuntimeError: If the executor is closed.
        """
        with self._changed:
            # One task more than there are workers may wait, so that no worker idles. Further ones would only age.
            self._changed.wait_for(lambda: self._running <= self._workers or self._fault is not None)
            self._raise_fault()
            self._running += 1
        try:
            self._pool.submit(_answer, work, done, failed).add_done_callback(self._finished)
        except RuntimeError:  # closed
            with self._changed:
                self._running -= 1
            raise

    def drain(self) -> None:
        """Wait until all submitted tasks are finished."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0)
            self._raise_fault()

    def close(self) -> None:
        """Wait for the last task and end the threads."""
        self._pool.shutdown(wait=True)

    def _finished(self, future: Future[None]) -> None:
        with self._changed:
            self._running -= 1
            self._fault = future.exception() or self._fault
            self._changed.notify_all()

    def _raise_fault(self) -> None:
        """Re-raise an exception of a callback in the next call that submits or drains."""
        fault, self._fault = self._fault, None
        if fault is not None:
            raise fault


def _answer(work: Callable[[], Answer], done: Callable[[Answer], None], failed: OnError) -> None:
    try:
        outputs = work()
    except Exception as error:  # noqa: BLE001 - reported to the caller, who would otherwise wait forever
        failed(error)
        return
    done(outputs)
