"""Requests that no browser of ours sends, through real sockets: foreign hosts, odd requests, idle and slow clients."""

from __future__ import annotations

import json
import random
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from unit.alerts.alert_events import make_event

from streamad.alerts import EventStore
from streamad.errors import OutputError
from streamad.observability import Health, Metrics
from streamad.web import Logins, WebServer, WebSpec, create_app, guard

PATHS = ("/", "/metrics", "/healthz", "/readyz", "/status", "/api/v1/events", "/api/v1/health-events")
EXPECTED = {
    "x-content-type-options": "nosniff",
    "cross-origin-resource-policy": "same-origin",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EventStore(tmp_path_factory.mktemp("events") / "events.sqlite") as store:
        for number in range(5):
            store.save(make_event(number, state="closed"))
        app = create_app(
            metrics=Metrics(),
            health=Health(),
            status=dict,
            store=store,
            preview=lambda camera, has_map: b"\xff\xd8jpeg" if camera == "gate" else None,
        )
        spec = WebSpec(port=0, allowed_hosts=("watch.example", "*.inside.example", "192.0.2.9"))
        with WebServer(app, spec) as server:
            yield server.url


def port_of(url: str) -> int:
    return int(url.rsplit(":", 1)[1])


def connected(url: str) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port_of(url)), timeout=20)


def raw(url: str, request: bytes) -> bytes:
    """What the server sends for these bytes, to the end of the connection."""
    with connected(url) as client:
        client.sendall(request)
        answer = b""
        while chunk := client.recv(65536):
            answer += chunk
    return answer


def get(host: bytes, path: bytes = b"/status", *more: bytes) -> bytes:
    lines = [b"GET " + path + b" HTTP/1.1", b"Host: " + host, b"Connection: close", *more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


def status(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def headers(answer: bytes) -> dict[str, str]:
    head = answer.partition(b"\r\n\r\n")[0].decode()
    return {k.lower(): v for k, _, v in (line.partition(": ") for line in head.split("\r\n")[1:])}


# ── Hosts ──────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "LOCALHOST:8080", "localhost.",
        "cam.localhost:1", "127.0.0.1", "127.0.0.1:9", "127.1.2.3", "[::1]:8080",
        "[::1]", "[0:0:0:0:0:0:0:1]", "[::ffff:127.0.0.1]", "watch.example", "WATCH.example.:443", "a.inside.example",
        "a.b.inside.example", "192.0.2.9:8080",
    ],
)  # fmt: skip
def test_known_hosts_are_served(url: str, host: str) -> None:
    assert status(raw(url, get(host.encode()))) == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "evil-localhost",
        "localhost@evil.example", "evil.example@localhost", "localhost:80@evil.example", "localhost/evil",
        "localhost:x", "", ":8080", "inside.example", "evilinside.example", "watch.example.evil", "203.0.113.7",
        "0.0.0.0", "[::2]", "[::1", "::1", "127.0.0.1]", "2130706433", "0x7f.1", "localhost, evil.example",
        "loc alhost", "l\u00f6calhost", "%6cocalhost", "watch.example#", "*", "*.inside.example", "localhost:80:80",
    ],
)  # fmt: skip
@pytest.mark.parametrize("path", [b"/status", b"/api/v1/cameras/gate/preview.jpg", b"/nothing"])
def test_foreign_hosts_are_refused(url: str, host: str, path: bytes) -> None:
    answer = raw(url, get(host.encode(), path))
    assert status(answer) == 400
    assert b"jpeg" not in answer
    assert EXPECTED.items() <= headers(answer).items()


@pytest.mark.parametrize("path", [*PATHS, "/nothing", "/api/v1/cameras/gate/preview.jpg"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "TRACE", "BREW"])
def test_no_path_and_no_method_is_open_to_foreign_hosts(url: str, path: str, method: str) -> None:
    answer = httpx.request(method, url + path, headers={"Host": "evil.example"})
    assert answer.status_code == 400
    if method != "HEAD":
        assert "web.allowed_hosts" in answer.json()["hint"]


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"GET /status HTTP/1.1\r\n\r\n",
        b"GET /status HTTP/1.0\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n",
        b"GET /status HTTP/1.1\r\nHost: localhost\r\nhost: localhost\r\n\r\n",
        b"GET /status HTTP/1.0\r\nX-Forwarded-Host: localhost\r\n\r\n",
    ],
    ids=["none", "none in HTTP/1.0", "two", "the same twice", "forwarded"],
)
def test_a_request_names_one_host(url: str, request_bytes: bytes) -> None:
    assert status(raw(url, request_bytes)) == 400


