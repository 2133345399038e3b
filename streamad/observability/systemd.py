"""Notifications to systemd: ready, alive, stopping (the protocol of sd_notify(3))."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Callable, MutableMapping

_log = logging.getLogger(__name__)


class SystemdNotifier:
    """Notifies the service manager that started this process; does nothing where there is none.

    Args:
        environ: Where the manager's socket and watchdog time are read. They are removed, so that children do not
            notify.
        clock: Monotonic seconds.
    """

    def __init__(
        self, environ: MutableMapping[str, str] = os.environ, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._clock = clock
        address = environ.pop("NOTIFY_SOCKET", "")
        self._address = f"\0{address[1:]}" if address.startswith("@") else address
        owner, time_us = environ.pop("WATCHDOG_PID", ""), environ.pop("WATCHDOG_USEC", "")
        is_watched = time_us.isdecimal() and int(time_us) > 0 and owner in ("", str(os.getpid()))
        # As sd_watchdog_enabled(3) recommends; a slow round must not look like a hang.
        self._every = int(time_us) / 2e6 if is_watched else float("inf")
        self._sent: float | None = None

    def alive(self) -> None:
        """Report an iteration of the main loop: the first as ready, later ones when the watchdog is due."""
        now = self._clock()
        if self._sent is None:
            self._send("READY=1\nWATCHDOG=1")
        elif now - self._sent >= self._every:
            self._send("WATCHDOG=1")
        else:
            return
        self._sent = now

    def stopping(self) -> None:
        """Report that the process is ending."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if not self._address:
            return
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sender:
                sender.setblocking(False)  # the main loop does not wait for the manager
                sender.sendto(message.encode(), self._address)
        except OSError as error:
            _log.warning("cannot notify systemd: %s", error.strerror or error)
