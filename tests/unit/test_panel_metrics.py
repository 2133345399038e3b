"""Metrics, baselines and report of `benchmarks/panel.py`, by answers known without it; no video."""

from __future__ import annotations

import importlib
import json
import xml.etree.ElementTree as ET
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score

from streamad.errors import DatasetError

ROOT = Path(__file__).resolve().parents[2]
FPS = 10.0


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module


@pytest.fixture
def metrics(load: Any) -> ModuleType:
    module: ModuleType = load("panel_metrics")
    return module


def video(metrics: ModuleType, *, on: tuple[tuple[int, int], ...] = (), not_counted: tuple[int, int] = (0, 0)) -> Any:
    """100 frames at 10 frames/s with an event in frames 30 to 39, and alerts in [start, stop)."""
    labels, alerts = np.zeros(100, np.uint8), np.zeros(100, bool)
    labels[30:40] = 1
    labels[slice(*not_counted)] = 255
    for start, stop in on:
        alerts[start:stop] = True
    return metrics.WatchedVideo(np.arange(100.0), alerts, labels)


def test_aucs_are_those_of_scikit_learn(metrics: ModuleType) -> None:
    random = np.random.default_rng(0)
    videos, expected, every = [], [], []
    for number in range(4):
        labels = random.choice([0, 1, 255], 200).astype(np.uint8) if number else np.zeros(200, np.uint8)
        scores = np.round(random.normal(size=200) + 0.5 * (labels == 1), 1)
        scores[:20] = np.nan
        videos.append(metrics.WatchedVideo(scores, np.zeros(200, bool), labels))
        counted = ~np.isnan(scores) & (labels != 255)
        expected.append(float(roc_auc_score(labels[counted], scores[counted])) if number else None)
        every.append((labels[counted], scores[counted]))
    found = metrics.measure(videos, FPS)
    assert found["video_aucs"][0] is None
    assert found["video_aucs"][1:] == pytest.approx(expected[1:])
    assert found["macro"] == pytest.approx(np.mean(expected[1:]))
    assert found["auc"] == pytest.approx(roc_auc_score(*(np.concatenate(part) for part in zip(*every, strict=True))))
    assert found["macro_interval"] is None  # three videos


@pytest.mark.parametrize(
    ("on", "delays", "wrong"),
    [
        ((), [None], 0),
        (((35, 36),), [0.5], 0),
        (((15, 45),), [0.0], 0),
        (((59, 70),), [2.9], 0),  # the last frame of the 2 s after the end
        (((60, 70),), [None], 1),
        (((20, 21),), [None], 0),  # within the second before: neither found nor wrong
        (((19, 20),), [None], 1),
        (((5, 8), (33, 34), (38, 39), (90, 100)), [0.3], 2),
    ],
)
def test_events_found_and_wrong_alerts(
    metrics: ModuleType, on: tuple[tuple[int, int], ...], delays: list[float | None], wrong: int
) -> None:
    found = metrics.measure([video(metrics, on=on)], FPS)
    assert found["delays_seconds"] == delays
    assert (found["found"], found["events"], found["wrong"]) == (sum(d is not None for d in delays), 1, wrong)
    assert found["normal_seconds"] == 9.0
    assert found["wrong_per_hour"] == pytest.approx(400 * wrong)


def test_frames_that_are_not_counted_excuse_alerts_but_are_no_event(metrics: ModuleType) -> None:
    found = metrics.measure([video(metrics, on=((60, 62), (70, 72), (85, 86), (99, 100)), not_counted=(80, 90))], FPS)
    assert (found["events"], found["found"], found["wrong"]) == (1, 0, 1)
    assert found["normal_seconds"] == 8.0


def test_median_delay_counts_the_events_found_alone(metrics: ModuleType) -> None:
    videos = [video(metrics, on=on) for on in (((31, 32),), ((34, 36),), (), ((38, 39),))]
    found = metrics.measure(videos, FPS)
    assert found["median_delay_seconds"] == pytest.approx(0.4)
    assert found["found"] == 3
    assert metrics.measure([video(metrics)], FPS)["median_delay_seconds"] is None


def test_interval_is_the_percentile_bootstrap(metrics: ModuleType) -> None:
    values = np.random.default_rng(1).random(20)
    theirs = bootstrap((values,), np.mean, method="percentile", n_resamples=20_000, rng=2).confidence_interval
    assert metrics.interval(values) == pytest.approx([theirs.low, theirs.high], abs=0.01)
    assert metrics.interval(values) == metrics.interval(values)
    assert metrics.interval([1.0, 0.0, 1.0, 0.0]) is None
    assert metrics.interval([0.0] * 9) is None


