"""The live page in a real browser: what an operator reads, with hostile names and without a server."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from unit.alerts.alert_events import make_event

from streamad.alerts import EventStore
from streamad.errors import OutputError
from streamad.observability import Health, Metrics
from streamad.web import WebServer, WebSpec, create_app

HOSTILE = "<img src=x onerror=document.title='owned'>"


def browser() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("no Chromium here (Debian: apt-get install chromium)")


def rendered(url: str, folder: Path) -> str:
    """The page's document after its scripts have run for three seconds of virtual time."""
    flags = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    done = subprocess.run(
        [
            browser(),
            *flags.split(),
            "--disable-component-update",
            "--disable-sync",
            f"--user-data-dir={folder / 'profile'}",
            "--virtual-time-budget=3000",
            "--dump-dom",
            url,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return done.stdout


def camera(name: str, **changes: Any) -> dict[str, Any]:
    values: dict[str, Any] = {
        "id": name,
        "state": "up",
        "reason": None,
        "message": None,
        "fps": 24.97,
        "frames": 1000,
        "dropped": 12345,
        "reconnects": 0,
        "score": -31.2,
        "threshold": -30.0,
        "alert": "none",
        "latency_seconds": 0.112,
        "last_frame_at": time.time() - 90,
        "last_frame_seconds": 90.0,
        "budget": None,
        "recurrence": None,
        "foreign": None,
        "quality": None,
        "recent": [(i / 25, -31.0 if i % 7 else None) for i in range(100)],
        "size": (640, 480),
    }
    return values | changes


def status() -> dict[str, Any]:
    return {
        "version": "0.1.0",
        "started_at": time.time() - 7300,
        "uptime_seconds": 7300.0,
        "overloaded": False,
        "engine": {"name": "openvino", "device": "CPU", "precision": "fp32", "why": "no GPU"},
        "models": [{"name": "ped2", "sha256": "ab", "detector": "adacl"}],
        "cameras": [
            camera(HOSTILE),
            camera("dock", alert="warning", score=float("nan")),
            camera("yard", state="backoff", reason="auth", message="refused the password", recent=[], score=None),
        ],
        "events": {"total": 1, "path": "events.sqlite", "error": "database or disk is full"},
    }


def test_the_page_shows_cameras_alerts_faults_and_events(tmp_path: Path) -> None:
    with EventStore(tmp_path / "events.sqlite") as store:
        store.save(make_event(camera=HOSTILE))
        app = create_app(metrics=Metrics(), health=Health(), status=status, store=store)
        with WebServer(app, WebSpec(port=0)) as server:
            page = rendered(server.url, tmp_path)
    text = re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)
    assert text.count('<article class="card') == 3
    assert "<title>⚠ 1 ALERT · streamad</title>" in text
    assert "&lt;img src=x" in text
    for words in (
        "3 cameras  ·  ⚠ 1 in alert  ·  1 down  ·  1 quiet",
        "12,345",
        "⚠ ALERT",
        "✕ down, reconnecting",
        "auth: refused the password",
        "−31.2",
        "threshold −30",
        "112 ms",
        "90 s ago",
        "not monitored",
        "running 2 h 2 min",
        "kept in memory: database or disk is full",
        "12.5 / 10",
    ):
        assert words in text, words
    assert '<p class="notice bad" id="lost" role="alert" hidden="">' in text


def test_the_page_says_plainly_when_the_server_does_not_answer(tmp_path: Path) -> None:
    def broken() -> dict[str, Any]:
        raise OutputError("gone")

    app = create_app(metrics=Metrics(), health=Health(), status=broken)
    with WebServer(app, WebSpec(port=0)) as server:
        page = rendered(server.url, tmp_path)
    assert "<title>✕ NO CONNECTION · streamad</title>" in page
    assert re.search(r'id="lost" role="alert">No connection since \d\d:\d\d:\d\d, for .* answered 503', page)


def summary(document: dict[str, Any], folder: Path) -> tuple[str, str, str]:
    """Text and color of the page's summary, and the document."""
    app = create_app(metrics=Metrics(), health=Health(), status=lambda: document)
    with WebServer(app, WebSpec(port=0)) as server:
        page = rendered(server.url, folder)
    found = re.search(r'<span id="summary" role="status" style="color: var\((--\w+)\);">(.*?)</span>', page)
    assert found is not None
    return found[2], found[1], re.sub(r"<(script|style)>.*?</\1>", "", page, flags=re.DOTALL)


def test_only_watched_cameras_are_quiet(tmp_path: Path) -> None:
    """Green and "all quiet" is said of cameras that are watched, on a model of their own, and of nothing else."""
    once = {"seconds": 25_200.0, "at_most": False, "not_seen": True, "text": "not seen in 7 hours"}
    quiet = camera("gate", score=0.85, threshold=2.742, recurrence=once)
    assert summary({**status(), "cameras": [quiet]}, tmp_path)[:2] == ("1 camera  ·  all quiet", "--ok")
    others = [
        quiet,
        camera("slow", state="overloaded"),
        camera("abroad", foreign="calibrated on UCSD Ped2"),
        camera("dark", quality="dark"),
        camera("young", recent=[(0.0, None)], score=None),
        camera("over", state="ended", score=None),
        camera("broken", state="failed", reason="processing", message="frames cannot be scored", score=None),
    ]
    text, color, page = summary({**status(), "cameras": others}, tmp_path)
    assert color == "--warn"
    for words in (
        "1 not keeping up",
        "1 with a calibration that may not fit",
        "1 with a faulty picture",
        "1 without scores",
        "1 ended",
    ):
        assert words in text, words
    assert "1 failed" in text
    assert "1 quiet" in text
    assert "all quiet" not in page
    for words in (
        "▲ not keeping up", "▲ up, calibration may not fit", "calibrated on UCSD Ped2", "▲ up, faulty picture",
        "✕ failed", "processing: frames cannot be scored", "threshold 2.74, not seen in 7 hours",
    ):  # fmt: skip
        assert words in page, words


@pytest.mark.parametrize("state", ["ended", "stopped", "failed", "starting"])
def test_a_camera_that_is_not_watched_is_not_quiet(tmp_path: Path, state: str) -> None:
    text, color, page = summary({**status(), "cameras": [camera("only", state=state)]}, tmp_path)
    assert text == f"1 camera  ·  {state}"
    assert color == ("--idle" if state in ("ended", "stopped") else "--warn")
    assert "quiet" not in page
