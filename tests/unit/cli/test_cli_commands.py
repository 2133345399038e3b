"""The commands, called in this process: what they write, print and exit with."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
import pytest
import yaml
from bundle_support import THRESHOLD, moving_shapes, write_mp4
from scoring_support import score_video

from streamad import __version__
from streamad.bundle import load_bundle


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_version_and_help(call: Any) -> None:
    assert call("--version")[:2] == (0, f"streamad {__version__}\n")
    code, out, _ = call("--help")
    assert code == 0
    for name in ("run", "score", "train", "calibrate", "export", "models", "config", "doctor", "demo"):
        assert name in out
        assert call(name, "--help")[0] == 0


def test_wrong_usage_exits_with_2(call: Any) -> None:
    for arguments in (("score",), ("nonsense",), ("score", "x", "--model", "m", "--threads", "0"), ("run",)):
        code, out, err = call(*arguments)
        assert code == 2
        assert out == ""
        assert err


def test_wrong_usage_with_json_is_a_document_too(call: Any) -> None:
    code, out, _ = call("score", "--json", "--no-such-option")
    assert code == 2
    error = json.loads(out)["error"]
    assert error["code"] == 2
    assert "--no-such-option" in error["message"]


def test_score_writes_scores_plot_and_video(call: Any, small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    code, out, err = call(
        "score", shapes_video, "-m", small_bundle, "-o", tmp_path / "out", "--threshold", THRESHOLD, "--threads", 2
    )
    assert code == 0, err
    alone = list(score_video(shapes_video, small_bundle))
    rows = rows_of(tmp_path / "out" / "shapes.csv")
    assert [int(row["index"]) for row in rows] == list(range(100))
    for row, score in zip(rows, alone, strict=True):
        assert float(row["pts_seconds"]) == pytest.approx(score.pts_seconds, abs=1e-6)
        assert row["skipped_reason"] == (score.skipped_reason or "")
        if score.skipped_reason:
            assert row["raw_score"] == row["score"] == ""
        else:
            assert float(row["raw_score"]) == pytest.approx(score.score, abs=1e-5)
        if score.anomaly_map is not None and np.isfinite(score.anomaly_map).any():
            peak = np.unravel_index(np.nanargmax(score.anomaly_map), score.anomaly_map.shape)
            assert (int(row["peak_row"]), int(row["peak_col"])) == peak
        else:
            assert row["peak_row"] == row["peak_col"] == ""
    alert = [int(row["index"]) for row in rows if row["alert"] == "1"]
    assert 46 <= alert[0] <= 50  # 0.8 s after the shapes came
    assert alert == list(range(alert[0], 100))  # it ends at 60, and would close 2 s later
    picture = cv2.imread(str(tmp_path / "out" / "shapes.png"))
    assert picture is not None
    assert picture.std() > 5
    with av.open(str(tmp_path / "out" / "shapes.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 100
    assert "shapes" in out


def test_score_as_json_and_what_is_left_out(call: Any, small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    code, out, _ = call(
        "score", shapes_video, "-m", small_bundle, "-o", tmp_path / "out", "--threshold", THRESHOLD, "--json",
        "--no-video", "--no-plot", "--no-csv", "--fail-on-alert",
    )  # fmt: skip
    assert code == 10
    document = json.loads(out)
    assert document["model"] == "small"
    assert document["engine"]["name"] == "openvino"
    assert document["threshold"] == THRESHOLD
    (result,) = document["results"]
    assert (result["frames"], result["scored"], result["alerts"]) == (100, 92, 1)
    assert (result["csv"], result["plot"], result["video"]) == (None, None, None)
    assert result["events"][0]["state"] == "closed"
    assert list((tmp_path / "out").iterdir()) == []


def test_score_without_calibration_scores_without_alerts(
    call: Any, small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    arguments = (
        "score",
        shapes_video,
        "-m",
        small_bundle,
        "-o",
        tmp_path,
        "--no-video",
        "--no-plot",
        "--fail-on-alert",
    )
    code, _, err = call(*arguments)
    assert code == 0
    assert "no calibration" in err
    code, _, err = call(*arguments, "--normalization", "calibrated")
    assert code == 4
    assert "no calibration" in err


@pytest.mark.parametrize("normalization", ["raw", "per_video", "running"])
def test_score_normalizes_as_asked(
    call: Any, small_bundle: Path, shapes_video: Path, tmp_path: Path, normalization: str
) -> None:
    code, _, err = call(
        "score", shapes_video, "-m", small_bundle, "-o", tmp_path, "--no-video", "--normalization", normalization
    )
    assert code == 0, err
    rows = rows_of(tmp_path / "shapes.csv")
    raw, shown = (np.array([float(r[k] or "nan") for r in rows]) for k in ("raw_score", "score"))
    if normalization == "raw":
        expected = raw
    elif normalization == "per_video":
        expected = (raw - np.nanmin(raw)) / (np.nanmax(raw) - np.nanmin(raw))
    else:
        low, high = np.fmin.accumulate(raw), np.fmax.accumulate(raw)
        with np.errstate(invalid="ignore"):
            expected = np.where(high > low, (raw - low) / (high - low), np.where(np.isnan(raw), np.nan, 0))
    np.testing.assert_allclose(shown, expected, atol=2e-6)


@pytest.mark.parametrize(
    "options",
    [
        ("--normalization", "zscore"),
        ("--engine", "cuda"),
        ("--threshold", "1", "--normalization", "calibrated"),
        ("--threshold", "1", "--alerts-per-day", "2"),
        ("--threshold", "1", "--calibration", "c.json"),
        ("--threshold", "nan"),
    ],
)
def test_options_that_cannot_be_met_are_refused(
    call: Any, small_bundle: Path, shapes_video: Path, options: tuple[str, ...]
) -> None:
    code, out, err = call("score", shapes_video, "-m", small_bundle, *options)
    assert code == 2, err
    assert out == ""
    assert any(option in err for option in options if option.startswith("--"))


def test_models_are_listed_and_shown(
    call: Any, small_bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(small_bundle, tmp_path / "m" / "small")
    damaged = shutil.copytree(small_bundle, tmp_path / "m" / "worse")
    (damaged / "model.onnx").write_bytes(b"")
    monkeypatch.setenv("STREAMAD_MODELS", str(tmp_path / "m"))
    code, out, _ = call("models", "list", "--json")
    assert code == 0
    states = {row["name"]: row["state"] for row in json.loads(out)["models"]}
    assert states["small"] == "ok, not calibrated"
    assert states["worse"].startswith("damaged: ")
    assert "small" in call("models", "list")[1]
    code, out, _ = call("models", "show", "small")
    assert code == 0
    assert yaml.safe_load(out)["detector"] == "adacl"
    assert json.loads(call("models", "show", "small", "--json")[1])["name"] == "small"
    assert call("models", "show", "worse")[0] == 4


def test_doctor_says_what_runs_here(call: Any) -> None:
    code, out, _ = call("doctor", "--json")
    assert code == 0
    checks = {row["part"]: row["state"] for row in json.loads(out)["checks"]}
    assert checks["engine openvino"] == checks["H.264 decoder"] == "ok"
    code, out, _ = call("doctor")
    assert code == 0
    assert "engine openvino" in out


def test_config_check(call: Any, small_bundle: Path, shapes_video: Path, tmp_path: Path) -> None:
    camera = {"id": "a", "source": {"type": "file", "path": str(shapes_video)}, "threshold": 1.0}
    (tmp_path / "good.yaml").write_text(yaml.safe_dump({"model": str(small_bundle), "cameras": [camera]}))
    code, out, err = call("config", "check", "good.yaml")
    assert (code, out) == (0, "")
    assert "is valid" in err
    document = json.loads(call("config", "check", "good.yaml", "--json")[1])
    assert document["valid"]
    del camera["threshold"]
    (tmp_path / "bare.yaml").write_text(yaml.safe_dump({"model": str(small_bundle), "cameras": [camera]}))
    code, _, err = call("config", "check", "bare.yaml")
    assert code == 2
    assert "camera 'a': the model small has no calibration" in err
    (tmp_path / "lost.yaml").write_text(yaml.safe_dump({"model": "lost", "cameras": [camera]}))
    code, _, err = call("config", "check", "lost.yaml")
    assert code == 2
    assert "'lost'" in err


@pytest.fixture(scope="session")
def normal_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two clips in which shapes move all the time."""
    folder = tmp_path_factory.mktemp("normal")
    for seed in (1, 2):
        write_mp4(folder / f"clip{seed}.mp4", moving_shapes(100, seed=seed), fps=10)
    return folder


