"""Writing that neither stops nor delays the watching of cameras.

All outputs of a running watch use a `BackgroundWriter`: it reports and retries a full disk, a deleted folder or a
reader that stopped reading, and the main loop never waits for it.
"""

from __future__ import annotations

import errno
import logging
import os
import select
import stat
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from contextlib import suppress
from itertools import count, islice
from pathlib import Path
from typing import Generic, Literal, TypeVar

from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from streamad.protocols import Closeable

CAPACITY = 1000
RETRY_SECONDS = 1.0
PATIENCE_SECONDS = 0.25
"""`put` waits at most this long for a writer that is behind, once until the queue is empty again. Files may be read
faster than they are logged, and nothing must be lost; a live camera can spare this time once."""
STALL_SECONDS = 5.0
"""A call that takes longer counts as a failure of the output: it hangs."""

Outcome = Literal["written", "failed", "dropped"]
T = TypeVar("T")

_log = logging.getLogger(__name__)


class OutputStatus(TypedDict):
    """An output in `/status`.

    Keys:
        name: "events", "history", "learning", "scores", "stderr" (the log), or the type of a sink.
        error: Why it cannot be written at present; None if it can.
        waiting: Items that wait to be written.
        dropped: Items dropped since the start.
    """

    name: str
    error: str | None
    waiting: int
    dropped: int


