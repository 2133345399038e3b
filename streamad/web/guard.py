"""Protection of the web server: served host names, and limits on connections, request sizes and times."""

from __future__ import annotations

import asyncio
import ipaddress
import math
import re
import resource
import socket
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from functools import partial
from typing import Any, ClassVar

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from streamad.observability.endpoints import WebSpec, is_loopback
from streamad.web.tls import Certificate

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]

HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"x-frame-options", b"DENY"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"referrer-policy", b"no-referrer"),
)
"""Headers of every response, including errors, unless the application has set them."""

MAX_CONNECTIONS = 160
"""Maximum number of connections. A page uses one all the time and a few more now and then, so that 50 viewers fit. It
is also limited to a quarter of the process's descriptors, so that decoders can be started regardless of clients."""
IDLE_SECONDS = 10.0
"""Maximum time for a client to send a complete request, measured from the connection or the last response, and maximum
time in which it reads nothing of a response."""
ACCEPTED_AT_ONCE = 16
"""Number of connections that the event loop accepts before handling any of them."""

MAX_HEAD = 16384
"""Maximum size of a request line and headers, bytes. The parser's own limit applies only to data in several pieces."""
MAX_BODY = 65536
"""Maximum size of a body, bytes. Only requests to the API that change something may have one."""
_CHANGING = ("POST", "PUT", "PATCH", "DELETE")

_HOST = re.compile(r"(?P<host>\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::\d{0,5})?", re.IGNORECASE)

_REFUSED_HOST = (
    b'{"error": "this host name is not allowed", "hint": "add it to web.allowed_hosts (docs/how-to/secure.md)"}'
)
_REFUSED_SIZE = b'{"error": "the request is too large", "hint": null}'
_REFUSED_BODY = b'{"error": "requests must not have a body", "hint": null}'
_REFUSED_TYPE = b'{"error": "the body must be JSON", "hint": "send Content-Type: application/json"}'


class Guard:
    """An ASGI application that responds only for known hosts, and adds `HEADERS`.

    A foreign page may point its own name at this machine (DNS rebinding) and then share its origin with ours, but its
    requests still name the foreign host.

    Allowed are loopback names and addresses, `spec.host`, the local address of the connection, and
    `spec.allowed_hosts`.
    """

    def __init__(self, app: Callable[[Any, Any, Any], Awaitable[None]], spec: WebSpec) -> None:
        self._app = app
        self._allowed = (*map(str.lower, spec.allowed_hosts), spec.host.lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_with_headers(message: Any) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message.get("headers", ())}
                added = [header for header in HEADERS if header[0] not in given]
                message = {**message, "headers": [*message.get("headers", ()), *added]}
            await send(message)

        headers = scope["headers"]
        hosts = [value.decode("latin-1") for name, value in headers if name == b"host"]
        local = scope["server"][0] if scope.get("server") else ""
        if len(hosts) != 1 or not self.serves(hosts[0], local):
            await _refuse(send_with_headers, 400, _REFUSED_HOST)
        elif _size(scope) > MAX_HEAD:
            await _refuse(send_with_headers, 431, _REFUSED_SIZE)
        elif refusal := _refused_body(scope):
            await _refuse(send_with_headers, *refusal)
        else:
            # The server itself omits the body of a response to HEAD.
            method = "GET" if scope["method"] == "HEAD" else scope["method"]
            await self._app({**scope, "method": method}, receive, send_with_headers)

    def serves(self, host: str, local: str) -> bool:
        """Whether requests with this `Host` header are served.

        Args:
            host: The header's value: name or address, with or without a port.
            local: The local address to which the client connected.
        """
        match = _HOST.fullmatch(host.strip())
        if match is None:
            return False
        name = match["host"].strip("[]").lower().removesuffix(".")
        address = _address(name)
        if is_loopback(name) or (address is not None and address == _address(local)):
            return True
        return any(_matches(name, address, allowed) for allowed in self._allowed)


