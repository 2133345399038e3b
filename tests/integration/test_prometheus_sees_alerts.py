"""Prometheus with the shipped rules, scraping a real server, reports every alert, however short."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from program_support import program

from streamad.observability import Health, Metrics
from streamad.web import WebServer, WebSpec, create_app

pytestmark = [pytest.mark.timeout(240), pytest.mark.alone]

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
ALERT_SECONDS = 0.3


class Phone:
    """Receives notifications in place of Alertmanager."""

    def __init__(self) -> None:
        self.cameras: set[str] = set()
        phone = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for alert in json.loads(body):
                    if alert["labels"]["alertname"] == "StreamadAnomaly":
                        phone.cameras.add(alert["labels"]["camera"])
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, format: str, *args: object) -> None:
                """Suppress log messages."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)

    @property
    def port(self) -> int:
        return self.server.server_port


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    assert isinstance(port, int)
    return port


@contextmanager
def prometheus(folder: Path, *, target: str, phone: Phone, seconds: str | None) -> Iterator[None]:
    """Run Prometheus with the shipped configuration and replaced addresses. `seconds`: replacement for intervals."""
    program("promtool")  # part of Prometheus; skips, or fails if it is required
    text = (CONFIGS / "prometheus.yml").read_text(encoding="utf-8")
    for old, new in (("127.0.0.1:8080", target), ("127.0.0.1:9093", f"127.0.0.1:{phone.port}")):
        assert old in text
        text = text.replace(old, new)
    if seconds is not None:
        assert text.count("_interval: 15s") == 2
        text = text.replace("_interval: 15s", f"_interval: {seconds}")
    (folder / "prometheus.yml").write_text(text, encoding="utf-8")
    shutil.copy(CONFIGS / "prometheus-rules.yml", folder)
    server = threading.Thread(target=phone.server.serve_forever, daemon=True)
    server.start()
    process = subprocess.Popen(
        [
            "prometheus",
            "--config.file=prometheus.yml",
            f"--web.listen-address=127.0.0.1:{free_port()}",
            "--storage.tsdb.path=data",
            "--log.level=error",
        ],
        cwd=folder,
        stdout=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()
        phone.server.shutdown()
        phone.server.server_close()
        server.join()


def eventually(phone: Phone, wanted: set[str], seconds: float) -> set[str]:
    deadline = time.monotonic() + seconds
    while phone.cameras != wanted and time.monotonic() < deadline:
        time.sleep(0.1)
    return phone.cameras


@pytest.mark.parametrize(
    ("interval", "pause", "patience"),
    [("1s", 1.37, 30.0), pytest.param(None, 10.3, 60.0, marks=pytest.mark.slow)],
    ids=["every second", "as shipped"],
)
def test_every_short_alert_arrives(tmp_path: Path, interval: str | None, pause: float, patience: float) -> None:
    """Six cameras have one alert of 0.3 s each, at different times after a scrape; one has two; one has none."""
    names = [f"camera-{number}" for number in range(6)]
    metrics, phone = Metrics(), Phone()
    cameras = {name: metrics.camera(name) for name in (*names, "quiet")}
    seen: list[float] = []

    def alert(name: str, severity: str) -> None:
        cameras[name].alert(severity)
        cameras[name].set_alert_active(True)
        time.sleep(ALERT_SECONDS)
        cameras[name].set_alert_active(False)

    class Scraped(Metrics):
        """Records when it was scraped."""

        def negotiate(self, accept: str) -> tuple[bytes, str]:
            seen.append(time.monotonic())
            return metrics.negotiate(accept)

    app = create_app(metrics=Scraped(), health=Health(), status=dict)
    with (
        WebServer(app, WebSpec(port=0)) as server,
        prometheus(tmp_path, target=server.url.removeprefix("http://"), phone=phone, seconds=interval),
    ):
        deadline = time.monotonic() + 90
        while len(seen) < 2 and time.monotonic() < deadline:
            time.sleep(0.1)
        assert len(seen) >= 2, "Prometheus scrapes"
        for number, name in enumerate(names):
            alert(name, "critical" if number == 3 else "warning")
            if number == 5:
                alert(name, "warning")
            time.sleep(pause)
        assert eventually(phone, set(names), patience) == set(names)