def test_the_address_that_a_client_connected_to_is_served() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing; the system chooses the address that it would send from
        own = probe.getsockname()[0]
    if own.startswith("127."):
        pytest.skip("this machine has no address but loopback")
    spec = WebSpec(port=0, host="0.0.0.0", anonymous="anywhere")
    app = create_app(metrics=Metrics(), health=Health(), status=dict, logins=Logins(spec))
    with WebServer(app, spec) as server:
        port = port_of(server.url)
        assert httpx.get(f"http://{own}:{port}/status").status_code == 200
        for host, code in ((own, 400), ("127.0.0.1", 200), ("evil.example", 400)):
            answer = httpx.get(f"http://127.0.0.1:{port}/status", headers={"Host": host})
            assert answer.status_code == code, "another address of the machine than the one that was asked"


def test_any_host_may_be_allowed() -> None:
    app = create_app(metrics=Metrics(), health=Health(), status=dict)
    with WebServer(app, WebSpec(port=0, allowed_hosts=("*",))) as server:
        assert httpx.get(f"{server.url}/status", headers={"Host": "any.example"}).status_code == 200


@pytest.mark.parametrize(
    "entry", ["", "http://watch.example", "watch.example:80", "a b", "*.", "**.a", "a.*", "[::1]", "a/b"]
)
def test_what_is_no_host_is_refused_in_the_configuration(entry: str) -> None:
    with pytest.raises(ValueError, match="allowed_hosts"):
        WebSpec(allowed_hosts=(entry,))


@pytest.mark.parametrize(
    "entry", ["watch", "watch.example", "*.example", "*", "192.0.2.1", "2001:db8::1", "a_b-c.example"]
)
def test_hosts_of_the_configuration(entry: str) -> None:
    assert WebSpec(allowed_hosts=(entry,)).allowed_hosts == (entry,)


# ── Headers ────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("method", "path", "code"),
    [
        *[("GET", path, 503 if path == "/readyz" else 200) for path in PATHS if path != "/healthz"],
        ("HEAD", "/", 200),
        ("HEAD", "/metrics", 200),
        ("GET", "/api/v1/cameras/gate/preview.jpg", 200),
        ("GET", "/api/v1/cameras/none/preview.jpg", 404),
        ("GET", "/nothing", 404),
        ("GET", "/metrics/", 307),
        ("GET", "/api/v1/events?limit=x", 422),
        ("POST", "/status", 405),
        ("TRACE", "/", 405),
        ("BREW", "/", 405),
    ],
)
def test_every_answer_carries_the_headers(url: str, method: str, path: str, code: int) -> None:
    answer = httpx.request(method, url + path)
    assert answer.status_code == code
    assert EXPECTED.items() <= answer.headers.items()
    policies = answer.headers.get_list("content-security-policy")
    assert len(policies) == 1
    assert "frame-ancestors 'none'" in policies[0]
    assert "default-src 'none'" in policies[0]
    assert "server" not in answer.headers
    if method == "HEAD":
        assert answer.content == b""
        assert int(answer.headers["content-length"]) > 1000, "that of the answer to GET"


def test_an_error_of_the_program_carries_the_headers_and_no_details() -> None:
    def broken() -> dict[str, Any]:
        raise RuntimeError("cannot read rtsp://admin:hunter2@h/x")

    app = create_app(metrics=Metrics(), health=Health(), status=broken)
    with WebServer(app, WebSpec(port=0)) as server:
        answer = httpx.get(f"{server.url}/status")
    assert answer.status_code == 500
    assert "hunter2" not in answer.text
    assert EXPECTED.items() <= answer.headers.items()


