"""`streamad run` under a service manager: it reports ready, alive and stopping; rotated files lose no line."""

from __future__ import annotations

import json
import signal
import socket
import sqlite3
import subprocess
import time
from contextlib import closing
from pathlib import Path

import pytest
from bundle_support import moving_shapes, write_mp4
from cli_support import streamad, write_config
from program_support import program
from run_support import running

from streamad.cli.health import _reachable

pytestmark = [pytest.mark.timeout(240), pytest.mark.alone]

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def test_a_run_notifies_its_manager_until_it_stops(
    small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    video = write_mp4(tmp_path / "still.mp4", moving_shapes(60))
    source = {"type": "file", "path": str(video), "realtime": True, "loop": True}
    config = write_config(tmp_path / "camera.yaml", small_bundle, source, web={"port": 0})
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(tmp_path / "notify"))
        manager.settimeout(60)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "2000000")
        with running(config) as run:
            assert manager.recv(4096) == b"READY=1\nWATCHDOG=1"
            ready = run.get("/readyz")
            assert [manager.recv(4096) for _ in range(3)] == [b"WATCHDOG=1"] * 3
            assert ready is not None
            assert run.end() == 0
        messages = [b""]
        while messages[-1] != b"STOPPING=1":
            messages.append(manager.recv(4096))


def test_the_health_command_asks_at_the_configured_port(small_bundle: Path, tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    video = write_mp4(tmp_path / "still.mp4", moving_shapes(60))
    source = {"type": "file", "path": str(video), "realtime": True, "loop": True}
    config = write_config(tmp_path / "camera.yaml", small_bundle, source, web={"port": port})
    before = streamad("health", config, cwd=tmp_path)
    assert (before.code, "refused" in before.out) == (1, True)
    with running(config) as run:
        run.eventually(lambda: run.get("/readyz"))
        for option in ((), ("--ready",)):
            ran = streamad("health", config, *option, "--json", cwd=tmp_path)
            assert (ran.code, ran.document()["ok"]) == (0, True), ran.out
        run.process.send_signal(signal.SIGSTOP)
        hung = streamad("health", config, "--timeout", "0.5", cwd=tmp_path)
        run.process.send_signal(signal.SIGCONT)
        assert (hung.code, "timed out" in hung.out) == (1, True)
    unknown = write_config(tmp_path / "any.yaml", small_bundle, source, web={"port": 0})
    assert streamad("health", unknown, cwd=tmp_path).code == 2


@pytest.mark.parametrize(
    ("host", "reached"),
    [("0.0.0.0", "127.0.0.1"), ("::", "[::1]"), ("192.0.2.7", "192.0.2.7"), ("nvr.example", "nvr.example")],
)
def test_the_health_command_connects_to_what_the_server_listens_on(host: str, reached: str) -> None:
    assert _reachable(host) == reached


def test_rotating_the_lines_of_events_loses_none(small_bundle: Path, tmp_path: Path) -> None:
    logrotate = program("logrotate")
    busy = tuple((15 * k + 10, 15 * k + 15) for k in range(20))
    video = write_mp4(tmp_path / "busy.mp4", moving_shapes(300, busy=busy), fps=15)
    source = {"type": "file", "path": str(video), "realtime": True, "loop": True, "speed": 8}
    lines = tmp_path / "lines" / "events.jsonl"
    config = write_config(
        tmp_path / "camera.yaml",
        small_bundle,
        source,
        web={"port": 0},
        rules={"min_duration_seconds": 0.1, "cooldown_seconds": 0},
        evidence={"enabled": False},
        sinks=[{"type": "jsonl", "path": str(lines)}],
    )
    text = (CONFIGS / "streamad.logrotate").read_text()
    text = text.replace("/var/lib/streamad/runs/events.jsonl", str(lines)).replace("su streamad streamad\n", "")
    rules = tmp_path / "rotate.conf"
    rules.write_text(text)
    rules.chmod(0o644)
    with running(config) as run:
        for _ in range(3):
            run.eventually(lambda: lines.exists() and lines.stat().st_size > 2000)
            subprocess.run([logrotate, "--force", "--state", str(tmp_path / "state"), str(rules)], check=True)
        run.eventually(lines.exists)
        time.sleep(0.5)
        assert run.end() == 0
    assert {path.name for path in lines.parent.iterdir()} >= {
        "events.jsonl.1",
        "events.jsonl.2.gz",
        "events.jsonl.3.gz",
    }
    subprocess.run(["gunzip", *map(str, lines.parent.glob("*.gz"))], check=True)
    told = [json.loads(line) for path in lines.parent.iterdir() for line in path.read_text().splitlines()]
    with closing(sqlite3.connect(tmp_path / "events.sqlite")) as connection:
        stored = {row[0] for row in connection.execute("SELECT id FROM events")}
    for kind in ("opened", "closed"):
        ids = [line["id"] for line in told if line["kind"] == kind]
        assert len(ids) == len(set(ids))
        assert set(ids) == stored
