"""The examples run unmodified as programs, and print what their text promises."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shared folder, as for a user who runs one example after the other, so that the scene is rendered once."""
    return tmp_path_factory.mktemp("examples")


def run(name: str, folder: Path) -> str:
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), str(folder)],
        cwd=folder,
        env={"MPLBACKEND": "agg", "PYTHONPATH": str(ROOT), "HOME": str(folder), "PATH": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_score_a_file(folder: Path) -> None:
    printed = run("score_a_file.py", folder)
    auc = re.search(r"frame AUC ([\d.]+)", printed)
    assert auc is not None
    assert float(auc[1]) > 0.9
    assert "478 of 480 frames scored; the others: warming_up" in printed
    assert (folder / "score_a_file.png").stat().st_size > 10_000


@pytest.mark.slow
def test_learn_a_camera(folder: Path) -> None:
    printed = run("learn_a_camera.py", folder)
    assert "2 of 2 anomalies found, 0 false alerts" in printed
    assert (folder / "walkway" / "model.yaml").is_file()


@pytest.mark.slow
def test_evaluate_a_method(folder: Path) -> None:
    printed = run("evaluate_a_method.py", folder)
    figures = {
        (who, protocol): float(auc)
        for who, protocol, auc in re.findall(r"^(\w+) +(\w+) +micro AUC ([\d.]+)", printed, re.M)
    }
    assert {protocol for who, protocol in figures if who == "motion"} == {"calibrated", "raw", "running", "per_video"}
    assert ("adacl", "calibrated") not in figures
    made_up = {name: float(auc) for name, auc in re.findall(r"made-up scores, (\w+) +micro AUC ([\d.]+)", printed)}
    assert made_up["raw"] < 0.6 < 0.8 < made_up["per_video"]
    assert (folder / "results" / "motion-report" / "report.html").is_file()


def test_every_example_is_tested() -> None:
    tests = [Path(__file__), Path(__file__).with_name("test_notifications.py")]
    named = "".join(path.read_text(encoding="utf-8") for path in tests)
    assert [path.name for path in (ROOT / "examples").glob("*.py") if f'"{path.name}"' not in named] == []