# ── Odd requests ───────────────────────────────────────────────────────────────────────────────────────────────────

LONG = b"a" * 100_000
ODD: dict[str, bytes] = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(100) + b"\r\n\r\n",
    "long path": get(b"localhost", b"/" + LONG),
    "long query": get(b"localhost", b"/api/v1/events?camera=" + LONG),
    "long header": get(b"localhost", b"/", b"X: " + LONG),
    "many headers": get(b"localhost", b"/", *[b"X%d: y" % n for n in range(10_000)]),
    "long method": LONG + b" / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n",
    "bytes in the path": get(b"localhost", b"/\xff\xfe"),
    "zero in a header": get(b"localhost", b"/", b"X: a\x00b"),
    "both lengths": get(b"localhost", b"/", b"Content-Length: 5", b"Transfer-Encoding: chunked") + b"0\r\n\r\n",
    "two lengths": get(b"localhost", b"/", b"Content-Length: 5", b"Content-Length: 6") + b"abcdef",
    "negative length": get(b"localhost", b"/", b"Content-Length: -1"),
    "length is no number": get(b"localhost", b"/", b"Content-Length: 1e3"),
    "a body": get(b"localhost", b"/", b"Content-Length: 5") + b"abcde",
    "a body that does not come": get(b"localhost", b"/", b"Content-Length: 50000000"),
    "chunks": get(b"localhost", b"/", b"Transfer-Encoding: chunked") + b"5\r\nabcde\r\n0\r\n\r\n",
    "odd encoding": get(b"localhost", b"/", b"Transfer-Encoding: xchunked") + b"5\r\nabcde\r\n0\r\n\r\n",
    "space before the colon": get(b"localhost", b"/", b"Transfer-Encoding : chunked"),
    "version 0.9": b"GET /\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
}  # fmt: skip


@pytest.mark.parametrize("name", ODD)
def test_odd_requests_are_refused_and_the_connection_closed(url: str, name: str) -> None:
    with connected(url) as client:
        answer = b""
        try:
            client.sendall(ODD[name])
            while chunk := client.recv(65536):
                answer += chunk
        except ConnectionError:
            pass  # closed before all of it was sent
    if answer:
        # A head that does not arrive in one piece is refused by the server before its size is known.
        assert status(answer) in ((431, 400) if name.startswith(("long", "many")) else (400,))
        assert EXPECTED.items() <= headers(answer).items()
        assert answer.count(b"HTTP/1.1 ") == 1, "nothing that followed was taken for a request"
    assert httpx.get(f"{url}/status").status_code == 200