def test_totals_add_events_and_time_and_average_cameras(metrics: ModuleType) -> None:
    one = metrics.summary([0.9, 0.7], [1.0, None], 1, 1800.0)
    other = metrics.summary([0.6], [None, None, 3.0], 2, 3600.0)
    silent = metrics.summary([None], [], 0, 0.0)
    found = metrics.totals([one, other, silent])
    assert found["macro"] == pytest.approx(0.7)
    assert (found["found"], found["events"], found["wrong"]) == (2, 5, 3)
    assert found["wrong_per_hour"] == pytest.approx(2.0)
    assert found["found_interval"][0] < 0.4 < found["found_interval"][1]


def test_lengths_must_agree(metrics: ModuleType) -> None:
    with pytest.raises(ValueError, match="3 scores, 3 alerts and 2 labels"):
        metrics.WatchedVideo(np.zeros(3), np.zeros(3, bool), np.zeros(2, np.uint8))


def test_a_picture_has_the_peaks_on_one_time_axis_and_is_small(load: Any, metrics: ModuleType) -> None:
    long = metrics.WatchedVideo(np.sin(np.arange(9_900.0)), np.zeros(9_900, bool), np.zeros(9_900, np.uint8))
    long.scores[:50], long.scores[5_000] = np.nan, 7.0
    trace = metrics.trace([long, video(metrics, on=((33, 34), (50, 52)), not_counted=(80, 90))], FPS, 3.5)
    points = np.array(trace["scores"].split(), float)
    assert len(points) <= metrics.MAX_POINTS
    assert points[int(500 / trace["step_seconds"])] == 7
    assert np.isnan(points[0])
    assert trace["events"] == [[993.0, 994.0]]
    assert trace["alerts"] == [[993.3, 993.4], [995.0, 995.2]]
    assert trace["not_counted"] == [[998.0, 999.0]]
    assert trace["starts"] == [0.0, 990.0, 1000.0]
    drawn = load("panel_report").picture(json.loads(json.dumps(trace)), "gate")
    assert ET.fromstring(drawn).tag.endswith("svg")
    assert all(word in drawn for word in ("gate", "threshold 3.5", "labeled event", "not counted", "alert"))
    assert len(drawn) < 60_000
    assert load("panel_report").picture(trace, "gate") == drawn


# ── Baselines ──────────────────────────────────────────────────────────────────────────────────────────────────────


def test_baselines_alert_after_half_a_second_above_the_threshold(load: Any) -> None:
    baselines = load("panel_baselines")
    scores = np.array([np.nan, 1, 3, 3, 3, 3, 3, 3, 1, 3, 3, 3, 3, np.nan, 3, 3])
    assert np.flatnonzero(baselines.baseline_alerts(scores, 2.0, FPS)).tolist() == [6, 7]
    assert not baselines.baseline_alerts(scores, 3.0, FPS).any()
    assert baselines.sustained(np.array([9, 2, 5, 4, 6, 7, 5, 1, np.nan]), FPS) == 4
    assert baselines.sustained(np.ones(4), FPS) == -np.inf


def test_baselines_average_over_a_third_of_a_second(load: Any) -> None:
    smooth = load("panel_baselines").smooth(np.array([np.nan, 0.0, 1.0, np.nan, 1.0]), FPS)
    share = 1 - np.exp(-1 / 3)
    np.testing.assert_allclose(smooth, [np.nan, 0, share, np.nan, share + share * (1 - share)])


@pytest.mark.parametrize("lengths", [(100,), (3, 50, 47), (1, 1, 1, 1, 1, 90)])
def test_quarters_hold_every_frame_once_and_in_order(load: Any, lengths: tuple[int, ...]) -> None:
    baselines = load("panel_baselines")
    numbers = np.split(np.arange(sum(lengths), dtype=float), np.cumsum(lengths)[:-1])
    clips = [baselines.Features(n[:, None, None], n[:, None, None, None], n) for n in numbers]
    parts = baselines._quarters(clips)
    sizes = [sum(len(clip.fastest) for clip in part) for part in parts]
    assert max(sizes) - min(sizes) <= 4
    kept = np.concatenate([clip.fastest for part in parts for clip in part])
    np.testing.assert_array_equal(kept, np.arange(sum(lengths)))


# ── Report ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def report_of(metrics: ModuleType, product: dict[str, Any]) -> dict[str, Any]:
    machine = {"cpu": "a CPU", "cpus": 2, "load_average": [0.1], "python": "3", "openvino": "1", "opencv": "5"}
    weak, strong = metrics.summary([0.8], [None, 1.0], 0, 60.0), metrics.summary([0.7], [2.0, 1.0], 3, 60.0)
    camera = {"fps": FPS, "product": product, "baselines": {"diff": weak, "knn": strong, "glob": weak}}
    return {"version": "9.9", "commit": "abc", "date": "2027-01-01", "machine": machine, "cameras": {"ped1-a": camera}}


