"""The defaults beside three short baselines on two cameras of the panel, as `make panel` measures them."""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def panel(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    return importlib.import_module("panel")


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", ["umn3-01", "ped1-a"])
def test_the_defaults_are_no_worse_than_the_best_baseline(panel: ModuleType, name: str, tmp_path: Path) -> None:
    if not (Path(os.environ.get("STREAMAD_DATA") or "/nowhere") / "cameras" / "panel.json").is_file():
        pytest.skip("the cameras are not here: STREAMAD_DATA names no folder with cameras/panel.json")
    (camera,) = panel.load_cameras([name])
    measured = panel.measure_camera(camera, tmp_path)
    product = measured["product"]
    assert "failed" not in product, product["failed"]
    # Baselines take the frames that the product scored, and the best of the three in each metric counts.
    for metric, allowed in (("macro", 0.005), ("found", 0)):
        best, baseline = max((found[metric], name) for name, found in measured["baselines"].items())
        assert product[metric] >= best - allowed, f"{metric}: {product[metric]}, {baseline} has {best}"