@pytest.mark.parametrize(
    ("request_bytes", "codes"),
    [
        (get(b"localhost", b"/", b"Expect: 100-continue"), {200}),
        (get(b"localhost", b"/", b"X: a\r\n Host: evil.example"), {200}),
        (get(b"localhost", b"/", b"Upgrade: websocket", b"Sec-WebSocket-Key: x"), {200}),
        (get(b"localhost", b"http://evil.example/status"), {404}),
        (b"CONNECT evil.example:443 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {404, 405}),
        (b"OPTIONS * HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n", {404, 405}),
        (get(b"localhost", b"/../../etc/passwd"), {404}),
        (get(b"localhost", b"/%2e%2e/%2e%2e/etc/passwd"), {404}),
        (get(b"localhost", b"/api/v1/cameras/%00%ff%0d%0aX:%20y/preview.jpg"), {404}),
        (get(b"localhost", b"//evil.example/"), {404}),
        (get(b"localhost", b"//evil.example/%2e%2e"), {404}),
        (get(b"localhost", b"/api/v1/events?camera=%ed%a0%80%00"), {200}),
    ],
)
def test_odd_but_legal_requests(url: str, request_bytes: bytes, codes: set[int]) -> None:
    answer = raw(url, request_bytes)
    assert status(answer) in codes
    assert EXPECTED.items() <= headers(answer).items()
    assert "x" not in headers(answer)


def test_pipelined_requests_are_answered_in_order(url: str) -> None:
    one = b"GET /readyz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    answer = raw(url, one * 20 + get(b"localhost", b"/nothing"))
    codes = [int(part.split(b" ", 1)[0]) for part in answer.split(b"HTTP/1.1 ")[1:]]
    assert codes == [503] * 20 + [404]


def test_no_request_of_a_thousand_by_chance_is_an_error_of_the_program(url: str) -> None:
    """Parts of valid requests and of hostile ones, joined by chance; the seed stands in the message of a failure."""
    seed = random.randrange(2**32)
    chance = random.Random(seed)
    words = [
        "camera=gate", "limit=1", "limit=0", "limit=-9", "limit=1e9", "limit=" + "9" * 400, "limit=%00", "limit=١",
        "since=2026-01-01T00:00:00Z", "since=2026-01-01", "since=now",
        "since=9999-12-31T23:59:59-14:00", "since=0001-01-01T00:00:00%2B14:00", "cursor=" + "9" * 400,
        "until=2026-01-01T00:00:00Z", "severity=critical", "mark=none", "mark=x",
        "since=0", "since=", "since=1e400", "since=nan", "since=-99999999999999", "since=2026-01-01T00:00:00%2B14:00",
        "camera=", "camera=%ff", "camera=" + "x" * 4000, "camera=';drop table events;--", "camera[]=1",
        "camera=a&camera=b", "&&&", "=", "%", "%zz", "a" * 900, "cursor=1", "after=x", "cursor=%00",
        "offset=-1", "page=x",
    ]  # fmt: skip
    paths = [
        *PATHS,
        "/api/v1/cameras/gate/preview.jpg",
        "/api/v1/cameras/%2f/preview.jpg",
        "/api/v1/cameras//preview.jpg",
        "/api",
    ]
    with httpx.Client(base_url=url, timeout=20) as client:
        for _ in range(1000):
            query = "&".join(chance.choices(words, k=chance.randrange(4)))
            path = chance.choice(paths)
            answer = client.get(f"{path}?{query}")
            probe = path in ("/healthz", "/readyz")
            assert answer.status_code in ({200, 503} if probe else {200, 404, 422}), f"seed {seed}: {path}?{query}"
            if "json" in answer.headers["content-type"]:
                json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))


# ── Idle, slow and many clients ────────────────────────────────────────────────────────────────────────────────────


def is_closed(client: socket.socket) -> bool:
    client.setblocking(False)
    try:
        return client.recv(65536, socket.MSG_PEEK) == b""
    except BlockingIOError:
        return False
    except ConnectionError:
        return True


def eventually(question: Any, seconds: float = 30) -> bool:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if question():
            return True
        time.sleep(0.05)
    return False


def test_many_idle_clients_keep_nobody_out(url: str) -> None:
    with ExitStack() as stack:
        idle = [stack.enter_context(connected(url)) for _ in range(300)]
        for _ in range(20):
            assert status(raw(url, get(b"localhost"))) == 200
        assert eventually(lambda: sum(not is_closed(client) for client in idle) <= guard.MAX_CONNECTIONS)


def test_clients_that_say_nothing_or_too_slowly_are_closed(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "IDLE_SECONDS", 1.5)
    stop = threading.Event()

    def trickle(client: socket.socket, text: bytes) -> None:
        for number in range(10_000):
            try:
                client.send(text[number : number + 1] or b"x")
            except OSError:
                return
            if stop.wait(0.2):
                return

    with ExitStack() as stack:
        silent, head, header, after = (stack.enter_context(connected(url)) for _ in range(4))
        after.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert eventually(lambda: b"200 OK" in after.recv(65536, socket.MSG_PEEK))
        slow = [
            threading.Thread(target=trickle, args=(client, text))
            for client, text in (
                (head, b"GET /status"), (header, b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "), (after, b"GET /status")
            )
        ]  # fmt: skip
        for thread in slow:
            thread.start()
        try:
            for client in (silent, head, header):
                assert eventually(lambda client=client: is_closed(client))  # type: ignore[misc]
            slow[-1].join(30)
            assert not slow[-1].is_alive(), "its connection was closed, so that it could not go on"
        finally:
            stop.set()
            for thread in slow:
                thread.join()
    assert httpx.get(f"{url}/status").status_code == 200


def test_a_client_that_does_not_take_its_answer_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "IDLE_SECONDS", 1.5)
    large = {"text": "x" * 30_000_000}
    app = create_app(metrics=Metrics(), health=Health(), status=lambda: large)
    with WebServer(app, WebSpec(port=0)) as server, connected(server.url) as client:
        held = server._server.server_state.connections
        client.sendall(get(b"localhost"))
        assert eventually(lambda: len(held) == 1)
        assert eventually(lambda: not held)
        # One that takes it slowly gets it whole.
        with connected(server.url) as patient:
            patient.sendall(get(b"localhost"))
            taken = 0
            while chunk := patient.recv(1_000_000):
                taken += len(chunk)
                time.sleep(0.05)
        assert taken > 30_000_000


