"""Shutdown on signals: orderly, and within a bounded time even if something hangs."""

from __future__ import annotations

import logging
import os
import signal
import threading
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from streamad.cli.common import say
from streamad.errors import ExitCode

ORDERLY_SECONDS = 4.0
"""Time for an orderly shutdown: closing events, stopping decoders, writing outputs. After that, the process exits at
once; an event that is still open becomes `interrupted` at the next start, as after any crash."""

_log = logging.getLogger(__name__)


class Ending:
    """Ends the process on SIGINT and SIGTERM; a context manager for the main thread.

    The first signal requests an orderly shutdown. If that takes longer than `ORDERLY_SECONDS`, or at a second signal,
    the process exits at once; a separate thread does this, because the main thread may hang. At SIGHUP, which a
    closed terminal sends too, the configuration is reloaded.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._reload: Callable[[], None] | None = None
        self._previous: dict[int, Any] = {}
        self._asked = threading.Event()
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)

    def stop_with(self, stop: Callable[[], None]) -> None:
        """Call `stop` on the main thread at the first signal. Before this call, a signal raises an exception there."""
        self._stop = stop

    def reload_with(self, reload: Callable[[], None]) -> None:
        """Call `reload`, which must return at once, on the main thread at SIGHUP. Before this call, it is ignored."""
        self._reload = reload

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number, handler in (
            (signal.SIGINT, self._ask),
            (signal.SIGTERM, self._ask),
            (signal.SIGHUP, self._ask_to_reload),
        ):
            self._previous[number] = signal.signal(number, handler)
        threading.Thread(target=self._watch, name="streamad-ending", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a signal, keep watching until the process exits: its last steps may hang, too.
        if not self._asked.is_set():
            signal.set_wakeup_fd(-1)
            for number, previous in self._previous.items():
                signal.signal(number, previous)
            os.close(self._write_end)

    def _ask_to_reload(self, number: int, _: FrameType | None) -> None:
        if self._reload is not None:
            self._reload()

    def _ask(self, number: int, _: FrameType | None) -> None:
        if self._stop is not None:
            self._stop()
        elif number == signal.SIGINT:
            raise KeyboardInterrupt
        else:
            raise SystemExit(ExitCode.OK)

    def _watch(self) -> None:
        timer: threading.Timer | None = None
        while numbers := os.read(self._read_end, 64):
            for number in numbers:
                if number == signal.SIGHUP and self._reload is None:
                    _log.info("ignored SIGHUP; use SIGTERM to stop")
                if number not in (signal.SIGINT, signal.SIGTERM):
                    continue
                if timer is not None:
                    _end_now(ExitCode.INTERRUPT, f"exiting at once: second {signal.Signals(number).name}")
                self._asked.set()
                message = f"exiting after {ORDERLY_SECONDS:g} s: an output, the engine or a decoder hangs"
                timer = threading.Timer(ORDERLY_SECONDS, _end_now, (ExitCode.RUNTIME, message))
                timer.daemon = True
                timer.start()
        os.close(self._read_end)


def _end_now(code: int, message: str) -> None:
    """Exit at once. The message is printed on a thread, because standard error may block."""
    printer = threading.Thread(target=say, args=(message,), daemon=True)
    printer.start()
    printer.join(0.2)
    os._exit(code)
