"""Every query of the dashboard and every selector of the rules returns data from a real run, scraped by Prometheus."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from program_support import program
from receiver_support import receiver
from run_support import running

pytestmark = [pytest.mark.timeout(280), pytest.mark.alone]

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

NO_DATA = {
    "streamad_frames_dropped_total": "the machine kept up",
    "streamad_reconnects_total": "no camera was lost",
    "streamad_inference_errors_total": "the engine did not fail",
    "streamad_internal_errors_total": "no part failed",
    "streamad_output_dropped_total": "nothing was lost",
    "streamad_evidence_source_up": "no camera has a second stream",
    "streamad_score_quantile_share": "a window of scores takes longer than this test",
}
"""Series that a healthy run does not have, or not yet."""


def panels() -> Iterator[tuple[str, str]]:
    document = json.loads((CONFIGS / "grafana-dashboard.json").read_text())
    for panel in document["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]


def selectors() -> Iterator[tuple[str, str]]:
    """The vectors that rules read, without what they are compared with."""
    document = yaml.safe_load((CONFIGS / "prometheus-rules.yml").read_text())
    for group in document["groups"]:
        for rule in group["rules"]:
            for found in re.finditer(r"\b(?:streamad|process)_\w+(?:\{[^}]*\})?|\bup(?:\{[^}]*\})?", rule["expr"]):
                yield rule["alert"], found[0]


def rendered(query: str) -> str:
    """A query as Grafana sends it with every camera and instance selected."""
    return query.replace("$__rate_interval", "10s").replace("$camera", ".*").replace("$instance", ".*")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def prometheus(folder: Path, target: str) -> Iterator[str]:
    """Run Prometheus with the shipped configuration on this target, every second; yields its address."""
    program("promtool")
    folder.mkdir()
    text = (CONFIGS / "prometheus.yml").read_text().replace("127.0.0.1:8080", target)
    text = text.replace("_interval: 15s", "_interval: 1s")
    (folder / "prometheus.yml").write_text(text)
    (folder / "prometheus-rules.yml").write_text((CONFIGS / "prometheus-rules.yml").read_text())
    address = f"127.0.0.1:{free_port()}"
    options = ["--config.file=prometheus.yml", f"--web.listen-address={address}", "--storage.tsdb.path=data"]
    process = subprocess.Popen(["prometheus", *options, "--log.level=error"], cwd=folder, stdout=subprocess.DEVNULL)
    try:
        yield f"http://{address}"
    finally:
        process.kill()
        process.wait()


def ask(address: str, query: str) -> list[dict[str, Any]]:
    answer = httpx.get(f"{address}/api/v1/query", params={"query": query}, timeout=10).json()
    assert answer["status"] == "success", (query, answer)
    found = answer["data"]["result"]
    assert isinstance(found, list)
    return found


def test_every_query_returns_data(small_bundle: Path, tmp_path: Path) -> None:
    busy = tuple((30 * k + 15, 30 * k + 22) for k in range(9))
    pictures = list(moving_shapes(300, busy=busy))
    pictures[280:] = [picture * 0 for picture in pictures[280:]]  # a covered camera
    video = write_mp4(tmp_path / "busy.mp4", pictures, fps=15)
    source = {"type": "file", "path": str(video), "realtime": True, "loop": True, "speed": 2}
    with receiver() as good, receiver() as broken:
        broken.status = 500
        document = {
            "model": str(small_bundle),
            "cameras": [{"id": "gate", "source": source, "threshold": THRESHOLD}],
            "rules": {"min_duration_seconds": 0.1, "cooldown_seconds": 0},
            "evidence": {"min_free_gigabytes": 0},
            "web": {"port": 0},
            "sinks": [
                {"type": "webhook", "name": "good", "url": good.url},
                {"type": "webhook", "name": "broken", "url": broken.url},
            ],
        }
        config = tmp_path / "camera.yaml"
        config.write_text(yaml.safe_dump(document))
        with running(config) as run, prometheus(tmp_path / "prometheus", run.url.removeprefix("http://")) as address:
            run.eventually(lambda: run.metric("streamad_frame_quality_total") > 0, seconds=60)
            run.eventually(lambda: run.metric("streamad_notifications_total", sink="good", outcome="delivered") > 1)
            time.sleep(12)
            empty: dict[str, list[str]] = {}
            for where, query in (*panels(), *selectors()):
                if not ask(address, rendered(query)):
                    (name,) = set(re.findall(r"(?:streamad|process)_\w+", query)) or {query}
                    empty.setdefault(name, []).append(where)
            run.end()
    assert set(empty) <= set(NO_DATA), empty