def test_requests_in_progress_are_not_dropped_for_new_clients(url: str) -> None:
    """Answers that take longer than the idle time arrive, while idle clients come and go."""
    release = threading.Event()

    def slow() -> dict[str, Any]:
        if not release.wait(30):
            raise OutputError("nobody released it")
        return {"done": True}

    app = create_app(metrics=Metrics(), health=Health(), status=slow)
    with WebServer(app, WebSpec(port=0)) as server, ExitStack() as stack:
        answers: list[int] = []
        waiting = [
            threading.Thread(target=lambda: answers.append(httpx.get(f"{server.url}/status", timeout=60).status_code))
            for _ in range(10)
        ]
        for thread in waiting:
            thread.start()
        for _ in range(200):
            stack.enter_context(connected(server.url))
        release.set()
        for thread in waiting:
            thread.join()
    assert answers == [200] * 10
    assert not (Path("/proc/self/fd").exists() and len(list(Path("/proc/self/fd").iterdir())) > 900)


# ── Bodies ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def put(*more: bytes, path: bytes = b"/api/v1/events/x/mark", method: bytes = b"PUT") -> bytes:
    lines = [method + b" " + path + b" HTTP/1.1", b"Host: localhost", b"Connection: close", *more]
    return b"\r\n".join(lines) + b"\r\n\r\n"


JSON = b"Content-Type: application/json"


@pytest.mark.parametrize(
    ("request_bytes", "code"),
    [
        (put(JSON, b"Content-Length: 17") + b'{"kind": "none"} ', 401),  # read, and refused without a login
        (put(b"Content-Type: application/JSON; charset=utf-8", b"Content-Length: 2") + b"{}", 401),
        (put(b"Content-Type: text/plain", b"Content-Length: 2") + b"{}", 415),
        (put(b"Content-Length: 2") + b"{}", 415),
        (put(JSON, b"Content-Length: 65537"), 413),
        (put(JSON, b"Content-Length: " + b"9" * 400), 400),
        (put(JSON, b"Transfer-Encoding: chunked") + b"2\r\n{}\r\n0\r\n\r\n", 400),
        (put(JSON, b"Content-Length: 2", method=b"GET") + b"{}", 400),
        (put(JSON, b"Content-Length: 2", method=b"POST", path=b"/status") + b"{}", 400),
        (put(JSON, b"Content-Length: 2", method=b"POST", path=b"/api/../status") + b"{}", 404),
        (put(JSON, b"Content-Length: +2") + b"{}", 400),
        (put(JSON, b"Content-Length: 2", b"Content-Length: 3") + b"{}", 400),
    ],
)  # fmt: skip
def test_only_the_api_takes_bodies_small_ones_of_json(url: str, request_bytes: bytes, code: int) -> None:
    answer = raw(url, request_bytes)
    assert status(answer) == code
    assert EXPECTED.items() <= headers(answer).items()
    assert answer.count(b"HTTP/1.1 ") == 1


def test_a_body_that_does_not_arrive_is_given_up(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "IDLE_SECONDS", 0.5)
    with connected(url) as client:
        client.sendall(put(JSON, b"Content-Length: 1000") + b"{")
        assert eventually(lambda: is_closed(client))
    assert httpx.get(f"{url}/status").status_code == 200
