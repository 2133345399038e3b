"""Names, labels and life cycle of the series, read back with Prometheus' own parsers."""

from __future__ import annotations

import math
import threading

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families

from streamad import __version__
from streamad.observability import Metrics

MODEL = dict.fromkeys(("model", "sha256", "detector", "engine", "device", "precision", "why"), "x")
LABELS = {
    "streamad_frames_total": {"camera", "stage"},
    "streamad_frames_dropped_total": {"camera", "reason"},
    "streamad_reconnects_total": {"camera", "reason"},
    "streamad_alerts_total": {"camera", "severity"},
    "streamad_notifications_total": {"sink", "outcome"},
    "streamad_inference_errors_total": {"engine"},
    "streamad_camera_faults_total": {"camera"},
    "streamad_internal_errors_total": {"part"},
    "streamad_camera_overloaded": {"camera"},
    "streamad_overloaded": set(),
    "streamad_gaps_total": {"camera"},
    "streamad_scores_withheld_total": {"camera", "reason"},
    "streamad_event_store_errors_total": set(),
    "streamad_config_last_reload_successful": set(),
    "streamad_config_last_reload_success_timestamp_seconds": set(),
    "streamad_output_errors_total": {"output", "reason"},
    "streamad_output_dropped_total": {"output", "reason"},
    "streamad_frame_quality_total": {"camera", "reason"},
    "streamad_health_events_total": {"camera", "topic"},
    "streamad_quality_hold_active": {"camera"},
    "streamad_camera_up": {"camera"},
    "streamad_evidence_source_up": {"camera"},
    "streamad_last_frame_timestamp_seconds": {"camera"},
    "streamad_queue_length": {"queue"},
    "streamad_anomaly_score": {"camera"},
    "streamad_anomaly_threshold": {"camera"},
    "streamad_alert_active": {"camera"},
    "streamad_score_drift_ratio": {"camera"},
    "streamad_score_drifted": {"camera"},
    "streamad_score_quantile_share": {"camera", "quantile"},
    "streamad_build_info": {"version", "python"},
    "streamad_model_info": {"model", "sha256", "detector", "engine", "device", "precision", "why"},
    "streamad_stage_duration_seconds": {"stage"},
    "streamad_end_to_end_latency_seconds": {"camera"},
    "streamad_batch_size": set(),
}


def use_everything(metrics: Metrics, name: str = "gate") -> None:
    camera = metrics.camera(name)
    camera.frame("decoded")
    camera.dropped("stale")
    camera.reconnect("auth")
    camera.skipped("gap")
    camera.held("frozen")
    camera.set_evidence_source_up(True)
    camera.set_drift(1.0, {0.5: 0.5})
    camera.health_event("quality")
    camera.alert("warning")
    camera.latency(0.1)
    metrics.set_models([MODEL])
    metrics.notifications.labels("log", "delivered").inc()
    metrics.inference_errors.labels("e").inc()
    metrics.wrote("history", "failed", 1, "ENOSPC")
    metrics.notified("jsonl", "dropped", 1, "queue_full")
    metrics.internal_errors.labels("sinks").inc()
    metrics.queue_length.labels("frames").set(1)
    metrics.stage_duration.labels("score").observe(0.1)
    metrics.batch_size.observe(1)


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    families = text_string_to_metric_families(metrics.render().decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for f in families for s in f.samples}


def value(metrics: Metrics, name: str, **labels: str) -> float:
    return samples(metrics)[(name, tuple(sorted(labels.items())))]


def test_names_and_labels_are_exactly_the_projects() -> None:
    metrics = Metrics()
    use_everything(metrics)
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(metrics.render().decode()):
        name = family.name + ("_total" if family.type == "counter" else "")
        found[name] = set().union(*(sample.labels for sample in family.samples)) - {"le"}
        assert family.documentation.endswith(".") or not name.startswith("streamad")
    ours = {name: labels for name, labels in found.items() if name.startswith("streamad")}
    assert ours == LABELS
    assert all(name.startswith("process_") for name in set(found) - set(ours))
    assert b"_created" not in metrics.render()


def test_no_sample_has_a_timestamp() -> None:
    metrics = Metrics()
    use_everything(metrics)
    for family in text_string_to_metric_families(metrics.render().decode()):
        assert all(sample.timestamp is None for sample in family.samples)


