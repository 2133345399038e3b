"""Zones on the command line: `config check` of them, and commands that take those of a configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD

from streamad.bundle import load_bundle
from streamad.calibration import Calibration, calibrate_bundle

LEFT = {"name": "left", "type": "exclude", "polygon": [[0, 0], [0.5, 0], [0.5, 1], [0, 1]]}
ALMOST_ALL = {"name": "scene", "type": "exclude", "polygon": [[0, 0], [1, 0], [1, 0.97], [0, 0.97]]}


@pytest.fixture
def write(small_bundle: Path, shapes_video: Path, tmp_path: Path) -> Any:
    def write(*cameras: dict[str, Any], **more: Any) -> Path:
        given = [{"source": {"type": "file", "path": str(shapes_video)}, "threshold": THRESHOLD, **c} for c in cameras]
        document = {
            "model": str(small_bundle), "web": {"enabled": False}, "events": {"path": str(tmp_path / "events.sqlite")},
            "evidence": {"folder": str(tmp_path / "evidence")}, "history": {"folder": str(tmp_path / "scores")},
            "cameras": given, **more,
        }  # fmt: skip
        path = tmp_path / "camera.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        return path

    return write


def test_zones_that_hide_every_place_of_the_picture_are_a_fault(call: Any, write: Any) -> None:
    path = write({"id": "gate", "zones": [ALMOST_ALL]})
    code, _, err = call("config", "check", path)
    assert code == 2
    line = path.read_text().splitlines().index("  zones:") + 1
    assert f"camera.yaml:{line}: cameras.0.zones: the zones leave none of the 4×6 places of the picture" in err
    assert call("config", "check", write({"id": "gate", "zones": [LEFT]}))[0] == 0


def test_a_calibration_with_other_zones_is_a_warning(call: Any, write: Any, small_bundle: Path, tmp_path: Path) -> None:
    from streamad.zones import ZoneSpec

    scores = [np.random.default_rng(0).normal(0, 1, 3000)]
    path = tmp_path / "calibration.json"
    made = calibrate_bundle(
        load_bundle(small_bundle), scores, fps=25, source="test", zones=[ZoneSpec.model_validate(LEFT)]
    )
    made.save(path)
    assert Calibration.load(path) == made
    camera = {"id": "gate", "threshold": None, "calibration": str(path)}
    assert "50% of the picture counts that did not" in call("config", "check", write(camera))[2]
    for zones in ([LEFT], [{**LEFT, "polygon": [[0, 0], [0.7, 0], [0.7, 1], [0, 1]]}]):  # the same, and more is hidden
        assert "of the picture counts" not in call("config", "check", write({**camera, "zones": zones}))[2]


def test_score_takes_the_zones_of_a_camera(
    call: Any, write: Any, small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    command = ["score", shapes_video, "-m", small_bundle, "--threshold", THRESHOLD, "--no-video", "--no-plot", "--out"]
    hidden = {**ALMOST_ALL, "polygon": [[0, 0], [1, 0], [1, 0.9], [0, 0.9]]}
    path = write({"id": "gate", "zones": [hidden]}, {"id": "yard"})
    assert call(*command, tmp_path / "whole", "--fail-on-alert")[0] == 10
    assert call(*command, tmp_path / "gate", "--zones", path, "--camera", "gate", "--fail-on-alert")[0] == 0
    assert call(*command, tmp_path / "yard", "--zones", path, "--camera", "yard", "--fail-on-alert")[0] == 10
    rows = [(tmp_path / name / "shapes.csv").read_text() for name in ("whole", "yard")]
    assert rows[0] == rows[1]
    code, _, err = call(*command, tmp_path / "none", "--zones", path)
    assert (code, "has several cameras: gate, yard" in err) == (2, True)
    code, _, err = call(*command, tmp_path / "none", "--zones", path, "--camera", "gat")
    assert (code, "has no camera 'gat'" in err) == (2, True)
