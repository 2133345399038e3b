"""From a monitor's recent scores to a calibration, by the commands that an operator types."""

from __future__ import annotations

import json
import shutil
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from bundle_support import moving_shapes, write_mp4

from streamad.alerts import HealthChange
from streamad.bundle import load_bundle
from streamad.calibration import Calibration, calibrate
from streamad.calibration.score_history import ScoreHistory
from streamad.config import parse_config
from streamad.live import Monitor
from streamad.workflows.recalibrate import scores_sha256, seconds_of

RULES = {"min_duration_seconds": 0.2, "cooldown_seconds": 0.5}


@pytest.fixture(scope="module")
def bundle(small_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle of its own, since these tests calibrate it."""
    return Path(shutil.copytree(small_bundle, tmp_path_factory.mktemp("bundles") / "own"))


@pytest.mark.slow
def test_run_keeps_scores_and_calibrate_takes_them(bundle: Path, call: Any, tmp_path: Path) -> None:
    video = write_mp4(tmp_path / "busy.mp4", moving_shapes(300, shapes=3))
    code, out, said = call("calibrate", bundle, "--data", video, "--alerts-per-day", "2000", "--min-duration", "0.2",
                           "--cooldown", "0.5", "--json")  # fmt: skip
    assert code == 0, said
    first = json.loads(out)
    assert first["previous"] is None
    config = tmp_path / "run.yaml"
    config.write_text(
        yaml.safe_dump(
            {
                "model": str(bundle),
                "cameras": [{"id": "gate", "source": {"type": "file", "path": str(video)}}],
                "rules": RULES,
                "web": {"enabled": False},
                "engine": {"threads": 1},
            }
        )
    )
    for _ in range(2):  # two runs: two files
        code, _, said = call("run", config, "--once")
        assert code == 0, said
    assert len(list(Path("runs/scores/gate").glob("*.scores"))) == 2
    code, out, said = call("calibrate", bundle, "--recent", "1h", "--json")
    assert code == 4  # CalibrationError
    assert "minutes of scores are too little" in said
    code, out, said = call("calibrate", bundle, "--recent", "1h", "--at-least", "10s", "--json")
    assert code == 0, said
    second = json.loads(out)
    # The same video, the same scores: the threshold of half the budget's resolution stays where it was.
    assert second["frames"] == pytest.approx(2 * first["frames"], abs=60)
    assert second["alerts_per_day"] == 2000
    assert second["previous"].endswith("calibration.previous.json")
    assert Calibration.load(Path(second["previous"])).threshold == first["raw_threshold"]
    assert load_bundle(bundle).calibration_path is not None  # every hash fits
    assert second["median"] == pytest.approx(first["median"], abs=0.5)


def test_what_calibrate_refuses(bundle: Path, call: Any, tmp_path: Path) -> None:
    for arguments, words in (
        ([], "give either --data or --recent"),
        (["--recent", "soon"], "is not a valid duration"),
        (["--recent", "1h"], "holds the recent scores of no camera"),
        (["--recent", "1h", "--camera", "gate", "--history", tmp_path], "no recent scores of camera 'gate'"),
    ):
        code, _, said = call("calibrate", bundle, *arguments)
        assert code in (2, 4)
        assert words in said
    assert (seconds_of("90m"), seconds_of("1.5h"), seconds_of("3d")) == (5400, 5400, 259_200)


def test_alerts_are_left_out_unless_they_were_false(bundle: Path, call: Any, tmp_path: Path) -> None:
    owner, rng = scores_sha256(load_bundle(bundle), None), np.random.default_rng(2)
    calibration = tmp_path / "gate.json"
    now = datetime.now(UTC)
    began = now - timedelta(hours=2)
    with closing(ScoreHistory(tmp_path / "scores", "gate", owner, hours=9, wall_clock=lambda: began)) as kept:
        for k in range(36_000):
            is_alert = k % 3000 > 2700
            score = rng.normal(3.0 if is_alert else 0.0, 0.5)
            kept.add(k, k / 5, score, alert=is_alert, skipped=False)
    common = ("calibrate", bundle, "--recent", "3h", "--history", tmp_path / "scores", "--out", calibration, "--json")
    code, out, said = call(*common)
    assert code == 0, said
    without = json.loads(out)
    assert any("--keep-alerts" in warning for warning in without["warnings"])
    code, out, said = call(*common, "--keep-alerts")
    assert code == 0, said
    with_alerts = json.loads(out)
    assert with_alerts["raw_threshold"] > without["threshold"] + 0.5
    assert Calibration.load(tmp_path / "gate.previous.json").threshold == without["raw_threshold"]


def test_a_monitor_warns_of_drift_once_and_says_so_everywhere(bundle: Path, tmp_path: Path) -> None:
    """Calibrated on scores far under those of moving shapes: every window has drifted."""
    rng = np.random.default_rng(1)
    owner = scores_sha256(load_bundle(bundle), None)
    low = calibrate(
        [rng.normal(-9.0, 0.3, 90_000)], fps=25, model="own", model_sha256=owner, source="simulated",
        alerts_per_day=1e-3,
    )  # fmt: skip
    high = low.threshold + 1000  # no alert may hide what drifts
    calibration = tmp_path / "low.json"
    replace(low, threshold=high, threshold_high=high + 1, critical=high + 2).save(calibration)
    video = write_mp4(tmp_path / "busy.mp4", moving_shapes(620, shapes=3), fps=10)
    config = parse_config(
        yaml.safe_dump(
            {
                "model": str(bundle),
                "cameras": [
                    {"id": "gate", "source": {"type": "file", "path": str(video)}, "calibration": str(calibration)}
                ],
                "drift": {"window_minutes": 1, "block_seconds": 1, "false_warnings_per_year": 4},
                "rules": RULES,
            }
        )
    )
    changes: list[HealthChange] = []
    monitor = Monitor(config, on_health=changes.append)
    monitor.run(once=True)
    drift = [c for c in changes if c.event.topic == "drift"]
    assert [c.kind for c in drift] == ["opened", "closed"]
    assert "higher than when calibrated" in drift[0].event.message
    text = monitor.metrics.render().decode()
    assert 'streamad_score_drifted{camera="gate"} 1.0' in text
    assert 'streamad_score_quantile_share{camera="gate",quantile="0.9"}' in text
    assert 'streamad_health_events_total{camera="gate",topic="drift"} 1.0' in text
    status = monitor.status()["cameras"][0]["drift"]
    assert status is not None
    assert status["ratio"] > 5
