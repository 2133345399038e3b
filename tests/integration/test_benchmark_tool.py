"""`benchmarks/bench.py` on a small model: every contender runs, and the page depends only on the JSON document."""

from __future__ import annotations

import importlib
import json
import logging
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

pytest.importorskip("torch")
pytest.importorskip("onnxruntime")

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    logger = logging.getLogger("streamad")
    level = logger.level
    yield importlib.import_module("bench")
    logger.setLevel(level)  # the tool silences streamad for the rest of its process


@pytest.mark.slow
def test_every_stage_and_engine_is_measured(
    bench: ModuleType,
    narrow_bundle: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    one_torch_thread: None,
) -> None:
    monkeypatch.setattr(bench, "TURN_SECONDS", 0.01)
    monkeypatch.setattr(bench, "MEMORY_SECONDS", 0.1)
    monkeypatch.delenv("STREAMAD_DATA", raising=False)
    document = tmp_path / "bench.json"
    given = ["bench", "--models", str(narrow_bundle), "--budget", "1", "--frames", "220", "--json", str(document)]
    monkeypatch.setattr(sys, "argv", given)
    assert bench.main() == 0
    page = capsys.readouterr().out
    report = json.loads(document.read_text())
    (model,) = report["models"]
    assert model["rounds"] == 2
    rows: dict[tuple[str, str], Any] = {(row["stage"], row["engine"]): row for row in model["rows"]}
    for engine in ("openvino fp32", "onnx fp32", "torch fp32"):
        assert {("infer", engine), ("end to end", engine)} <= set(rows)
    assert {("decode", ""), ("tile", ""), ("score", ""), ("plain loop", "torch fp32")} <= set(rows)
    assert all(row["frames_per_second"]["min"] > 0 for row in model["rows"])
    paper, ours = rows["plain loop", "torch fp32"], rows["end to end", "openvino fp32"]
    assert paper["ratio_to_papers_loop"]["median"] == 1
    ratio, rates, theirs = ours["ratio_to_papers_loop"], ours["frames_per_second"], paper["frames_per_second"]
    assert rates["min"] / theirs["max"] <= ratio["min"] <= ratio["max"] <= rates["max"] / theirs["min"]
    assert model["memory"][0]["resident_mib"] > 50
    assert report["limits"]["convolution_fp32_gflops"] > 1

    monkeypatch.setattr(sys, "argv", ["bench", "--from", str(document)])
    assert bench.main() == 0
    assert capsys.readouterr().out == page
    bench.plots(report, tmp_path)
    drawn = [(tmp_path / f"performance-{name}.svg").read_bytes() for name in ("speed", "limit")]
    bench.plots(report, tmp_path)
    assert [(tmp_path / f"performance-{name}.svg").read_bytes() for name in ("speed", "limit")] == drawn


def test_the_most_cameras_are_sought_from_what_a_file_promises(
    bench: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras = importlib.import_module("bench_cameras")

    def seek(limit: int, speed: float, deadline: float = 1e12) -> tuple[int, list[int], bool]:
        tried = {"held": False}
        monkeypatch.setattr(cameras, "watch", lambda *given: tried | {"cameras": given[-1], "held": given[-1] <= limit})
        found = cameras.most_cameras("m", {}, Path("v"), 10.0, speed, deadline)
        return found["held"], [t["cameras"] for t in found["tried"]], found["bounded"]

    assert seek(limit=4, speed=110) == (4, [4, 8], False)
    assert seek(limit=4, speed=900) == (4, [4, 8, 16, 32], False)
    assert seek(limit=2, speed=10) == (2, [1, 2, 4], False)
    assert seek(limit=0, speed=10) == (0, [1], False)
    assert seek(limit=64, speed=1e5)[0] == 64
    assert seek(limit=4, speed=110, deadline=0.0) == (0, [], True)


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(60)
def test_a_camera_that_is_held_is_counted(
    bench: ModuleType, narrow_bundle: Path, shapes_video: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cameras = importlib.import_module("bench_cameras")
    monkeypatch.setattr(cameras, "SETTLE", 0.1)
    monkeypatch.setattr(cameras, "MEASURED", 1.0)
    found = cameras.watch(str(narrow_bundle), {"name": "openvino", "threads": 1}, shapes_video, 25.0, 1)
    assert found["cameras"] == 1
    assert 10 < found["frames_per_second"] < 26
    assert found["latency_ms"] > 0
