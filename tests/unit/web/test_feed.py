"""The stream of news, over HTTP from the real server: made once for all, and not at all for nobody."""

from __future__ import annotations

import json
import math
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from streamad.errors import OutputError
from streamad.observability import Health, Metrics
from streamad.web import WebServer, WebSpec, create_app, guard
from streamad.web.guard import max_connections

URL = "/api/v1/stream"


class Status:
    def __init__(self) -> None:
        self.calls = 0
        self.error: Exception | None = None

    def __call__(self) -> dict[str, Any]:
        self.calls += 1
        if self.error is not None:
            raise self.error
        recent = [(0.0, None)] * 60 + [(1.0, 2.0)]
        return {"cameras": [{"id": "gate", "score": math.nan, "recent": recent}, {"id": "new", "recent": []}]}


def messages(answer: httpx.Response) -> Iterator[tuple[str, Any]]:
    kind = ""
    for line in answer.iter_lines():
        if line.startswith("event: "):
            kind = line[7:]
        elif line.startswith("data: "):
            yield kind, json.loads(line[6:], parse_constant=lambda name: (_ for _ in ()).throw(ValueError(name)))


def until(found: Iterator[tuple[str, Any]], kind: str) -> Any:
    return next(document for name, document in found if name == kind)


def test_a_viewer_gets_the_status_and_what_happens() -> None:
    status = Status()
    app = create_app(metrics=Metrics(), health=Health(), status=status)
    app.state.feed.publish("event", {"kind": "opened", "event": {"id": "nobody looks"}})
    with WebServer(app, WebSpec(port=0)) as server, httpx.Client(base_url=server.url, timeout=30) as client:
        assert status.calls == 0
        with client.stream("GET", URL) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            found = messages(answer)
            assert next(found) == (
                "status",
                {"cameras": [{"id": "gate", "score": None, "is_scored": True}, {"id": "new", "is_scored": False}]},
            )
            app.state.feed.publish("event", {"kind": "opened", "event": {"id": "seen"}})
            assert until(found, "event")["event"]["id"] == "seen"
            status.error = OutputError("disk of rtsp://a:secret@h/x")
            assert until(found, "trouble") == {"error": "the status cannot be read"}
            status.error = None
            assert until(found, "status")["cameras"]
        deadline = time.monotonic() + 30
        while app.state.feed.viewers and time.monotonic() < deadline:
            time.sleep(0.05)
        assert app.state.feed.viewers == 0


def test_many_viewers_cost_one_snapshot() -> None:
    status = Status()
    app = create_app(metrics=Metrics(), health=Health(), status=status)
    taken: list[list[Any]] = []

    def look(url: str) -> None:
        with httpx.Client(base_url=url, timeout=60) as client, client.stream("GET", URL) as answer:
            found = messages(answer)
            taken.append([next(found) for _ in range(3)])

    with WebServer(app, WebSpec(port=0)) as server:
        viewers = [threading.Thread(target=look, args=(server.url,)) for _ in range(30)]
        for viewer in viewers:
            viewer.start()
        for viewer in viewers:
            viewer.join()
        assert len(taken) == 30
        assert status.calls < 30  # each has seen three


def test_connections_are_left_for_others_and_streams_end_with_the_server() -> None:
    app = create_app(metrics=Metrics(), health=Health(), status=Status())
    most = max_connections() * 3 // 4
    with WebServer(app, WebSpec(port=0)) as server:
        clients = [httpx.Client(base_url=server.url, timeout=60) for _ in range(most + 1)]
        opened = [client.stream("GET", URL) for client in clients]
        answers = [stream.__enter__() for stream in opened]
        assert [answer.status_code for answer in answers] == [200] * most + [503]
        assert httpx.get(f"{server.url}/api/v1/status", timeout=30).status_code == 200
        began = threading.active_count()
        server.stop()
        assert not server.is_running
        assert threading.active_count() < began
        for answer in answers[:most]:
            for _ in answer.iter_raw():
                pass  # ends, without an error
        for stream in opened:
            stream.__exit__(None, None, None)
        for client in clients:
            client.close()


def test_a_viewer_that_reads_nothing_loses_its_stream(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guard, "IDLE_SECONDS", 1.0)
    large = {"cameras": [{"id": "x" * 2_000_000, "recent": []}]}
    app = create_app(metrics=Metrics(), health=Health(), status=lambda: large)
    with WebServer(app, WebSpec(port=0)) as server, socket.socket() as viewer:
        viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        viewer.connect(("127.0.0.1", int(server.url.rpartition(":")[2])))
        viewer.sendall(f"GET {URL} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        deadline = time.monotonic() + 60
        while not app.state.feed.viewers and time.monotonic() < deadline:
            time.sleep(0.02)
        while app.state.feed.viewers and time.monotonic() < deadline:
            time.sleep(0.1)
        assert app.state.feed.viewers == 0
        assert httpx.get(f"{server.url}/healthz", timeout=30).status_code in (200, 503)
