"""The wheel as a user gets it: its name, its size, and what works outside a checkout."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml
from bundle_support import moving_shapes, write_mp4

from streamad.engines.tensorrt.library import EXTRAS
from streamad.errors import DISTRIBUTION, install_hint
from streamad.model_folders import CHECKOUT_ONLY

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
MEGABYTES = 30


def texts() -> dict[str, str]:
    """Map the path of every text file that git tracks to its content."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=False,
    )  # fmt: skip
    if listed.returncode:
        pytest.skip("not a git checkout")
    found = {}
    for name in listed.stdout.splitlines():
        try:
            found[name] = (ROOT / name).read_text(encoding="utf-8")
        except (UnicodeDecodeError, FileNotFoundError):
            continue
    return found


# ── Names ──────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_no_text_tells_anybody_to_install_the_other_project() -> None:
    wrong = re.compile(r"(?<![-\w])streamad\[[a-z]|pip3? install (?:-\S+ )*['\"]?streamad(?![-\w./])|readthedocs")
    found = {name: wrong.findall(text) for name, text in texts().items() if name != "tests/integration/test_wheel.py"}
    assert {name: hits for name, hits in found.items() if hits} == {}


def test_every_hint_names_an_extra_that_exists() -> None:
    code = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "streamad").rglob("*.py"))
    named = set(re.findall(r"install_hint\(['\"](\w+)['\"]\)", code)) | set(EXTRAS.values())
    assert {"train", "onnx", "int8", "evaluation", "gpu", "rtx"} <= named
    assert named <= set(PROJECT["project"]["optional-dependencies"])
    assert code.count("pip install '") == 1, "hints of missing extras come from errors.install_hint alone"
    assert PROJECT["project"]["name"] == DISTRIBUTION
    assert install_hint("onnx") == "pip install 'streamad-video[onnx]'"


def test_what_the_wheel_leaves_out_is_what_the_program_says_of_it() -> None:
    left_out = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["exclude"]
    assert sorted(left_out) == [f"/models/{name}" for name in CHECKOUT_ONLY]
    assert all((ROOT / "models" / name / "model.yaml").is_file() for name in CHECKOUT_ONLY)


# ── The wheel ──────────────────────────────────────────────────────────────────────────────────────────────────────


def ran(*command: str | Path, cwd: Path, code: int = 0) -> subprocess.CompletedProcess[str]:
    """Run a command outside the checkout, so that nothing is imported from it."""
    env = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "STREAMAD_MODELS")}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, env=env, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    assert done.returncode == code, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done


