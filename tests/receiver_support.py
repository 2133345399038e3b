"""Real receivers of notifications: an HTTP server that can fail in several ways, and events to send."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from email.message import Message
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Clock:
    """A monotonic clock and a wall clock that move only when told to."""

    def __init__(self, wall: datetime) -> None:
        self.seconds = 0.0
        self._start = wall

    def __call__(self) -> float:
        return self.seconds

    def wall(self) -> datetime:
        return self._start + timedelta(seconds=self.seconds)


class Receiver:
    """An HTTP server in a thread of this process.

    Attributes:
        status: What it answers; None: it never answers.
        requests: (headers, body) of everything that it was sent, whatever it answered.
        accepted: The documents of what it answered with 200.
    """

    def __init__(self) -> None:
        self.status: int | None = 200
        self.reject: str | None = None
        self.requests: list[tuple[Message, bytes]] = []
        self.accepted: list[dict[str, Any]] = []
        self._release = threading.Event()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.requests.append((self.headers, body))
                status = receiver.status
                if receiver.reject is not None and receiver.reject in body.decode(errors="replace"):
                    status = 422
                if status is None:
                    receiver._release.wait(60)
                    return
                if status == 200:
                    receiver.accepted.append(document_of(self.headers, body))
                self.send_response(status)
                if status in (301, 302, 307):
                    self.send_header("Location", "http://127.0.0.1:1/elsewhere")
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._server.block_on_close = False
        self.url = f"http://127.0.0.1:{self._server.server_port}/hook"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        self._release.set()
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@contextmanager
def receiver() -> Iterator[Receiver]:
    server = Receiver()
    try:
        yield server
    finally:
        server.close()


def document_of(headers: Message, body: bytes) -> dict[str, Any]:
    """The JSON document of a request, as the standard library's parsers read it."""
    if headers.get_content_type() == "application/json":
        found = json.loads(body)
    else:
        found = json.loads(parts_of(headers, body)["notification"])
    assert isinstance(found, dict)
    return found


def parts_of(headers: Message, body: bytes) -> dict[str, bytes]:
    """The parts of a multipart request by name."""
    message = BytesParser().parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + body)
    parts = message.get_payload()
    assert isinstance(parts, list)
    return {
        str(part.get_param("name", header="content-disposition")): bytes(part.get_payload(decode=True))  # type: ignore[arg-type]
        for part in parts
        if isinstance(part, Message)
    }
