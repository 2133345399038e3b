"""The examples in configs/ are valid and refer to things that exist."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from program_support import program

from streamad.config import load_config
from streamad.errors import BundleError
from streamad.model_folders import find_bundle
from streamad.observability import Metrics
from streamad.synthetic_scene import iterate_frames
from streamad.video_writer import H264Writer

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = ROOT / "configs"
EXAMPLES = ("camera.yaml", "several.yaml", "replay.yaml", "container.yaml")
MODEL = "adacl-motion-ped2"


def accepted(*arguments: str | Path) -> None:
    done = subprocess.run([program("promtool"), *map(str, arguments)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture
def shipped_model() -> None:
    try:
        find_bundle(MODEL)
    except BundleError:
        pytest.skip(f"the model bundle {MODEL} is not in models/ yet")


def streamad(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "streamad", *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False, timeout=100)


# ── streamad's own configurations ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_follows_the_schema(name: str) -> None:
    assert {camera.id for camera in load_config(CONFIGS / name).cameras}


def test_every_yaml_file_is_accounted_for() -> None:
    others = {"compose.yaml", "prometheus.yml", "prometheus-rules.yml", "alertmanager.yml"}
    assert {p.name for p in CONFIGS.iterdir() if p.suffix in (".yaml", ".yml")} == {*EXAMPLES, *others}


def test_examples_show_every_kind_of_source_and_credentials() -> None:
    sources = [camera.source for name in EXAMPLES for camera in load_config(CONFIGS / name).cameras]
    assert {source.type for source in sources} == {"rtsp", "file", "images", "device"}
    rtsp = [source for source in sources if source.type == "rtsp"]
    assert {source.transport for source in rtsp} == {"tcp", "udp"}
    assert any(source.password_env for source in rtsp)
    assert any(source.secret_file for source in rtsp)
    assert not any(source.url.has_credentials for source in rtsp), "no example carries credentials in an address"


@pytest.mark.parametrize("name", EXAMPLES)
@pytest.mark.usefixtures("shipped_model")
def test_config_check_accepts_the_example(name: str) -> None:
    done = streamad("config", "check", CONFIGS / name, "--json", cwd=ROOT)
    assert done.returncode == 2
    # Only what a site has and this machine does not: recordings, credentials and devices.
    missing = (
        "no such file",
        "no such folder",
        "No such file",
        "is not set",
        "are not set",
        "/dev/video0 does",
        "models/gate",
    )
    for fault in json.loads(done.stdout)["error"]["faults"]:
        assert any(words in fault["message"] for words in missing), fault


@pytest.mark.slow
@pytest.mark.usefixtures("shipped_model")
def test_replay_runs_to_its_end(tmp_path: Path) -> None:
    folder = tmp_path / "recordings" / "gate"
    (folder / "frames").mkdir(parents=True)
    pictures = [f.pixels for f in iterate_frames(size=(240, 160), fps=10, seconds=5, part="training")]
    for day in ("monday", "tuesday"):
        with H264Writer(folder / f"{day}.mp4", width=240, height=160, fps=10) as writer:
            for picture in pictures:
                writer.write(picture)
    cv2 = pytest.importorskip("cv2")
    for number, picture in enumerate(pictures):
        cv2.imwrite(str(folder / "frames" / f"{number}.png"), picture[..., 0])
    done = streamad("run", CONFIGS / "replay.yaml", "--once", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    cameras = {row["camera"]: row for row in json.loads(done.stdout)["cameras"]}
    assert set(cameras) == {"monday", "tuesday", "images"}
    for name in ("monday", "images"):
        assert (cameras[name]["frames"], cameras[name]["dropped"], cameras[name]["error"]) == (50, 0, None)
    assert (tmp_path / "runs" / "replay.sqlite").is_file()


# ── Prometheus and Grafana ─────────────────────────────────────────────────────────────────────────────────────────


def families() -> dict[str, set[str]]:
    """Map every metric name that a query may use to its labels."""
    answer: dict[str, set[str]] = {}
    for family in vars(Metrics()).values():
        name, labels = getattr(family, "_name", None), set(getattr(family, "_labelnames", ()))
        if name is None:
            continue
        kind = getattr(family, "_type", "")
        endings = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}.get(kind, ("",))
        for ending in endings:
            answer[name + ending] = labels | ({"le"} if ending == "_bucket" else set())
    return answer


def rules() -> list[dict[str, Any]]:
    document = yaml.safe_load((CONFIGS / "prometheus-rules.yml").read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CONFIGS / "grafana-dashboard.json").read_text(encoding="utf-8"))
    return found


def queries() -> Iterator[tuple[str, str]]:
    """Generate (location, PromQL) of every rule and panel."""
    for rule in rules():
        yield rule["alert"], rule["expr"]
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"]
    for variable in dashboard()["templating"]["list"]:
        inside = re.match(r"label_values\((.*),", str(variable["query"]))
        if inside:
            yield variable["name"], inside[1]


@pytest.mark.parametrize(("where", "query"), [pytest.param(*found, id=found[0]) for found in queries()])
def test_queries_are_about_metrics_that_exist(where: str, query: str) -> None:
    known = families()
    used = re.findall(r"(streamad_[a-z_]+)(?:\{([^}]*)\})?", query)
    assert used or re.search(r"\b(up|process_[a-z_]+)\{", query), f"{where}: no metric of streamad in {query}"
    for name, matchers in used:
        assert name in known, f"{where}: there is no metric {name}"
        labels = set(re.findall(r"([a-z_]+)\s*(?:=~|!~|!=|=)", matchers))
        assert labels <= known[name] | {"instance", "job"}, f"{where}: {name} has no label {labels - known[name]}"
    for grouping in re.findall(r"\bby \(([^)]*)\)", query):
        wanted = {label.strip() for label in grouping.split(",")}
        assert all(wanted <= known[name] for name, _ in used), f"{where}: grouped by {wanted}"


def test_dashboard_shows_what_an_operator_asks_for() -> None:
    used = " ".join(query for _, query in queries())
    for name in (
        "streamad_camera_up", "streamad_anomaly_score", "streamad_anomaly_threshold", "streamad_alert_active",
        "streamad_alerts_total", "streamad_frames_total", "streamad_frames_dropped_total",
        "streamad_end_to_end_latency_seconds_bucket",
    ):  # fmt: skip
        assert name in used
    identifiers = [panel["id"] for panel in dashboard()["panels"]]
    assert len(set(identifiers)) == len(identifiers)


def test_promtool_accepts_configuration_and_rules() -> None:
    accepted("check", "config", CONFIGS / "prometheus.yml")
    accepted("check", "rules", CONFIGS / "prometheus-rules.yml")


def test_promtool_can_read_every_query_of_the_dashboard(tmp_path: Path) -> None:
    filled = [
        q.replace("$__rate_interval", "5m").replace("$camera", ".*").replace("$instance", ".*") for _, q in queries()
    ]
    names = [{"record": f"dashboard:query{n}", "expr": expr} for n, expr in enumerate(filled)]
    file = tmp_path / "queries.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": names}]}))
    accepted("check", "rules", file)


def test_rules_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    cases = {
        "StreamadDown": ('up{job="streamad",instance="a"}', "0x20", "1x20", {"job": "streamad", "instance": "a"}),
        "StreamadCameraDown": ('streamad_camera_up{camera="gate"}', "0x20", "1x20", {"camera": "gate"}),
        "StreamadEvidenceSourceDown": ('streamad_evidence_source_up{camera="gate"}', "0x20", "1x20",
                                       {"camera": "gate"}),
        "StreamadPictureFaulty": ('streamad_quality_hold_active{camera="gate"}', "1x20", "0x20", {"camera": "gate"}),
        "StreamadAnomaly": ('streamad_alert_active{camera="gate"}', "1x20", "0x20", {"camera": "gate"}),
        "StreamadMemoryHigh": ('process_resident_memory_bytes{job="streamad",instance="a"}', "5e9x20", "1e9x20",
                               {"job": "streamad", "instance": "a"}),
        "StreamadManyAlerts": ('streamad_alerts_total{camera="gate",severity="warning"}', "0+2x20", "0+1x5 5x20",
                               {"camera": "gate"}),
        "StreamadNotKeepingUp": ('streamad_camera_overloaded{camera="gate"}', "1x20", "0x20", {"camera": "gate"}),
        "StreamadCameraFaults": ('streamad_camera_faults_total{camera="gate"}', "0+1x20", "7x20", {"camera": "gate"}),
        "StreamadEventStoreErrors": ('streamad_event_store_errors_total{instance="a"}', "0+1x20", "7x20",
                                     {"instance": "a"}),
        "StreamadNotificationsFailed": ('streamad_notifications_total{outcome="failed",sink="jsonl"}', "0+1x20", "7x20",
                                        {"outcome": "failed", "sink": "jsonl"}),
        "StreamadConfigRejected": ('streamad_config_last_reload_successful{instance="a"}', "0x20", "1x20",
                                   {"instance": "a"}),
        "StreamadOutputWaits": ('streamad_queue_length{queue="webhook"}', "30x40", "30x10 0x30", {"queue": "webhook"}),
        "StreamadInferenceErrors": ('streamad_inference_errors_total{engine="openvino"}', "0+1x20", "7x20",
                                    {"engine": "openvino"}),
    }  # fmt: skip
    by_name = {rule["alert"]: rule for rule in rules()}
    tests = []
    for name, (series, bad, good, labels) in cases.items():
        severity = by_name[name]["labels"]["severity"]
        tests += [
            _rule_test(name, {series: bad}, [{**labels, "severity": severity}]),
            _rule_test(name, {series: good}, []),
        ]
    up, drift = 'streamad_camera_up{camera="gate"}', 'streamad_score_drifted{camera="gate"}'
    frame = 'streamad_last_frame_timestamp_seconds{camera="gate"}'
    gate = [{"camera": "gate", "severity": "warning"}]
    tests += [
        _rule_test("StreamadCameraStale", {up: "1x20", frame: "1x20"}, gate),
        _rule_test("StreamadCameraStale", {up: "1x20", frame: "0+60x20"}, []),
        _rule_test("StreamadScoreDrift", {drift: "0x30 1x60"}, gate, minutes=80),
        _rule_test("StreamadScoreDrift", {drift: "0x90"}, [], minutes=80),
        _rule_test("StreamadScoreDrift", {drift: "0x30 1x3 0x60"}, [], minutes=80),
        _rule_test("StreamadScoreDrift", {drift: "NaN " * 81}, [], minutes=80),
    ]
    decoded, scored = (f'streamad_frames_total{{camera="gate",stage="{stage}"}}' for stage in ("decoded", "scored"))
    none_scored = [{"camera": "gate", "stage": "decoded", "severity": "critical"}]
    dropped = 'streamad_frames_dropped_total{camera="gate",reason="queue_full"}'
    tests += [
        _rule_test("StreamadNoScores", {decoded: "0+600x20", scored: "0x20"}, none_scored),
        _rule_test("StreamadNoScores", {decoded: "0+600x20", scored: "0+600x20"}, []),
        _rule_test("StreamadNoScores", {decoded: "600x20", scored: "600x20"}, []),
        _rule_test("StreamadFramesDropped", {decoded: "0+600x20", dropped: "0+100x20"}, gate),
        _rule_test("StreamadFramesDropped", {decoded: "0+600x20", dropped: "0+10x20"}, []),
    ]
    lost = 'streamad_reconnects_total{camera="gate",reason="timeout"}'
    memory = 'streamad_reconnects_total{camera="gate",instance="a",job="streamad",reason="memory"}'
    others = {"camera": "gate", "instance": "a", "job": "streamad", "reason": "memory", "severity": "warning"}
    tests += [
        _rule_test("StreamadCameraFlapping", {lost: "0+1x20"}, gate),
        _rule_test("StreamadCameraFlapping", {lost: "0x10 3x10"}, []),
        _rule_test("StreamadDecoderMemory", {memory: "0x10 1x10"}, [others]),
        _rule_test("StreamadDecoderMemory", {memory: "9x30"}, [], minutes=29),
    ]
    tests += _of_series_that_appear("StreamadDecoderMemory", memory, others, minutes=15) + _of_series_that_appear(
        "StreamadNotificationsFailed",
        'streamad_notifications_total{instance="a",job="streamad",outcome="dropped",sink="jsonl"}',
        {"instance": "a", "job": "streamad", "outcome": "dropped", "severity": "warning", "sink": "jsonl"},
        minutes=10,
    )
    for name, family, own, severity in (
        ("StreamadOutputFails", "streamad_output_errors_total", {"output": "a", "reason": "ENOSPC"}, "warning"),
        ("StreamadOutputLost", "streamad_output_dropped_total", {"output": "a", "reason": "queue_full"}, "critical"),
        ("StreamadInternalErrors", "streamad_internal_errors_total", {"part": "sinks"}, "warning"),
    ):
        full = {"instance": "a", "job": "streamad", **own}
        labeled = ",".join(f'{key}="{value}"' for key, value in full.items())
        tests += _of_series_that_appear(name, f"{family}{{{labeled}}}", {**full, "severity": severity}, minutes=10)
        tests += [_rule_test(name, {f"{family}{{{labeled}}}": "0+1x20"}, [{**full, "severity": severity}])]
    warning, critical = (
        f'streamad_alerts_total{{camera="gate",instance="a",job="streamad",severity="{s}"}}'
        for s in ("warning", "critical")
    )
    anomaly = {"camera": "gate", "instance": "a", "job": "streamad", "severity": "warning"}
    for series in (
        {warning: "0x10 1x30", critical: "0x40"},
        {warning: "0x40", critical: "0x10 1x30"},
        {warning: "0x10 6x30", critical: "2x10 3x30"},  # several alerts between two scrapes: one notification
        {warning: "7x10 1x30", critical: "0x40"},  # the program restarted and had an alert immediately
        {warning: "7x8 _ _ _ 8x30", critical: "0x40"},  # scrapes failed
    ):
        tests += [
            _rule_test("StreamadAnomaly", series, [], minutes=9),
            _rule_test("StreamadAnomaly", series, [anomaly], minutes=13),
            _rule_test("StreamadAnomaly", series, [], minutes=20),
        ]
    tests += _of_series_that_appear("StreamadAnomaly", warning, anomaly, minutes=5)
    assert {test["alert_rule_test"][0]["alertname"] for test in tests} == set(by_name), "every rule is tested"
    file = tmp_path / "tests.yml"
    file.write_text(yaml.safe_dump({"rule_files": [str(_without_annotations(tmp_path))], "tests": tests}))
    accepted("test", "rules", file)


def _rule_test(
    name: str, series: dict[str, str], expected: list[dict[str, str]], *, minutes: int = 19
) -> dict[str, Any]:
    return {
        "interval": "1m",
        "input_series": [{"series": key, "values": values} for key, values in series.items()],
        "alert_rule_test": [
            {"eval_time": f"{minutes}m", "alertname": name, "exp_alerts": [{"exp_labels": e} for e in expected]}
        ],
    }


def _of_series_that_appear(name: str, series: str, labels: dict[str, str], *, minutes: int) -> list[dict[str, Any]]:
    """Test a counter that appears with its first event, on a target scraped before and on one that was not."""
    up = 'up{instance="a",job="streamad"}'
    return [
        _rule_test(name, {series: "_x29 1x60", up: "1x100"}, [labels], minutes=31),
        _rule_test(name, {series: "_x29 1x60", up: "1x100"}, [], minutes=31 + minutes + 2),
        _rule_test(name, {series: "_x29 5x60", up: "_x29 1x100"}, [], minutes=31),
    ]


def _without_annotations(folder: Path) -> Path:
    """Write the same rules without annotations, which promtool would compare word by word."""
    document = yaml.safe_load((CONFIGS / "prometheus-rules.yml").read_text(encoding="utf-8"))
    for group in document["groups"]:
        for rule in group["rules"]:
            assert rule.pop("annotations")["summary"]
    stripped = folder / "rules.yml"
    stripped.write_text(yaml.safe_dump(document))
    return stripped