class BackgroundWriter(Generic[T]):
    """Passes items to `write` in order, on a thread of its own.

    A failed `write` is retried with the same items every `retry_seconds`; the cause is logged once, and so is the
    recovery. At most `capacity` items wait in addition to those being written; beyond that, the oldest are dropped and
    counted. Thread-safe.

    Args:
        name: What is written, for messages and metrics.
        write: Writes all of the given items, or raises OSError. Any other exception is a bug: it is logged with its
            traceback, and the items are dropped.
        capacity: Largest number of waiting items.
        batch: Largest number of items in one call of `write`.
        retry_seconds: Time between two attempts.
        on_outcome: Called with (outcome, number of items, reason) for metrics; must not call this object. "failed"
            counts attempts; `reason` is the name of the error, such as "ENOSPC", or "queue_full", "closed", "".
        on_poke: Called on the thread after `poke`, for outputs that maintain their file; may raise OSError.
        clock: Monotonic seconds.
    """

    def __init__(
        self,
        name: str,
        write: Callable[[Sequence[T]], None],
        *,
        capacity: int = CAPACITY,
        batch: int = 1,
        retry_seconds: float = RETRY_SECONDS,
        on_outcome: Callable[[Outcome, int, str], None] | None = None,
        on_poke: Callable[[], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.name = name
        self._write = write
        self._capacity = capacity
        self._batch = batch
        self._retry_seconds = retry_seconds
        self._on_outcome = on_outcome
        self._on_poke = on_poke
        self._clock = clock
        self._changed = threading.Condition()
        self._items: OrderedDict[Hashable, T] = OrderedDict()
        self._in_flight: dict[Hashable, T] = {}
        self._numbers = count()
        self._busy_since: float | None = None
        self._error: OSError | None = None
        self._failing_since = 0.0
        self._dropped = self._dropped_before = 0
        self._is_poked = self._is_behind = self._is_closing = self._is_last = self._is_over = False
        self._thread: threading.Thread | None = None

    @property
    def error(self) -> OSError | None:
        """Why nothing can be written at present; None if it can."""
        self._look_for_stall()
        return self._error

    @property
    def dropped(self) -> int:
        """Items dropped so far."""
        return self._dropped

    def waiting(self) -> list[T]:
        """Items that are not yet written, oldest first."""
        with self._changed:
            return list(self._items.values())

    def status(self) -> OutputStatus:
        """This output in `/status`."""
        error = self.error
        return OutputStatus(
            name=self.name,
            error=None if error is None else words(error),
            waiting=len(self._items),
            dropped=self._dropped,
        )

    def put(self, item: T, key: Hashable | None = None) -> None:
        """Queue an item. Failures to write it raise nothing here.

        Args:
            item: What to write.
            key: Replaces a waiting item with the same key, at its position. Default: a new key for each item.
        """
        with self._changed:
            if self._is_closing:
                self._count("dropped", 1, "closed")
                return
            self._items[next(self._numbers) if key is None else key] = item
            self._wake()
            if self._is_over_full() and not self._is_behind and self._error is None:
                self._is_behind = not self._changed.wait_for(lambda: not self._is_over_full(), PATIENCE_SECONDS)
            starts_dropping = self._trim()
        self._look_for_stall()
        if starts_dropping:
            self._report_dropping()

    def poke(self) -> None:
        """Call `on_poke` on the thread, unless this output is busy or failing."""
        with self._changed:
            if not self._is_closing and self._error is None and self._busy_since is None:
                self._is_poked = True
                self._wake()
        self._look_for_stall()

    def flush(self, seconds: float) -> bool:
        """Wait until everything is written, but at most `seconds`, and not for a failing output.

        Returns:
            Whether everything was written.
        """
        with self._changed:
            self._changed.wait_for(lambda: not self._is_pending() or self._error is not None, seconds)
            done = not self._items
        self._look_for_stall()
        return done

    def close(self, seconds: float = 1.0) -> list[T]:
        """Try once more to write what waits, and end the thread. The rest is logged and counted as dropped.

        Args:
            seconds: Longest time without progress. A hanging call is abandoned: the thread is a daemon.

        Returns:
            The items that were not written.
        """
        with self._changed:
            is_first = not self._is_closing
            self._is_closing = True
            self._changed.notify_all()
            while self._thread is not None and not self._is_over and self._changed.wait(seconds):
                pass  # every notification is progress
            rest = list(self._items.values())
            if is_first and rest:
                self._count("dropped", len(rest), "closed")
        if self._is_over and self._thread is not None:
            self._thread.join(seconds)
        if is_first and rest:
            cause = "it hangs" if self._error is None else words(self._error)
            _log.error("output %s: lost %d items: %s", self.name, len(rest), cause)
        return rest

    @property
    def is_over(self) -> bool:
        """Whether it is closed and no call of `write` hangs."""
        return self._thread is None or self._is_over

    def _is_pending(self) -> bool:
        return bool(self._items) or self._is_poked or self._busy_since is not None

    def _is_over_full(self) -> bool:
        return len(self._items) - len(self._in_flight) > self._capacity

    def _trim(self) -> bool:
        """Drop the oldest items if too many wait; returns whether that has just begun."""
        was_dropping = self._dropped > self._dropped_before
        while self._is_over_full():
            del self._items[next(key for key in self._items if key not in self._in_flight)]
            self._count("dropped", 1, "queue_full")
        return not was_dropping and self._dropped > self._dropped_before

    def _report_dropping(self) -> None:
        _log.error("output %s: more than %d items wait; dropping the oldest", self.name, self._capacity)

    def _wake(self) -> None:
        if self._thread is None:
            thread = threading.Thread(target=self._run, name=f"streamad-{self.name}", daemon=True)
            try:
                thread.start()
                self._thread = thread
            except RuntimeError:  # the process has too many threads: the items wait for the next call
                _log.error("output %s: cannot start a thread; will retry", self.name)
        self._changed.notify_all()

    def _run(self) -> None:
        while self._take():
            try:
                if self._in_flight:
                    self._write(list(self._in_flight.values()))
                elif self._on_poke is not None:
                    self._on_poke()
            except OSError as error:
                self._failed(error)
            except Exception:  # noqa: BLE001 - a bug must not stop the output for good
                _log.exception("output %s: cannot write %d items", self.name, len(self._in_flight))
                with self._changed:
                    self._count("dropped", self._settle(), "bug")
            else:
                self._succeeded()
        with self._changed:
            self._is_over = True
            self._changed.notify_all()

    def _take(self) -> bool:
        """Wait for work and mark it as in flight; False if the thread must end."""
        with self._changed:
            if self._error is not None:
                if self._is_last:
                    return False
                self._changed.wait_for(lambda: self._is_closing, self._retry_seconds)
            else:
                self._changed.wait_for(lambda: bool(self._items) or self._is_poked or self._is_closing)
                if self._is_closing and not self._items:
                    return False
            self._in_flight = dict(islice(self._items.items(), self._batch))
            self._is_poked = False
            self._is_last = self._is_closing
            self._busy_since = self._clock()
            return True

    def _settle(self) -> int:
        """Remove what was in flight, except items that were replaced meanwhile; returns their number."""
        done, self._in_flight, self._busy_since = self._in_flight, {}, None
        for key, item in done.items():
            if self._items.get(key) is item:
                del self._items[key]
        if not self._items:
            self._is_behind = False
        self._changed.notify_all()
        return len(done)

    def _succeeded(self) -> None:
        with self._changed:
            failed, self._error = self._error, None
            lost, self._dropped_before = self._dropped - self._dropped_before, self._dropped
            seconds = self._clock() - self._failing_since
            self._count("written", self._settle(), "")
        if failed is not None:
            _log.warning("output %s recovered after %.0f s, %d items lost", self.name, seconds, lost)
        elif lost:
            _log.warning("output %s caught up, %d items lost", self.name, lost)

    def _failed(self, error: OSError) -> None:
        with self._changed:
            self._in_flight, self._busy_since = {}, None
            starts_dropping = self._trim()
            is_new = self._fail(error)
        if is_new:
            self._report(error)
        if starts_dropping:
            self._report_dropping()

    def _fail(self, error: OSError) -> bool:
        """Record a failure; returns whether it is the first or its cause is new."""
        is_new = self._error is None or reason_of(self._error) != reason_of(error)
        if self._error is None:
            self._failing_since = self._clock()
        self._error = error
        self._count("failed", 1, reason_of(error))
        self._changed.notify_all()
        return is_new

    def _look_for_stall(self) -> None:
        with self._changed:
            since, now = self._busy_since, self._clock()
            if since is None or now - since < STALL_SECONDS or isinstance(self._error, TimeoutError):
                return
            error = TimeoutError(errno.ETIMEDOUT, f"hangs: nothing written for {now - since:.0f} s")
            self._fail(error)
        self._report(error)

    def _report(self, error: OSError) -> None:
        hint = getattr(error, "hint", None)
        _log.error(
            "output %s: %s; keeping the data in memory and retrying%s",
            self.name, words(error), f" ({hint})" if hint else "",
        )  # fmt: skip

    def _count(self, outcome: Outcome, amount: int, reason: str) -> None:
        if outcome == "dropped":
            self._dropped += amount
        if self._on_outcome is not None and amount:
            self._on_outcome(outcome, amount, reason)


class Appender(Closeable):
    """Appends to a file, each piece completely or not at all.

    A regular file is created with its folder if missing, and reopened after it was moved or deleted (log rotation) and
    after a failure. Pipes, terminals, devices and given descriptors are streams: the part of a piece that they accepted
    is not sent again.

    Args:
        target: A path, or an open descriptor, which is never closed here.
        header: Written first into an empty file.
        fresh: Whether to truncate the file when it is first opened.
        lines: Whether to end an incomplete last line before anything is appended.
    """

    def __init__(self, target: Path | int, *, header: bytes = b"", fresh: bool = False, lines: bool = True) -> None:
        self._path = target if isinstance(target, Path) else None
        self._descriptor = target if isinstance(target, int) else None
        self._header = header
        self._is_fresh = fresh
        self._lines = lines
        self._piece = self._rest = b""

    def open(self) -> None:
        """Open the file now, so that a wrong path is reported at the start. A named pipe is opened later.

        Raises:
            OSError: It cannot be opened.
        """
        if self._path is not None and not self._path.is_fifo():
            self._opened(self._path)

    def append(self, data: bytes) -> None:
        """Append one piece.

        Raises:
            OSError: It was not written; a regular file contains no part of it. `filename` is the path.
        """
        try:
            descriptor = self._descriptor if self._path is None else self._opened(self._path)
            assert descriptor is not None
            if self._path is not None and stat.S_ISREG(os.fstat(descriptor).st_mode):
                self._append_whole(descriptor, data)
            else:
                self._stream(descriptor, data)
        except OSError as error:
            self.close()
            if error.filename is None and self._path is not None:
                error.filename = str(self._path)
            raise

    def close(self) -> None:
        """Close the file; the next `append` opens it again."""
        if self._path is not None and self._descriptor is not None:
            descriptor, self._descriptor = self._descriptor, None
            with suppress(OSError):  # a failing disk has been reported before
                os.close(descriptor)

    def _opened(self, path: Path) -> int:
        if self._descriptor is not None and not _is_same_file(self._descriptor, path):
            self.close()
        if self._descriptor is None:
            path.parent.mkdir(parents=True, exist_ok=True)
            # A pipe that is also opened for reading would accept lines without a reader.
            mode = os.O_WRONLY if path.is_fifo() else os.O_RDWR
            flags = mode | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | (os.O_TRUNC if self._is_fresh else 0)
            self._descriptor = os.open(path, flags, 0o644)
            self._is_fresh = False
        return self._descriptor

    def _append_whole(self, descriptor: int, data: bytes) -> None:
        size = os.fstat(descriptor).st_size
        if size == 0:
            data = self._header + data
        elif self._lines and os.pread(descriptor, 1, size - 1) != b"\n":
            data = b"\n" + data  # the last writer died within a line, which would corrupt the next one
        rest = data
        try:
            while rest:
                rest = rest[os.write(descriptor, rest) :]  # after a short write, the next one raises the cause
        except OSError:
            if len(rest) < len(data):
                os.ftruncate(descriptor, size)
            raise

    def _stream(self, descriptor: int, data: bytes) -> None:
        if data != self._piece:
            self._piece, self._rest = data, self._rest + data
        try:
            while self._rest:
                try:
                    self._rest = self._rest[os.write(descriptor, self._rest) :]
                except BlockingIOError:  # another process made the pipe non-blocking
                    select.select([], [descriptor], [], 1.0)
        except BrokenPipeError:
            self._piece = self._rest = b""  # the next reader gets complete lines
            raise
        self._piece = b""


def words(error: OSError) -> str:
    """The message of an error, with the file name if it is known."""
    if error.strerror is None:
        return str(error)
    return error.strerror if error.filename is None else f"cannot write {error.filename}: {error.strerror}"


def reason_of(error: BaseException) -> str:
    """The short name of an error, such as "ENOSPC", for metrics."""
    number = getattr(error, "errno", None)
    if number is not None:
        return errno.errorcode.get(number, str(number))
    name = getattr(error, "sqlite_errorname", None)
    if name is not None:
        return str(name)
    return type(error).__name__ if error.__cause__ is None else reason_of(error.__cause__)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False
