"""An inference installation has no torch: scoring, monitoring and everything around them run without it.

Every process started here, including decoder processes, is prevented from importing the packages of the extras. The
test itself needs torch to create its small model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2
import pytest
import yaml
from bundle_support import THRESHOLD
from cli_support import Ran, streamad
from motion_support import walkers, world

from streamad.bundle import load_bundle
from streamad.errors import ExitCode

BLOCKED = (
    "torch",
    "onnxscript",
    "onnxruntime",
    "sklearn",
    "scipy",
    "tensorrt",
    "tensorrt_rtx",
    "pycuda",
    "ray",
)

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Environment with a `sitecustomize` that makes `import torch` fail as if it were not installed."""
    folder = tmp_path_factory.mktemp("site")
    lines = "".join(f"sys.modules[{name!r}] = None\n" for name in BLOCKED)
    (folder / "sitecustomize.py").write_text(f"import sys\n{lines}")
    return {"PYTHONPATH": str(folder)}


def without(environment: dict[str, str], cwd: Path, *arguments: str | Path) -> Ran:
    return streamad(*arguments, cwd=cwd, env=environment)


def test_the_block_works(environment: dict[str, str], tmp_path: Path) -> None:
    for name in ("torch", "onnxruntime", "scipy"):
        ran = subprocess.run(
            [sys.executable, "-c", f"import {name}"], env=environment, capture_output=True, check=False, cwd=tmp_path
        )
        assert b"ModuleNotFoundError" in ran.stderr


def test_help_of_every_command(environment: dict[str, str], tmp_path: Path) -> None:
    ran = without(environment, tmp_path, "--help")
    assert ran.code == 0
    assert "score" in ran.out
    assert "train" in ran.out


def test_doctor_says_what_is_missing_and_how_to_get_it(environment: dict[str, str], tmp_path: Path) -> None:
    ran = without(environment, tmp_path, "doctor", "--json")
    assert ran.code == 0
    checks = {row["part"]: row for row in ran.document()["checks"]}
    assert checks["engine openvino"]["state"] == "ok"
    assert checks["engine torch"]["state"] == checks["engine onnx"]["state"] == "no"
    assert "streamad-video[train]" in checks["engine torch"]["detail"]


def test_score_writes_everything(
    environment: dict[str, str], small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    ran = without(
        environment, tmp_path, "score", shapes_video, "-m", small_bundle, "-o", "out", "--threshold", str(THRESHOLD),
        "--json",
    )  # fmt: skip
    assert ran.code == 0, ran.err
    assert ran.document()["results"][0]["alerts"] == 1
    assert {p.name for p in (tmp_path / "out").iterdir()} == {"shapes.csv", "shapes.png", "shapes.mp4"}


def test_run_watches_with_decoders_and_the_page(
    environment: dict[str, str], small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    document = {
        "model": str(small_bundle),
        "cameras": [{"id": "a", "source": {"type": "file", "path": str(shapes_video)}, "threshold": THRESHOLD}],
        "web": {"port": 0},
        "events": {"path": str(tmp_path / "events.sqlite")},
        "sinks": [{"type": "jsonl", "path": str(tmp_path / "events.jsonl")}],
    }
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(document))
    ran = without(environment, tmp_path, "run", "site.yaml", "--once", "--json")
    assert ran.code == 0, ran.err
    assert ran.document()["cameras"][0]["scored"] == 100
    kinds = [json.loads(line)["kind"] for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert kinds == ["opened", "closed"]


def test_calibrating_needs_no_torch_either(
    environment: dict[str, str], small_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    ran = without(environment, tmp_path, "calibrate", small_bundle, "--data", shapes_video, "-o", "own.json", "--json")
    assert ran.code == 0, ran.err
    assert (tmp_path / "own.json").exists()


@pytest.mark.slow
def test_a_camera_s_own_model_is_fitted_and_calibrated(environment: dict[str, str], tmp_path: Path) -> None:
    for clip in range(4):
        folder = tmp_path / "normal" / f"{clip}"
        folder.mkdir(parents=True)
        for frame in world(walkers(16, seed=clip), 16.0, fps=10, seed=clip):
            cv2.imwrite(str(folder / f"{frame.index:03d}.png"), frame.pixels)
    ran = without(
        environment, tmp_path, "train", "motion", "--data", "normal", "--fps", "10", "-o", "models/wall", "--json"
    )
    assert ran.code == 0, ran.err
    assert ran.document()["parity_max_abs"] < 1e-3
    bundle = load_bundle(tmp_path / "models" / "wall")
    assert bundle.manifest.training.frames == 640  # no frame is held out
    assert bundle.calibration_path is not None
    shown = without(environment, tmp_path, "score", "normal/3", "-m", "models/wall", "--no-video", "--json")
    assert shown.code == 0, shown.err


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("export", "BUNDLE"), "streamad-video[train]"),
        (("train", "adacl", "--data", "VIDEO", "-o", "x"), "streamad-video[train]"),
        (("score", "VIDEO", "-m", "BUNDLE", "--engine", "torch"), "streamad-video[train]"),
        (("score", "VIDEO", "-m", "BUNDLE", "--engine", "onnx"), "streamad-video[onnx]"),
        (("score", "VIDEO", "-m", "BUNDLE", "--engine", "tensorrt"), "streamad-video[gpu]"),
        (("score", "VIDEO", "-m", "BUNDLE", "--engine", "tensorrt-rtx"), "streamad-video[rtx]"),
    ],
)
def test_what_needs_an_extra_names_it_and_never_falls_back(
    environment: dict[str, str],
    small_bundle: Path,
    shapes_video: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    word: str,
) -> None:
    given = [{"BUNDLE": str(small_bundle), "VIDEO": str(shapes_video)}.get(word, word) for word in arguments]
    ran = without(environment, tmp_path, *given, "--json")
    assert ran.code == 4, ran.err
    error = ran.error()
    assert word in f"{error['message']} {error['hint']}"


