"""The application through real HTTP requests to the real server."""

from __future__ import annotations

import json
import logging
import math
import re
import signal
import socket
import threading
import time
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from unit.alerts.alert_events import START, make_event

from streamad.alerts import EventStore
from streamad.errors import ExitCode, OutputError, UsageError
from streamad.observability import Health, Metrics
from streamad.web import WebServer, WebSpec, create_app

STATUS: dict[str, Any] = {
    "version": "0.1.0",
    "cameras": [{"id": "gate", "score": math.nan, "recent": [(0.0, 1.0), (0.04, math.inf)]}],
}


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Site:
    """A running server and what it serves."""

    def __init__(self, folder: Path) -> None:
        self.clock = Clock()
        self.metrics = Metrics()
        self.health = Health(clock=self.clock)
        self.store = EventStore(folder / "events.sqlite")
        self.status_error: Exception | None = None
        app = create_app(
            metrics=self.metrics,
            health=self.health,
            status=self.status,
            store=self.store,
            preview=lambda camera, has_map: b"\xff\xd8jpeg" if camera == "gate" else None,
        )
        self.server = WebServer(app, WebSpec(port=0))
        self.server.start()
        self.client = httpx.Client(base_url=self.server.url, timeout=10)

    def status(self) -> Mapping[str, Any]:
        if self.status_error is not None:
            raise self.status_error
        return STATUS

    def close(self) -> None:
        self.client.close()
        self.server.stop()
        self.store.close()


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    opened = Site(tmp_path)
    yield opened
    opened.close()


