"""The metrics against stored ones, which a script that imports nothing of streamad computed. They may not change."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamad.evaluation import evaluate_scores
from streamad.evaluation.pixels import CellPixels, PixelCounts
from streamad.evaluation.regions import AnomalyMapRegions, TrueRegion
from streamad.scoring import NORMALIZATIONS

GOLDEN = Path(__file__).parent / "golden_metrics.json"
STORED: dict[str, Any] = json.loads(GOLDEN.read_text(encoding="utf-8"))
SCRIPT = Path(__file__).parents[3] / "scripts" / "golden_metrics.py"


@pytest.mark.parametrize("protocol", STORED["frame_level"])
def test_frame_level_metrics_are_the_stored_ones(protocol: str) -> None:
    normalization, _, padded = protocol.partition(" ")
    assert normalization in NORMALIZATIONS
    found = evaluate_scores(
        [np.array(values, dtype=float) for values in STORED["scores"].values()],
        list(STORED["labels"].values()),
        normalization=normalization,  # type: ignore[arg-type]
        edge="pad" if padded else "leave_out",
        single_class="pad" if padded else "leave_out",
    )
    expected = STORED["frame_level"][protocol]
    assert {name: getattr(found, name) for name in expected} == pytest.approx(expected, abs=1e-9)


def test_localization_metrics_are_the_stored_ones() -> None:
    cell = STORED["cell"]
    regions, pixels = AnomalyMapRegions(STORED["thresholds"]), PixelCounts()
    for cells, truth in zip(STORED["maps"], STORED["regions"], strict=True):
        values = np.array(cells, dtype=float)
        rows, cols = values.shape
        boxes = [(x * cell, y * cell, (x + 1) * cell, (y + 1) * cell) for y in range(rows) for x in range(cols)]
        regions.add(values, boxes, [TrueRegion(track, (x0, y0, x1, y1)) for track, x0, y0, x1, y1 in truth])
        mask = np.zeros((rows * cell, cols * cell), bool)
        for _, x0, y0, x1, y1 in truth:
            mask[y0:y1, x0:x1] = True
        pixels.add(values, CellPixels(boxes, mask.shape), mask)
    curves = regions.curves()
    found = {"rbdc": curves.rbdc, "tbdc": curves.tbdc, "pixel_auc": pixels.auc()}
    assert found == pytest.approx(STORED["localization"], abs=1e-9)


def test_the_stored_metrics_tell_protocols_and_metrics_apart() -> None:
    """A file in which all were perfect, or equal, would notice no change."""
    for name in ("auc_micro", "auc_macro", "eer", "average_precision"):
        values = [metrics[name] for metrics in STORED["frame_level"].values()]
        assert all(0.02 < value < 0.98 for value in values)
        assert len({round(value, 6) for value in values}) >= 4
    assert all(0.1 < value < 0.97 for value in STORED["localization"].values())


def test_the_script_writes_what_is_stored_and_imports_nothing_of_streamad(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(SCRIPT), "--write", str(tmp_path / "again.json")], check=True)
    again = json.loads((tmp_path / "again.json").read_text(encoding="utf-8"))
    assert {key: value for key, value in again.items() if key not in ("frame_level", "localization")} == {
        key: value for key, value in STORED.items() if key not in ("frame_level", "localization")
    }
    for protocol, metrics in STORED["frame_level"].items():
        assert again["frame_level"][protocol] == pytest.approx(metrics, abs=1e-9)
    assert again["localization"] == pytest.approx(STORED["localization"], abs=1e-9)
    assert "import streamad" not in SCRIPT.read_text()
    assert "from streamad" not in SCRIPT.read_text()
