"""WebServer: the application on a thread of its own, its port taken before anything else starts."""

from __future__ import annotations

import errno
import socket
import threading
import time
from types import TracebackType

import uvicorn
from fastapi import FastAPI

from streamad.errors import OutputError
from streamad.observability.endpoints import WebSpec
from streamad.web.guard import ACCEPTED_AT_ONCE, Guard, GuardedProtocol, GuardedServer

START_SECONDS = 10.0
STOP_SECONDS = 5.0
BACKLOG = 128


class WebServer:
    """Serves an application until stopped. Takes no signals: ending the process is the caller's business.

    The port is taken in the constructor, so an occupied one is reported before cameras are opened or models
    loaded.

    Args:
        app: from `create_app`.
        spec: host and port; port 0 takes any free one, see `url`.

    Raises:
        OutputError: the address cannot be listened on.
    """

    def __init__(self, app: FastAPI, spec: WebSpec) -> None:
        self._socket = listen(spec.host, spec.port)
        name = self._socket.getsockname()
        self._address: tuple[str, int] = (str(name[0]), int(name[1]))
        config = uvicorn.Config(
            Guard(app, spec),
            http=GuardedProtocol,
            backlog=ACCEPTED_AT_ONCE,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = GuardedServer(config)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="streamad-web", daemon=True
        )

    @property
    def url(self) -> str:
        """Where the page is, e.g. "http://127.0.0.1:8080"."""
        host, port = self._address
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = "localhost"
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    @property
    def is_running(self) -> bool:
        """True from `start` to `stop`."""
        return self._thread.is_alive() and self._server.started

    def start(self) -> None:
        """Serve from here on; returns when requests are answered.

        Raises:
            OutputError: the server did not come up.
        """
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise OutputError(
                    f"the web server on {self.url} did not start within {START_SECONDS:g} s",
                    hint="see the log above for its reason",
                )
            time.sleep(0.005)
        # The event loop has made the system's queue as short as the number that it accepts at once.
        self._socket.listen(BACKLOG)

    def stop(self) -> None:
        """Stop serving and give the port back. May be called more than once, and without `start`."""
        self._server.should_exit = True
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)
            if self._thread.is_alive():
                self._server.force_exit = True
                self._thread.join(STOP_SECONDS)
        self._socket.close()

    def __enter__(self) -> WebServer:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def listen(host: str, port: int) -> socket.socket:
    """Take a port.

    Args:
        host: name or address to listen on.
        port: TCP port, 0 for any free one.

    Raises:
        OutputError: the address cannot be listened on.
    """
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        # A restart must not wait for the last run's connections to time out; a live listener still excludes
        # us.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Listening here, not later: two sockets may share a port until one of them listens.
        listener.listen(BACKLOG)
        return listener
    except OSError as error:
        if listener is not None:
            listener.close()
        hint = "set web.host to an address of this machine, e.g. 127.0.0.1"
        if error.errno == errno.EADDRINUSE:
            hint = "another program listens there: stop it, or set web.port to another (0: any free one)"
        elif error.errno == errno.EACCES:
            hint = "ports under 1024 need special rights: set web.port to a higher one"
        raise OutputError(f"cannot listen on {host}:{port}: {error.strerror or error}", hint=hint) from error