def test_report_puts_each_metric_beside_the_baseline_that_is_best_in_it(load: Any, metrics: ModuleType) -> None:
    product = metrics.summary([0.95], [None, 0.6], 1, 60.0) | {
        "auc": 0.9,
        "learn_seconds": 12.3,
        "frames_per_second": 400.0,
    }
    page = load("panel_report").markdown(report_of(metrics, product))
    assert "| ped1-a | 0.950 | 0.800 diff | 1 of 2 | 2 of 2 knn | 1 | 3 knn | 60 s |" in page
    assert "| streamad | 1 of 1 | 0.950 | 1 of 2 | 1 in 60 s | 60.0 |" in page
    assert "| ped1-a | 0.900 | 0.6 s | 60.0 | 12 s | 400 frames/s |" in page


def test_a_camera_that_fails_misses_its_events(load: Any, metrics: ModuleType) -> None:
    product = {"failed": "learn: 0 clips"} | metrics.summary([], [None, None], 0, 0.0)
    page = load("panel_report").markdown(report_of(metrics, product))
    assert "| ped1-a | failed | 0.800 diff | failed | 2 of 2 knn | failed | 3 knn | 60 s |" in page
    assert "| streamad | 0 of 1 | – | 0 of 2 | 0 in 0 s | – |" in page
    assert "- `ped1-a`: learn: 0 clips" in page


def test_releases_are_compared_with_the_first_result(load: Any, metrics: ModuleType) -> None:
    first = json.loads((ROOT / "docs/results/panel/30dd787.json").read_text(encoding="utf-8"))
    assert len(first["cameras"]) == 12
    now = report_of(metrics, metrics.summary([0.95], [0.1] * 20, 1, 60.0))
    table = load("panel_report").comparison([first, now])
    assert "0.1.0 (30dd787, 2026-11-25) → 9.9 (abc, 2027-01-01)" in table
    assert "| ped1-a | 0.889 → 0.950 | 0 of 20 → 20 of 20 | 0 → 1 |" in table
    assert "| umn3-01 | failed → – | failed → – | failed → – |" in table
    assert "| upcam | – → – | – → – | 47 → – |" in table


def test_a_command_that_fails_is_reported_without_the_machines_paths(load: Any, tmp_path: Path) -> None:
    panel, folder = load("panel"), tmp_path / "gate"
    labels = {"8": np.array([1, 1, 0, 1], np.uint8)}
    camera = panel.Camera("gate", FPS, (folder / "normal" / "7.mp4",), (folder / "test" / "8.mp4",), labels)
    videos, product = panel.measure_product(camera, tmp_path / "out")
    assert videos == []
    assert product["failed"].startswith("learn: normal/7.mp4 does not exist")
    assert str(tmp_path) not in product["failed"]
    assert (product["found"], product["events"], product["macro"]) == (0, 2, None)


def test_scores_are_read_as_written(load: Any, tmp_path: Path) -> None:
    table = tmp_path / "7.csv"
    table.write_text("index,raw_score,score,alert\n0,,,0\n1,2.5,1.5,0\n3,4,2,1\n4,9,3,0\n", encoding="utf-8")
    panel = load("panel")
    labels = {"7": np.array([0, 0, 1, 1], np.uint8)}
    labeled, free = (panel.Camera("gate", FPS, (), (Path("7.mp4"),), known) for known in (labels, {}))
    read = panel.read_video(table, labeled, Path("7.mp4"))
    np.testing.assert_array_equal(read.scores, [np.nan, 2.5, np.nan, 4])
    np.testing.assert_array_equal(read.shown, [np.nan, 1.5, np.nan, 2])
    assert read.alerts.tolist() == [False, False, False, True]
    assert read.labels.tolist() == [0, 0, 1, 1]
    assert labeled.events() == 1
    assert panel.read_video(table, free, Path("7.mp4")).labels.tolist() == [0] * 5
    assert free.events() == 0


def test_without_cameras_the_panel_says_what_is_missing(
    load: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    panel = load("panel")
    monkeypatch.delenv("STREAMAD_DATA", raising=False)
    with pytest.raises(DatasetError, match="STREAMAD_DATA is not set"):
        panel.load_cameras()
    monkeypatch.setenv("STREAMAD_DATA", str(tmp_path))
    with pytest.raises(DatasetError, match=r"cameras/panel\.json"):
        panel.load_cameras()
    entries = [
        {"name": name, "folder": "a", "fps": 5, "normal": ["n.mp4"], "test": ["t.mp4"], "labels": None}
        for name in ("a-1", "a-2", "b", "upcam")
    ]
    (tmp_path / "cameras").mkdir()
    (tmp_path / "cameras" / "panel.json").write_text(json.dumps(entries))
    assert [camera.name for camera in panel.load_cameras()] == ["a-1", "a-2", "b"]
    assert [camera.name for camera in panel.load_cameras(["a", "upcam"])] == ["a-1", "a-2", "upcam"]
    assert len(panel.load_cameras(everything=True)) == 4
    with pytest.raises(DatasetError, match="no camera is called c"):
        panel.load_cameras(["a", "c"])
