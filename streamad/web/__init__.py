"""The live page, the metrics and health endpoints, and the web server.

`WebServer` runs the application in its own thread, and binds its port before anything else starts.
"""

from __future__ import annotations

import errno
import socket
import threading
import time

import uvicorn
from fastapi import FastAPI

from streamad.errors import OutputError
from streamad.observability.endpoints import WebSpec
from streamad.web.app import create_app
from streamad.web.feed import Feed
from streamad.web.guard import ACCEPTED_AT_ONCE, Guard, GuardedProtocol, GuardedServer
from streamad.web.logins import Logins
from streamad.web.tls import certificate_of

__all__ = ["Logins", "WebServer", "WebSpec", "create_app", "listen"]

START_SECONDS = 10.0
STOP_SECONDS = 5.0
BACKLOG = 128


class WebServer:
    """Serves an application until stopped. It handles no signals; the caller ends the process.

    The constructor binds the port, so that an occupied one is reported before cameras are opened or models loaded.

    Args:
        app: The application from `create_app`.
        spec: Host, port and certificate. Port 0 selects a free one; see `url`.

    Raises:
        OutputError: If the address cannot be bound.
        ConfigError: If the certificate cannot be used.
    """

    def __init__(self, app: FastAPI, spec: WebSpec) -> None:
        certificate = certificate_of(spec)
        self._scheme = "http" if certificate is None else "https"
        self._socket = listen(spec.host, spec.port)
        self._feed: Feed = app.state.feed
        name = self._socket.getsockname()
        self._address: tuple[str, int] = (str(name[0]), int(name[1]))
        config = uvicorn.Config(
            Guard(app, spec),
            http=GuardedProtocol,
            loop="asyncio",
            proxy_headers=False,  # `web.proxy` says whose headers count
            ssl_context_factory=None if certificate is None else lambda *_: certificate.context,
            backlog=ACCEPTED_AT_ONCE,
            log_config=None,
            log_level="warning",
            access_log=False,
            lifespan="off",
            ws="none",
            server_header=False,
            timeout_graceful_shutdown=1,
        )
        self._server = GuardedServer(config, certificate)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [self._socket]}, name="streamad-web", daemon=True
        )

    @property
    def url(self) -> str:
        """Address of the page, such as "http://127.0.0.1:8080"."""
        host, port = self._address
        if host in ("0.0.0.0", "::"):  # noqa: S104 - compared, not bound
            host = "localhost"
        return f"{self._scheme}://[{host}]:{port}" if ":" in host else f"{self._scheme}://{host}:{port}"

    @property
    def is_running(self) -> bool:
        """Whether the server is running: True from `start` to `stop`."""
        return self._thread.is_alive() and self._server.started

    def start(self) -> None:
        """Start the server and return when it responds to requests.

        Raises:
            OutputError: If the server does not start.
        """
        self._thread.start()
        deadline = time.monotonic() + START_SECONDS
        while not self._server.started:
            if not self._thread.is_alive() or time.monotonic() > deadline:
                self.stop()
                raise OutputError(
                    f"the web server on {self.url} did not start within {START_SECONDS:g} s",
                    hint="see the log above for the reason",
                )
            time.sleep(0.005)
        # Restore the backlog, which the event loop has reduced to the number of connections accepted at once.
        self._socket.listen(BACKLOG)

    def stop(self) -> None:
        """Stop the server and release the port. May be called more than once, and without `start`."""
        self._feed.close()
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

    def __exit__(self, *exception: object) -> None:
        self.stop()


def listen(host: str, port: int) -> socket.socket:
    """Bind a port and listen on it.

    Args:
        host: Name or address to listen on.
        port: TCP port; 0 selects a free one.

    Raises:
        OutputError: If the address cannot be bound.
    """
    listener: socket.socket | None = None
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family, kind, protocol)
        # Allow a restart while old connections time out. A live listener still blocks the port.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        # Listen immediately: two sockets may share a port until one of them listens.
        listener.listen(BACKLOG)
        return listener
    except OSError as error:
        if listener is not None:
            listener.close()
        hint = "set web.host to an address of this machine, e.g. 127.0.0.1"
        if error.errno == errno.EADDRINUSE:
            hint = "another program uses this port; stop it, or set web.port to another one (0: any free port)"
        elif error.errno == errno.EACCES:
            hint = "ports below 1024 require privileges; set web.port to a higher one"
        raise OutputError(f"cannot listen on {host}:{port}: {error.strerror or error}", hint=hint) from error
