"""The benchmark of a model: that its contenders compute the same, and that operations are counted right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from streamad.bundle import load_bundle
from streamad.engines import EngineSpec
from streamad.engines.flops import count_flops
from streamad.errors import UsageError
from streamad.workflows import benchmark as module
from streamad.workflows.benchmark import benchmark_model

pytestmark = pytest.mark.usefixtures("one_torch_thread")
ENGINE = EngineSpec(threads=1)
ROOT = Path(__file__).resolve().parents[3]


def by_hand(channels: tuple[int, ...], side: int) -> tuple[float, float]:
    """GFLOP of a window with the trimmed decoder, and of a frame in the streaming form."""
    a, b, c, d = channels

    def layer(ins: int, outs: int, size: int, taps: int) -> float:
        """Taps in time of 3×3 kernels over a map of some size, each tap at one point in time."""
        return 2e-9 * ins * outs * 9 * size * size * taps

    half, quarter, eighth, least = side // 2, side // 4, side // 8, side // 16
    # Convolutions count padded taps too. Output frames: 16, 8, 4, 2; back up: the inputs that are used, 2, 3, 3, 3.
    down = layer(1, a, half, 48) + layer(a, b, quarter, 24) + layer(b, c, eighth, 12) + layer(c, d, least, 6)
    up = layer(d, c, least, 6) + layer(c, b, eighth, 9) + layer(b, a, quarter, 9) + layer(a, 1, half, 9)
    once = layer(1, a, half, 7) + layer(a, b, quarter, 5) + layer(b, c, eighth, 5) + layer(c, d, least, 5)
    back = layer(d, c, least, 4) + layer(c, b, eighth, 5) + layer(b, a, quarter, 5) + layer(a, 1, half, 3)
    return down + up, once + back


def test_operations_are_those_counted_by_hand() -> None:
    for name, channels in (
        ("learned-noise-baseline-ped2", (96, 128, 256, 256)),
        ("learned-noise-light-ped2", (24, 32, 64, 64)),
    ):
        bundle = load_bundle(ROOT / "models" / name)
        assert bundle.streaming_path is not None
        window, frame = by_hand(channels, 256)
        assert count_flops(bundle.onnx_path) / 1e9 == pytest.approx(window, rel=1e-6)
        # The last layer adds its nine products up by a kernel of zeros and ones, which is work without need.
        assert count_flops(bundle.streaming_path) / 1e9 == pytest.approx(frame, rel=0.01)


def test_all_ways_compute_the_same(narrow_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.01)
    told: list[tuple[int, int]] = []
    result = benchmark_model(
        load_bundle(narrow_bundle), engine=ENGINE, frames=18, rounds=2, progress=lambda _, *done: told.append(done)
    )
    assert told == [(1, 2), (2, 2)]
    rows = {row["name"]: row for row in result["contenders"]}
    assert list(rows) == ["streaming", "run frames", "run cameras", "engine", "torch"]
    assert [row["at_once"] for row in rows.values()] == [1, 4, 4, 1, 1]
    for row in rows.values():
        assert row["difference"] <= 1e-5
        speed, ratio = row["frames_per_second"], row["ratio"]
        assert 0 < speed["min"] <= speed["median"] <= speed["max"]
        assert 0 < ratio["min"] <= ratio["median"] <= ratio["max"]
    assert rows["torch"]["ratio"]["median"] == 1.0
    assert rows["torch"]["gflop"] is None
    assert rows["streaming"]["gflop"] < rows["engine"]["gflop"]


def test_cells_are_measured_too(small_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ROUND_SECONDS", 0.01)
    result = benchmark_model(load_bundle(small_bundle), engine=ENGINE, frames=12, rounds=1)
    assert [row["name"] for row in result["contenders"]] == ["engine", "torch"]
    assert all(row["difference"] <= 1e-5 for row in result["contenders"])


def test_too_few_frames_are_refused(narrow_bundle: Path) -> None:
    with pytest.raises(UsageError, match="15 frames give no score"):
        benchmark_model(load_bundle(narrow_bundle), engine=ENGINE, frames=15, rounds=1)


@pytest.mark.slow
def test_the_command_prints_one_document(
    narrow_bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from streamad.cli.benchmark import benchmark

    monkeypatch.setattr(module, "ROUND_SECONDS", 0.01)
    given: dict[str, Any] = {"model": str(narrow_bundle), "threads": 1, "frames": 17, "rounds": 1}
    benchmark(**given, as_json=True)
    assert json.loads(capsys.readouterr().out)["model"] == "narrow"
    benchmark(**given)
    assert "streaming" in capsys.readouterr().out