def test_calibrate_then_score_with_alerts(
    call: Any, small_bundle: Path, normal_video: Path, shapes_video: Path, tmp_path: Path
) -> None:
    bundle = shutil.copytree(small_bundle, tmp_path / "small")
    code, out, err = call("calibrate", bundle, "--data", normal_video, "--alerts-per-day", "24", "--json")
    assert code == 0, err
    document = json.loads(out)
    # 200 frames but for 8 of warm-up and 4 in which the second clip has no history yet.
    assert (document["clips"], document["frames"], document["alerts_per_day"]) == (2, 188, 24)
    assert load_bundle(bundle).calibration_path is not None  # its hash is in the manifest
    code, out, err = call("score", shapes_video, "-m", bundle, "-o", tmp_path, "--no-video", "--json")
    assert code == 0, err
    result = json.loads(out)
    assert result["threshold"] == pytest.approx(document["threshold"])
    assert result["results"][0]["normalization"] == "calibrated"
    code, out, err = call("calibrate", bundle, "--data", normal_video, "-o", tmp_path / "own.json")
    assert code == 0, err
    assert json.loads((tmp_path / "own.json").read_text())
    code, _, err = call("score", shapes_video, "-m", bundle, "-o", tmp_path, "--no-video", "--calibration", "own.json")
    assert code == 0, err