def pip(python: Path | str, *arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    quiet = ("--disable-pip-version-check", "--python", python)
    return ran(sys.executable, "-m", "pip", *quiet, *arguments, cwd=cwd)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("hatchling", reason="building the wheel needs hatchling (the extra `dev`)")
    folder = tmp_path_factory.mktemp("wheel")
    pip(sys.executable, "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", folder, ROOT, cwd=folder)
    (built,) = folder.iterdir()
    return built


def environment(folder: Path, wheel: Path) -> Path:
    """Create a virtual environment with the wheel, sharing this one's libraries; return its folder of programs."""
    venv.create(folder, symlinks=True)
    (site,) = folder.glob("lib/python*/site-packages")
    borrowed = folder / "borrowed"
    borrowed.mkdir()
    for path in (path for entry in sys.path if entry.endswith("-packages") for path in Path(entry).iterdir()):
        if "streamad" not in path.name and path.suffix != ".pth" and not (borrowed / path.name).exists():
            (borrowed / path.name).symlink_to(path)
    (site / "borrowed.pth").write_text(f"{borrowed}\n")
    pip(folder / "bin" / "python", "install", "-q", "--no-deps", wheel, cwd=folder)
    return folder / "bin"


@pytest.fixture(scope="module")
def programs(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return environment(tmp_path_factory.mktemp("environment"), wheel)


@pytest.mark.slow
def test_wheel_is_small_and_holds_models_and_examples(wheel: Path) -> None:
    assert wheel.name.startswith("streamad_video-")
    assert wheel.stat().st_size <= MEGABYTES * 2**20
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        (metadata,) = [name for name in names if name.endswith(".dist-info/METADATA")]
        described = Parser().parsestr(archive.read(metadata).decode())
    assert described["Name"] == "streamad-video"
    assert described.get_all("Project-URL") is None  # there is no website
    shipped = {name.split("/")[2] for name in names if name.startswith("streamad/_models/")}
    kept = {path.parent.name for path in (ROOT / "models").glob("*/model.yaml")} - set(CHECKOUT_ONLY)
    assert kept <= shipped
    assert shipped.isdisjoint(CHECKOUT_ONLY)
    examples = {path.name for path in (ROOT / "configs").iterdir()}
    assert {name.removeprefix("streamad/_configs/") for name in names if "/_configs/" in name} == examples
    assert not [
        name
        for name in names
        if name.startswith(("tests/", "docs/", "tools/", "scripts/", "benchmarks/", "experiments/"))
    ]


@pytest.mark.slow
def test_installed_package_works_outside_a_checkout(programs: Path, tmp_path: Path) -> None:
    streamad = programs / "streamad"
    where = ran(programs / "python", "-c", "import streamad; print(streamad.__file__)", cwd=tmp_path).stdout
    assert Path(where.strip()).is_relative_to(programs.parent)

    listed = json.loads(ran(streamad, "models", "list", "--json", cwd=tmp_path).stdout)["models"]
    assert {row["state"].split(",")[0] for row in listed} == {"ok"}
    assert {"motion-ped2", "learned-noise-light-ped2"} <= {row["name"] for row in listed}
    shown = json.loads(ran(streamad, "models", "show", "motion-ped2", "--json", cwd=tmp_path).stdout)
    assert Path(shown["path"]).is_relative_to(programs.parent)
    missing = ran(streamad, "models", "show", CHECKOUT_ONLY[0], cwd=tmp_path, code=4).stderr
    assert f"models/{CHECKOUT_ONLY[0]} of streamad's repository" in missing

    ran(streamad, "config", "init", "site.yaml", cwd=tmp_path)
    written = yaml.safe_load((tmp_path / "site.yaml").read_text(encoding="utf-8"))
    assert written["cameras"][0]["source"]["type"] == "rtsp"
    video = write_mp4(tmp_path / "shapes.mp4", moving_shapes(80, busy=((40, 70),)))
    written["cameras"][0]["source"] = {"type": "file", "path": str(video)}
    written["web"]["port"] = 0
    (tmp_path / "site.yaml").write_text(yaml.safe_dump(written))
    assert "is valid" in ran(streamad, "config", "check", "site.yaml", cwd=tmp_path).stderr

    ran(streamad, "score", video, "--model", "motion-ped2", "--no-video", "--out", "scored", cwd=tmp_path)
    assert (tmp_path / "scored" / f"{video.stem}.csv").is_file()


@pytest.mark.slow
@pytest.mark.alone
@pytest.mark.timeout(900)
def test_installed_demo_finds_its_anomalies(programs: Path, tmp_path: Path) -> None:
    demo = json.loads(ran(programs / "streamad", "demo", "--json", cwd=tmp_path).stdout)
    assert demo["found"] > 0
    assert all((tmp_path / path).is_file() for path in demo["files"].values())


@pytest.mark.slow
def test_hint_of_a_missing_extra_finds_the_installed_package(programs: Path, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="the extra's libraries must be there: nothing is fetched")
    wanted = install_hint("train").removeprefix("pip install ").strip("'")
    answer = pip(programs / "python", "install", "--no-index", wanted, cwd=tmp_path).stdout
    assert f"Requirement already satisfied: {wanted}" in answer


def namesake(folder: Path) -> Path:
    """Create a wheel like that of the other project: the same package name with different modules."""
    files = {
        "streamad/__init__.py": b'from . import model\n\n__version__ = "0.3.1"\n',
        "streamad/model/__init__.py": b"",
        "streamad-0.3.1.dist-info/METADATA": b"Metadata-Version: 2.1\nName: streamad\nVersion: 0.3.1\n"
        b"Summary: An anomaly detection package for data streams.\n",
        "streamad-0.3.1.dist-info/WHEEL": b"Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}"
        for name, data in files.items()
    ]
    path = folder / "streamad-0.3.1-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("streamad-0.3.1.dist-info/RECORD", "\n".join([*record, "streamad-0.3.1.dist-info/RECORD,,"]))
    return path


@pytest.mark.slow
def test_doctor_warns_of_the_other_project_and_its_removal_is_understood(wheel: Path, tmp_path: Path) -> None:
    programs = environment(tmp_path / "environment", wheel)
    python, streamad = programs / "python", programs / "streamad"
    assert "distribution streamad" not in parts(streamad, tmp_path)
    pip(python, "install", "-q", "--no-deps", namesake(tmp_path), cwd=tmp_path)
    warned = parts(streamad, tmp_path)["distribution streamad"]
    assert warned["state"] == "warning"
    assert "version 0.3.1 (An anomaly detection package for data streams.)" in warned["detail"]
    pip(python, "uninstall", "-q", "-y", "streamad", cwd=tmp_path)  # removes our __init__.py too
    assert "install streamad-video again" in ran(streamad, "doctor", cwd=tmp_path, code=1).stderr
    pip(python, "install", "-q", "--no-deps", "--force-reinstall", wheel, cwd=tmp_path)
    assert parts(streamad, tmp_path)["streamad"]["state"] == "ok"


def parts(streamad: Path, cwd: Path) -> dict[str, dict[str, str]]:
    """Return the rows of `streamad doctor`, by subject."""
    checks = json.loads(ran(streamad, "doctor", "--json", cwd=cwd).stdout)["checks"]
    return {row["part"]: row for row in checks}
