"""Prometheus's own checker accepts the metrics page."""

from __future__ import annotations

import subprocess

import pytest
from program_support import program

from streamad.observability import Metrics


def busy_metrics() -> Metrics:
    """Metrics in which every family has a series, including labels that need escaping."""
    metrics = Metrics()
    for name in ("gate", 'north "yard" \\ 2\n'):
        camera = metrics.camera(name)
        camera.frame("decoded")
        camera.frame("scored")
        camera.received(1.7e9)
        camera.dropped("stale", 3)
        camera.reconnect("timeout")
        camera.gap()
        camera.skipped("warming_up")
        camera.alert("critical")
        camera.set_up(True)
        camera.set_threshold(-30.0)
        camera.set_drift(1.1)
        camera.latency(0.12)
    metrics.camera("gate").set_score(-31.5)
    labels = {"sha256": "ab", "detector": "adacl", "engine": "openvino", "device": "CPU", "precision": "fp32"}
    metrics.set_models({"model": name, "why": "no GPU", **labels} for name in ("ped2", "avenue"))
    metrics.notifications.labels("jsonl", "delivered").inc()
    metrics.inference_errors.labels("openvino").inc()
    metrics.event_store_errors.inc()
    metrics.queue_length.labels("frames").set(3)
    metrics.stage_duration.labels("inference").observe(0.02)
    metrics.batch_size.observe(8)
    return metrics


@pytest.mark.parametrize("metrics", [Metrics(), busy_metrics()], ids=["fresh", "busy"])
def test_promtool_finds_nothing_to_object_to(metrics: Metrics) -> None:
    done = subprocess.run(
        [program("promtool"), "check", "metrics"], input=metrics.render(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_promtool_would_object_to_a_broken_page() -> None:
    page = busy_metrics().render().replace(b"# TYPE streamad_frames_total counter", b"# TYPE streamad_frames_total ca")
    done = subprocess.run([program("promtool"), "check", "metrics"], input=page, capture_output=True, check=False)
    assert done.returncode != 0