def test_a_calibration_of_another_model_is_refused(
    call: Any, small_bundle: Path, normal_video: Path, shapes_video: Path, tmp_path: Path
) -> None:
    assert call("calibrate", small_bundle, "--data", normal_video, "-o", tmp_path / "own.json")[0] == 0
    other = shutil.copytree(small_bundle, tmp_path / "other")
    manifest = yaml.safe_load((other / "model.yaml").read_text())
    manifest["score"]["median_frames"] = 9  # scores mean something else now
    (other / "model.yaml").write_text(yaml.safe_dump(manifest))
    code, _, err = call("score", shapes_video, "-m", other, "--calibration", "own.json")
    assert code == 4
    assert "model" in err


@pytest.mark.usefixtures("one_torch_thread")
def test_export_writes_files_that_run(call: Any, small_bundle: Path, tmp_path: Path) -> None:
    code, out, err = call("export", small_bundle, "--engine", "openvino", "-o", tmp_path / "out", "--json")
    assert code == 0, err
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"small.xml", "small.bin"}
    assert json.loads(out)["parity"]["max_abs_output"] <= 1e-5
    assert call("export", small_bundle, "--engine", "coreml")[0] == 2


@pytest.mark.slow
@pytest.mark.usefixtures("one_torch_thread")
def test_train_makes_a_calibrated_bundle(call: Any, normal_video: Path, tmp_path: Path) -> None:
    code, out, err = call(
        "train", "adacl", "--data", normal_video, "-o", tmp_path / "mine", "--epochs", 1, "--max-cells", 256, "--json"
    )
    assert code == 0, err
    document = json.loads(out)
    assert document["epochs"] == 1
    bundle = load_bundle(tmp_path / "mine")
    assert bundle.calibration_path is not None
    assert bundle.manifest.training.fps == 10
    assert call("train", "tea_leaves", "--data", normal_video, "-o", tmp_path / "x")[0] == 2


def test_clips_of_different_rates_are_not_mixed(
    call: Any, normal_video: Path, shapes_video: Path, tmp_path: Path
) -> None:
    pytest.importorskip("torch")
    code, _, err = call(
        "train", "adacl", "--data", normal_video, "--data", shapes_video, "-o", tmp_path / "mixed", "--epochs", 1
    )
    assert code == 2
    assert "10 frames/s (clip1, clip2), 25 frames/s (shapes)" in err
