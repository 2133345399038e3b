"""Work for an engine's own threads: a bounded number waits, each answered once; a fault of ours is told, not lost."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from streamad.engines.base import OnError

Answer = TypeVar("Answer")


class BoundedExecutor:
    """Runs work in threads, in the order in which it was given.

    Args:
        workers: threads.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._pool = ThreadPoolExecutor(max_workers=workers, thread_name_prefix="engine")
        self._changed = threading.Condition()
        self._running = 0
        self._fault: BaseException | None = None

    def submit(self, work: Callable[[], Answer], done: Callable[[Answer], None], failed: OnError) -> None:
        """Start work; `done` or `failed` is called from a thread of the executor's, exactly one of them once.

        Blocks while one piece more than the threads run at once is under way. Raises what a callback raised before.

        Raises:
            RuntimeError: the executor is closed.
        """
        with self._changed:
            # One more than run at once waits, so that no worker does; beyond that they would only age.
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
        """Wait until everything submitted has been answered."""
        with self._changed:
            self._changed.wait_for(lambda: self._running == 0)
            self._raise_fault()

    def close(self) -> None:
        """Wait for the last piece and end the threads."""
        self._pool.shutdown(wait=True)

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


def _answer(work: Callable[[], Answer], done: Callable[[Answer], None], failed: OnError) -> None:
    try:
        outputs = work()
    except Exception as error:  # noqa: BLE001 - told to whoever waits for the answer, who would wait for ever else
        failed(error)
        return
    done(outputs)