_IMPORT_ALL = """
import importlib, pkgutil, sys
import streamad
# Only networks, training steps, the training loop, torch engines and export may import torch (pyproject.toml).
allowed = (
    "streamad.training", "streamad.engines.torch_engine",
    "streamad.engines.torch_stateful", "streamad.engines.export", "streamad.engines.graph_writer",
    "streamad.engines.half", "streamad.__main__",
)
for module in pkgutil.walk_packages(streamad.__path__, "streamad."):
    name = module.name
    own = (".network", ".training", ".losses", ".teacher", ".streaming", "_graph")
    if name.startswith(allowed) or name.endswith(own):
        continue
    importlib.import_module(name)
assert not [name for name in sys.modules if name.split(".")[0] == "torch" and sys.modules[name] is not None]
"""


def test_a_network_that_carries_state_scores_video(
    environment: dict[str, str], narrow_bundle: Path, shapes_video: Path, tmp_path: Path
) -> None:
    arguments = ("score", str(shapes_video), "-m", str(narrow_bundle), "--no-video", "--no-plot", "--threads", "1")
    ran = without(environment, tmp_path, *arguments, "-o", str(tmp_path / "out"), "--json")
    assert ran.code == 0, ran.err
    rows = (tmp_path / "out" / "shapes.csv").read_text().splitlines()
    assert len(rows) == 1 + 100
    assert all(",window," in row for row in rows[-7:])  # no window covers the last seven
    assert ",window," not in rows[-8]


def test_every_other_module_imports_without_it(environment: dict[str, str], tmp_path: Path) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _IMPORT_ALL],
        env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr


def test_loading_a_bundle_runs_no_pickle(small_bundle: Path) -> None:
    """A bundle contains only text, ONNX and safetensors: nothing that could run code."""
    for name in load_bundle(small_bundle).manifest.files:
        content = (small_bundle / name).read_bytes()
        assert name.rsplit(".", 1)[1] in {"onnx", "safetensors", "json", "md"}
        assert not content.startswith(
            (b"\x80\x02", b"\x80\x04", b"\x80\x05", b"PK")
        )  # pickles, and torch's zip files of pickles


def test_learning_a_network_is_refused_before_anything_is_recorded(
    environment: dict[str, str], shapes_video: Path, tmp_path: Path
) -> None:
    ran = without(environment, tmp_path, "learn", shapes_video, "--out", "gate", "--detector", "adacl")
    assert ran.code == ExitCode.ENGINE
    assert "training adacl needs the module torch" in ran.err
    assert "streamad-video[train]" in ran.err
    assert not (tmp_path / "gate").exists()