def test_metrics_have_the_content_type_that_prometheus_expects(site: Site) -> None:
    site.metrics.camera("gate").set_score(2.5)
    answer = site.client.get("/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert "streamad_anomaly_score" in families
    openmetrics = site.client.get("/metrics", headers={"Accept": "application/openmetrics-text; version=1.0.0"})
    assert openmetrics.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")


def test_health_follows_the_main_loop(site: Site) -> None:
    site.health.tick()
    answer = site.client.get("/healthz")
    assert (answer.status_code, answer.json()["ok"]) == (200, True)
    site.clock.now += 60
    answer = site.client.get("/healthz")
    assert answer.status_code == 503
    assert answer.json() == {"ok": False, "reason": "no tick of the main loop for 60.0 s, at most 10 s is expected"}


def test_readiness_says_what_is_missing(site: Site) -> None:
    site.health.tick()
    site.health.set_ready("config")
    answer = site.client.get("/readyz")
    assert (answer.status_code, answer.json()["reason"]) == (503, "model: not yet checked")
    site.health.set_ready("model")
    assert site.client.get("/readyz").json() == {"ok": True, "reason": "ready"}


def test_status_is_json_without_nan(site: Site) -> None:
    answer = site.client.get("/status")
    assert answer.headers["cache-control"] == "no-store"
    document = json.loads(answer.text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    assert document["cameras"] == [{"id": "gate", "score": None, "recent": [[0.0, 1.0], [0.04, None]]}]


def test_errors_are_json_and_redacted(site: Site) -> None:
    site.status_error = OutputError("cannot read rtsp://a:geheim@h/x", hint="try again")
    answer = site.client.get("/status")
    assert answer.status_code == 503
    assert answer.json() == {"error": "cannot read rtsp://***@h/…", "hint": "try again"}
    site.status_error = UsageError("wrong")
    assert site.client.get("/status").status_code == 422


def test_events_are_filtered(site: Site) -> None:
    events = [make_event(i, camera=("gate", "dock")[i % 2], state="closed") for i in range(6)]
    for event in events:
        site.store.save(event)
    documents = [event.to_dict() | {"evidence": [], "mark": None} for event in events]
    answer = site.client.get("/api/v1/events").json()
    assert answer["total"] == 6
    assert answer["events"] == documents[::-1]
    since = (START + timedelta(minutes=3)).isoformat()
    answer = site.client.get("/api/v1/events", params={"camera": "dock", "since": since, "limit": 1}).json()
    assert answer == {"events": [documents[5]], "total": 2, "next": events[5].id}
    until = (START + timedelta(minutes=5)).isoformat()
    assert (
        site.client.get("/api/v1/events", params={"since": since, "until": until}).json()["events"] == documents[4:2:-1]
    )
    answer = site.client.get("/api/v1/events", params={"camera": "dock", "cursor": answer["next"]}).json()
    assert answer["next"] is None
    assert [event["id"] for event in answer["events"]] == [events[3].id, events[1].id]
    # The first and last hours of the calendar, which UTC cannot express in every zone.
    for path in ("/api/v1/events", "/api/v1/health-events"):
        for since in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00"):
            assert site.client.get(path, params={"since": since}).status_code == 200
        assert site.client.get(path, params={"cursor": "unknown"}).status_code == 422


@pytest.mark.parametrize("query", ["limit=0", "limit=1001", "limit=x", "since=yesterday", "since=2026-01-01T00:00:00"])
def test_wrong_queries_are_refused(site: Site, query: str) -> None:
    assert site.client.get(f"/api/v1/events?{query}").status_code == 422


def test_pictures_are_served_where_there_are_any(site: Site) -> None:
    answer = site.client.get("/api/v1/cameras/gate/preview.jpg")
    assert (answer.content, answer.headers["content-type"]) == (b"\xff\xd8jpeg", "image/jpeg")
    assert answer.headers["cache-control"] == "no-store"
    assert site.client.get("/api/v1/cameras/dock/preview.jpg").status_code == 404


def test_the_page_needs_nothing_from_elsewhere(site: Site) -> None:
    answer = site.client.get("/")
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert 'data-preview="yes"' in answer.text
    assert not re.findall(r"https?://", answer.text)
    assert "default-src 'none'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    # No inline handlers or style attributes: the policy would block them.
    assert not re.search(r"\s(on[a-z]+|style)=", answer.text)
    assert "innerHTML" not in answer.text


@pytest.mark.parametrize("path", ["/docs", "/redoc", "/openapi.json", "/nothing"])
def test_there_are_no_other_pages(site: Site, path: str) -> None:
    assert site.client.get(path).status_code == 404


def test_without_a_store_and_pictures_the_paths_answer_404() -> None:
    app = create_app(metrics=Metrics(), health=Health(), status=dict)
    with WebServer(app, WebSpec(port=0)) as server, httpx.Client(base_url=server.url) as client:
        assert client.get("/api/v1/events").status_code == 404
        assert client.get("/api/v1/cameras/gate/preview.jpg").status_code == 404
        assert 'data-preview="no"' in client.get("/").text


def make_server(port: int = 0, host: str = "127.0.0.1") -> WebServer:
    return WebServer(
        create_app(metrics=Metrics(), health=Health(), status=dict), WebSpec(port=port, host=host, anonymous="anywhere")
    )


def test_an_occupied_port_is_an_error_before_anything_starts() -> None:
    first = make_server()
    port = int(first.url.rsplit(":", 1)[1])
    threads = threading.active_count()
    try:
        with pytest.raises(OutputError, match=f"cannot listen on 127.0.0.1:{port}: Address already in use") as caught:
            make_server(port)
        assert "web.port" in (caught.value.hint or "")
        assert caught.value.exit_code == ExitCode.RUNTIME
        assert threading.active_count() == threads
    finally:
        first.stop()


def test_the_port_is_free_again_after_stop() -> None:
    with make_server() as server:
        port = int(server.url.rsplit(":", 1)[1])
        with httpx.Client(base_url=server.url) as client:
            assert client.get("/healthz").status_code == 200
            assert server.is_running
            start = time.monotonic()
            server.stop()  # with the client's connection still open
            assert time.monotonic() - start < 4
    server.stop()
    assert not server.is_running
    make_server(port).stop()


@pytest.mark.parametrize("host", ["203.0.113.7", "no-such-host.invalid"])
def test_a_host_that_is_not_this_machine_is_an_error(host: str) -> None:
    with pytest.raises(OutputError, match=f"cannot listen on {host}:0") as caught:
        make_server(host=host)
    assert "web.host" in (caught.value.hint or "")


def test_ipv6_is_served_where_there_is_any() -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError as error:
        pytest.skip(f"no IPv6 here: {error}")
    with make_server(host="::1") as server:
        assert server.url.startswith("http://[::1]:")
        assert httpx.get(f"{server.url}/healthz").status_code == 200


def test_signals_and_logs_stay_with_the_program(caplog: pytest.LogCaptureFixture) -> None:
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    with caplog.at_level(logging.INFO), make_server() as server:
        httpx.get(f"{server.url}/healthz")
        assert {number: signal.getsignal(number) for number in before} == before
    assert not [record for record in caplog.records if record.name.startswith("uvicorn")]


def test_slow_requests_do_not_delay_the_probes(tmp_path: Path) -> None:
    release = threading.Event()

    def slow() -> dict[str, Any]:
        release.wait(20)
        return {}

    app = create_app(metrics=Metrics(), health=Health(), status=slow)
    with WebServer(app, WebSpec(port=0)) as server:
        url = server.url
        threads = [threading.Thread(target=lambda: httpx.get(f"{url}/status", timeout=30)) for _ in range(50)]
        for thread in threads:
            thread.start()
        try:
            for _ in range(3):
                assert httpx.get(f"{url}/healthz", timeout=5).status_code == 200
        finally:
            release.set()
            for thread in threads:
                thread.join()


def test_every_setting_is_described_and_bounded() -> None:
    assert all(field.description for field in WebSpec.model_fields.values())
    assert WebSpec().host == "127.0.0.1"
    with pytest.raises(ValueError, match="65535"):
        WebSpec(port=70000)