class GuardedProtocol(H11Protocol):
    """A connection with a time limit, one of a limited number.

    If there are too many, the client with the most connections loses its longest idle one, so that a client that holds
    hundreds open cannot lock out others.
    """

    handshakes: ClassVar[dict[GuardedProtocol, float]] = {}
    """TLS handshakes of the last `IDLE_SECONDS` that were not completed, by when they began."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # With TLS, a connection is made only after its handshake. Until then it has a descriptor, too.
        if self.config.ssl is not None:
            now = time.monotonic()
            while self.handshakes and now - next(iter(self.handshakes.values())) > IDLE_SECONDS:
                del self.handshakes[next(iter(self.handshakes))]  # asyncio has given it up
            if len(self.handshakes) >= max(_quarter_of_descriptors(), ACCEPTED_AT_ONCE):
                raise ConnectionAbortedError("too many connections")  # asyncio drops it
            self.handshakes[self] = now
        self._since = time.monotonic()
        self._unsent = 0

    def connection_made(self, transport: Any) -> None:
        """Accept the connection; if there are too many, close an idle one."""
        self.handshakes.pop(self, None)
        super().connection_made(transport)
        if len(self.connections) > max_connections():
            idle = [c for c in self.connections if isinstance(c, GuardedProtocol) and not c.busy and c is not self]
            held = Counter(c.client_host for c in idle)
            victim = max(idle, key=lambda c: (held[c.client_host], -c._since), default=self)
            victim.drop()

    @property
    def busy(self) -> bool:
        """Whether a request that has arrived completely is being handled."""
        return self.cycle is not None and not self.cycle.response_complete and not self.cycle.more_body

    @property
    def client_host(self) -> str:
        """The client's address; "" if unknown."""
        return self.client[0] if self.client else ""

    def on_response_complete(self) -> None:
        """Restart the idle timer for the next request."""
        self._since = time.monotonic()
        super().on_response_complete()

    def expire(self, now: float) -> None:
        """Drop the connection if its client has been idle, or has read nothing of a response, for too long."""
        unsent = self.transport.get_write_buffer_size()
        # A stream is busy for minutes; one whose client reads nothing must not hold its connection.
        if (self.busy and not unsent) or unsent < self._unsent:
            self._since = now
        self._unsent = unsent
        if now - self._since > IDLE_SECONDS:
            self.drop()

    def drop(self) -> None:
        """Close the connection immediately, without waiting for the client to read the rest."""
        self.connections.discard(self)
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """Respond to data that is not HTTP."""
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close"), *HEADERS]
        events = (
            h11.Response(status_code=400, headers=headers, reason=b"Bad Request"),
            h11.Data(data=msg.encode("ascii")),
            h11.EndOfMessage(),
        )
        try:
            for event in events:
                self.transport.write(self.conn.send(event) or b"")
        except h11.LocalProtocolError:
            self.drop()  # a response to the previous request is in progress
        else:
            self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Handle an upgrade request as a plain request, as HTTP specifies, without a log message."""


class GuardedServer(uvicorn.Server):
    """A server that checks its connections once a second, and its certificate once a minute.

    Args:
        config: uvicorn's configuration.
        certificate: The certificate; None: no TLS.
    """

    def __init__(self, config: uvicorn.Config, certificate: Certificate | None) -> None:
        super().__init__(config)
        self._certificate = certificate

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start to listen, with the time limit of requests for TLS handshakes, too."""
        loop = asyncio.get_running_loop()
        if self._certificate is not None:
            create = partial(loop.create_server, ssl_handshake_timeout=IDLE_SECONDS, ssl_shutdown_timeout=IDLE_SECONDS)
            loop.create_server = create  # type: ignore[method-assign]  # uvicorn has no setting for it
        await super().startup(sockets)

    async def on_tick(self, counter: int) -> bool:
        """Check the connections on every tenth call; uvicorn calls this ten times a second."""
        if counter % 10 == 0:
            now = time.monotonic()
            for connection in list(self.server_state.connections):
                if isinstance(connection, GuardedProtocol):
                    connection.expire(now)
        if self._certificate is not None and counter % 600 == 0:
            self._certificate.renew()
        return await super().on_tick(counter)


def max_connections() -> int:
    """Maximum number of open connections."""
    return int(min(MAX_CONNECTIONS, _quarter_of_descriptors()))


def _quarter_of_descriptors() -> float:
    descriptors = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return math.inf if descriptors == resource.RLIM_INFINITY else descriptors // 4


def _size(scope: Scope) -> int:
    head = sum(len(name) + len(value) for name, value in scope["headers"])
    return len(scope["method"]) + len(scope["raw_path"]) + len(scope["query_string"]) + head


def _refused_body(scope: Scope) -> tuple[int, bytes] | None:
    """Why a request's body is refused, as status and answer; None if it may be read."""
    headers: dict[bytes, bytes] = dict(scope["headers"])  # of two lengths that differ, the parser makes an error
    length = headers.get(b"content-length", b"0").strip()
    if b"transfer-encoding" not in headers and length == b"0":
        return None
    is_allowed = scope["method"] in _CHANGING and scope["path"].startswith("/api/")
    if not is_allowed or b"transfer-encoding" in headers or not length.isdigit():
        return 400, _REFUSED_BODY
    if len(length) > len(str(MAX_BODY)) or int(length) > MAX_BODY:
        return 413, _REFUSED_SIZE
    # A page from elsewhere can send JSON only after it has asked whether it may, which is refused.
    if headers.get(b"content-type", b"").partition(b";")[0].strip().lower() != b"application/json":
        return 415, _REFUSED_TYPE
    return None


async def _refuse(send: Send, status: int, body: bytes) -> None:
    headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        address = ipaddress.ip_address(text.partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _matches(name: str, address: ipaddress.IPv4Address | ipaddress.IPv6Address | None, allowed: str) -> bool:
    if allowed.startswith("*."):
        return name.endswith(allowed[1:])
    return allowed in ("*", name) or (address is not None and address == _address(allowed))