def test_the_page_is_negotiated_and_both_forms_say_the_same() -> None:
    metrics = Metrics()
    use_everything(metrics)
    body, content_type = metrics.negotiate("application/openmetrics-text;version=1.0.0,text/plain;q=0.5")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    assert body.endswith(b"# EOF\n")
    opened = {s.name for f in parse_openmetrics(body.decode()) for s in f.samples if s.name.startswith("streamad")}
    plain = {name for name, _ in samples(metrics) if name.startswith("streamad")}
    assert opened == plain
    for accept in ("", "*/*", "text/plain"):
        assert metrics.negotiate(accept)[1] == "text/plain; version=0.0.4; charset=utf-8"


def test_a_new_camera_starts_with_counters_at_zero_and_no_claims() -> None:
    metrics = Metrics()
    metrics.camera("gate")
    assert value(metrics, "streamad_alerts_total", camera="gate", severity="critical") == 0
    assert value(metrics, "streamad_frames_total", camera="gate", stage="scored") == 0
    assert value(metrics, "streamad_camera_up", camera="gate") == 0
    for name in ("anomaly_score", "anomaly_threshold", "score_drift_ratio", "score_drifted"):
        assert math.isnan(value(metrics, f"streamad_{name}", camera="gate"))


def test_the_handle_sets_and_counts() -> None:
    metrics = Metrics()
    camera = metrics.camera("gate")
    assert metrics.camera("gate") is camera
    for _ in range(3):
        camera.frame("scored")
    camera.dropped("stale", 5)
    camera.set_score(2.5)
    camera.set_up(True)
    camera.set_alert_active(True)
    camera.received(1700000000.5)
    camera.latency(0.12)
    assert value(metrics, "streamad_frames_total", camera="gate", stage="scored") == 3
    assert value(metrics, "streamad_frames_dropped_total", camera="gate", reason="stale") == 5
    assert value(metrics, "streamad_anomaly_score", camera="gate") == 2.5
    assert value(metrics, "streamad_camera_up", camera="gate") == 1
    assert value(metrics, "streamad_alert_active", camera="gate") == 1
    assert value(metrics, "streamad_last_frame_timestamp_seconds", camera="gate") == 1700000000.5
    assert value(metrics, "streamad_end_to_end_latency_seconds_bucket", camera="gate", le="0.15") == 1
    assert value(metrics, "streamad_end_to_end_latency_seconds_bucket", camera="gate", le="0.1") == 0
    camera.skipped("quality")
    assert math.isnan(value(metrics, "streamad_anomaly_score", camera="gate"))


def test_a_second_stream_has_a_series_only_while_there_is_one() -> None:
    metrics = Metrics()
    camera = metrics.camera("gate")
    assert b"streamad_evidence_source_up{" not in metrics.render()
    for up in (True, False):
        camera.set_evidence_source_up(up)
        assert value(metrics, "streamad_evidence_source_up", camera="gate") == up
    camera.set_evidence_source_up(None)
    assert b"streamad_evidence_source_up{" not in metrics.render()


def test_every_model_is_named_and_earlier_ones_are_gone() -> None:
    metrics = Metrics()
    metrics.set_models([MODEL])
    metrics.set_models({**MODEL, "model": name, "engine": "tensorrt"} for name in ("a", "b"))
    labels = [dict(labels) for name, labels in samples(metrics) if name == "streamad_model_info"]
    assert [(label["model"], label["engine"]) for label in labels] == [("a", "tensorrt"), ("b", "tensorrt")]


def test_the_build_is_named() -> None:
    versions = [dict(labels)["version"] for name, labels in samples(Metrics()) if name == "streamad_build_info"]
    assert versions == [__version__]


def test_several_threads_count_exactly() -> None:
    metrics = Metrics()
    camera = metrics.camera("gate")

    def work() -> None:
        for i in range(2000):
            camera.frame("scored")
            camera.dropped(f"reason-{i % 5}")

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        metrics.render()
    for thread in threads:
        thread.join()
    assert value(metrics, "streamad_frames_total", camera="gate", stage="scored") == 8000
    assert value(metrics, "streamad_frames_dropped_total", camera="gate", reason="reason-0") == 1600


def test_the_hot_path_is_cheap() -> None:
    # Not a benchmark: a guard against resolving labels anew for every frame, which costs several times as
    # much.
    metrics = Metrics()
    camera = metrics.camera("gate")
    child = metrics.frames.labels("gate", "scored")
    assert camera._counters[(metrics.frames, "scored")] is child


@pytest.mark.parametrize("name", ['with "quotes"', "back\\slash", "new\nline", "ümlaut"])
def test_any_configured_id_survives_the_page(name: str) -> None:
    metrics = Metrics()
    metrics.camera(name).set_score(1.0)
    assert value(metrics, "streamad_anomaly_score", camera=name) == 1.0
