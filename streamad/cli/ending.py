"""How a command that watches ends on a signal: in good order, and within a bounded time whatever hangs."""

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
"""Time for an orderly end: events closed, decoders stopped, outputs written. Then the process ends as it is; an event
that is still open then becomes `interrupted` at the next start, as after any other death of the process."""

_log = logging.getLogger(__name__)


class Ending:
    """Ends the process on SIGINT and SIGTERM; a context manager, to be used in the main thread.

    The first signal asks for an orderly end. Where that takes longer than `ORDERLY_SECONDS`, or at a second signal, the
    process ends at once: a thread of its own sees to it, since the main thread may hang in a call. SIGHUP, which a
    closed terminal sends, is ignored.
    """

    def __init__(self) -> None:
        self._stop: Callable[[], None] | None = None
        self._previous: dict[int, Any] = {}
        self._asked = threading.Event()
        self._read_end, self._write_end = os.pipe()
        os.set_blocking(self._write_end, False)

    def stop_with(self, stop: Callable[[], None]) -> None:
        """From here on a first signal calls this, on the main thread; before, it breaks off what runs there."""
        self._stop = stop

    def __enter__(self) -> Self:
        signal.set_wakeup_fd(self._write_end, warn_on_full_buffer=False)
        for number, handler in (
            (signal.SIGINT, self._ask),
            (signal.SIGTERM, self._ask),
            (signal.SIGHUP, lambda *_: None),
        ):
            self._previous[number] = signal.signal(number, handler)
        threading.Thread(target=self._watch, name="streamad-ending", daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # After a signal the watching goes on to the end of the process: something may hang in its last steps too.
        if not self._asked.is_set():
            signal.set_wakeup_fd(-1)
            for number, previous in self._previous.items():
                signal.signal(number, previous)
            os.close(self._write_end)

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
                if number == signal.SIGHUP:
                    _log.info("SIGHUP is ignored; SIGTERM ends the program")
                if number not in (signal.SIGINT, signal.SIGTERM):
                    continue
                if timer is not None:
                    _end_now(ExitCode.INTERRUPT, f"ended at once by a second {signal.Signals(number).name}")
                self._asked.set()
                words = f"ended after {ORDERLY_SECONDS:g} s, since an output, the engine or a decoder hangs"
                timer = threading.Timer(ORDERLY_SECONDS, _end_now, (ExitCode.RUNTIME, words))
                timer.daemon = True
                timer.start()
        os.close(self._read_end)


def _end_now(code: int, words: str) -> None:
    """End the process without any more ado; the words are said only where somebody listens."""
    speaker = threading.Thread(target=say, args=(words,), daemon=True)
    speaker.start()
    speaker.join(0.2)
    os._exit(code)
