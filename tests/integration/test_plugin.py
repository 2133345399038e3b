"""The example plugin, installed by pip: its detector, engine, source and sink on the command line."""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundle_support import moving_shapes, write_mp4
from cli_support import Ran, streamad

from streamad.errors import ExitCode

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "plugin"

Command = Callable[..., Ran]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A scratch environment with the plugin, and a working folder."""
    for module in ("pip", "hatchling"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"installing the plugin needs {module}")
    folder = tmp_path_factory.mktemp("plugin")
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", str(folder / "site"), str(EXAMPLE)],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert list((folder / "site").glob("*.dist-info/entry_points.txt"))
    return folder


@pytest.fixture(scope="module")
def run(installed: Path) -> Command:
    """Function that runs `streamad` in the plugin's environment."""
    path = os.pathsep.join(filter(None, [str(installed / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")]))

    def command(*arguments: str | Path) -> Ran:
        return streamad(*arguments, cwd=installed, env={"PYTHONPATH": path}, timeout=120)

    return command


@pytest.fixture(scope="module")
def model(installed: Path, run: Command) -> str:
    """A model fitted to a lossless recording of the plugin's source."""
    code = (
        "import cv2\n"
        "from framediff.source import SquareSpec\n"
        "from streamad.sources import open_source\n"
        "for frame in open_source(SquareSpec(frames=600), camera='c'):\n"
        "    cv2.imwrite(f'normal/{frame.index:03}.png', frame.pixels)\n"
    )
    (installed / "normal").mkdir()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(installed / "site"), str(ROOT)])}
    subprocess.run([sys.executable, "-c", code], cwd=installed, env=env, check=True)
    ran = run("train", "frame_difference", "--data", "normal", "--out", "models/wall", "--json")
    assert ran.code == 0, ran.err
    document = ran.document()
    assert document["parity_max_abs"] < 1e-2
    assert document["frames"] == 600
    return "models/wall"


def test_the_model_is_listed_and_described(run: Command, model: str, installed: Path) -> None:
    listed = {row["name"]: row for row in run("models", "list", "--json").document()["models"]}
    assert (listed["wall"]["detector"], listed["wall"]["state"]) == ("frame_difference", "ok, calibrated")
    card = (installed / model / "README.md").read_text(encoding="utf-8")
    assert "parity with numpy | openvino" in card


def test_its_detector_learns_from_its_source(run: Command, installed: Path) -> None:
    ran = run(
        "learn", "square://1500", "--detector", "frame_difference", "--minutes", "0.8", "-o", "models/new", "--json"
    )
    assert ran.code == 0, ran.err
    document = ran.document()
    assert (document["detector"], round(document["recorded_seconds"])) == ("frame_difference", 48)


def test_its_own_engine_gives_the_scores_of_openvino(run: Command, model: str, installed: Path) -> None:
    scores = {}
    for engine in ("openvino", "frame_difference_numpy"):
        ran = run("score", "square://120", "-m", model, "--engine", engine, "--no-plot", "--no-video", "-o", engine)
        assert ran.code == 0, ran.err
        assert f"engine: {engine} in fp32" in ran.err
        (table,) = (installed / engine).glob("*.csv")
        with table.open(encoding="utf-8") as file:
            rows = list(csv.DictReader(line for line in file if not line.startswith("#")))
        assert len(rows) == 120
        scores[engine] = np.array([float(row["score"] or "nan") for row in rows])
    ours, theirs = scores.values()
    assert np.isfinite(ours[1:]).all()
    np.testing.assert_allclose(ours, theirs, rtol=1e-3)


def test_a_configuration_of_its_source_engine_and_sink_raises_the_alert(
    run: Command, model: str, installed: Path
) -> None:
    document = {
        "model": model,
        "engine": {"name": "frame_difference_numpy"},
        "cameras": [{"id": "gate", "source": {"type": "square", "frames": 250, "jumps_from": 120}}],
        "sinks": [{"type": "csv", "path": "events.csv"}],
        "web": {"enabled": False},
        "quality": {"enabled": False},
        "events": {"path": "events.sqlite"},
    }
    (installed / "watch.yaml").write_text(yaml.safe_dump(document))
    checked = run("config", "check", "watch.yaml", "--json")
    assert checked.code == 0, checked.err
    ran = run("run", "watch.yaml", "--once", "--json")
    assert ran.code == 0, ran.err
    rows = [line.split(",") for line in (installed / "events.csv").read_text(encoding="utf-8").splitlines()]
    assert [(row[0], row[1]) for row in rows] == [("opened", "gate"), ("closed", "gate")]
    assert float(rows[0][2]) == pytest.approx(120 / 25, abs=0.3)


def test_faults_in_its_settings_are_named_with_their_line(run: Command, model: str, installed: Path) -> None:
    (installed / "wrong.yaml").write_text(
        f"model: {model}\ncameras:\n  - id: a\n    source:\n      type: square\n      frames: 0\n"
        "  - id: b\n    source:\n      type: circle\nsinks:\n  - type: csv\n"
    )
    message = run("config", "check", "wrong.yaml", "--json").error()["message"]
    assert "wrong.yaml:6: cameras.0.source.frames: Input should be greater than or equal to 1" in message
    assert "wrong.yaml:9:" in message
    assert "expected one of 'file', 'images', 'rtsp', 'device', 'square'" in message
    assert "sinks.0.path: required setting is missing" in message


def test_a_broken_plugin_is_one_sentence_and_disables_nothing_else(installed: Path, model: str, tmp_path: Path) -> None:
    info = tmp_path / "broken-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: broken\nVersion: 1.0\n")
    groups = {"detectors": "ghost", "engines": "ghost", "sources": "ghost", "sinks": "ghost"}
    points = [f"[streamad.{group}]\n{name} = not_a_module:THING\n" for group, name in groups.items()]
    (info / "entry_points.txt").write_text("\n".join(points))
    env = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(installed / "site"), str(ROOT)])}

    def run(*arguments: str | Path) -> Ran:
        return streamad(*arguments, cwd=installed, env=env, timeout=120)

    sentence = "the plugin 'ghost' of broken 1.0 cannot be loaded: ModuleNotFoundError: No module named 'not_a_module'"
    write_mp4(installed / "shapes.mp4", moving_shapes(40, seed=1))
    for arguments in (
        ("train", "ghost", "--data", "normal", "-o", "models/ghost"),
        ("score", "shapes.mp4", "-m", model, "--engine", "ghost"),
        ("score", "ghost://1", "-m", model),
    ):
        ran = run(*arguments, "--json")
        assert ran.code != 0
        assert sentence in ran.error()["message"]
    (installed / "ghost.yaml").write_text(
        f"model: {model}\ncameras:\n  - id: a\n    source:\n      type: ghost\nsinks:\n  - type: ghost\n"
    )
    checked = run("config", "check", "ghost.yaml", "--json")
    assert checked.code == ExitCode.USAGE
    assert checked.error()["message"].count(sentence) == 2
    doctor = json.dumps(run("doctor", "--json").document())
    assert sentence in doctor
    assert run("models", "list", "--json").code == 0
    assert run("score", "shapes.mp4", "-m", model, "--no-plot", "--no-video", "-o", "after").code == 0
