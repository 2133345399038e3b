"""The tutorials, executed as written: files saved under their titles, Python and commands run in order.

Excerpts from the example plugin must occur in its files.
"""

from __future__ import annotations

import csv
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.timeout(900)

ROOT = Path(__file__).resolve().parents[2]
TUTORIALS = ROOT / "docs" / "tutorials"
PLUGIN = ROOT / "examples" / "plugin"
FENCE = re.compile(r'^```(\w+)(?: title="([^"]+)")?\n(.*?)^```$', re.MULTILINE | re.DOTALL)


def steps(page: str) -> Iterator[tuple[str, str, str]]:
    """Generate (language, title, text) of each block, in order."""
    yield from FENCE.findall((TUTORIALS / page).read_text(encoding="utf-8"))


def run(arguments: list[str], folder: Path) -> str:
    path = os.pathsep.join(filter(None, [str(folder / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")]))
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
    return done.stdout + done.stderr


def carry_out(page: str, folder: Path) -> dict[str, str]:
    """Run a tutorial; return the output of each titled program and each command.

    A block of text shows lines of the output before it, with "…" for those that are left out.
    """
    printed: dict[str, str] = {}
    for language, title, text in steps(page):
        if title.startswith("framediff/"):
            continue
        if title:
            (folder / title).write_text(text, encoding="utf-8")
        if language == "python":
            assert title, "a program of a tutorial has a title, under which it is saved"
            printed[title] = run([title], folder)
        elif language == "console":
            for line in text.splitlines():
                command = shlex.split(line)
                assert command[0] == "streamad"
                printed[line] = run(["-m", "streamad", *command[1:]], folder)
        elif language == "text":
            output = list(printed.values())[-1].splitlines()
            assert set(text.splitlines()) - {"…"} <= set(output), output
    return printed


def test_excerpts_occur_in_the_example_plugin() -> None:
    excerpts = [(title, text) for _, title, text in steps("first-detector.md") if title.startswith("framediff/")]
    assert excerpts
    for title, text in excerpts:
        assert text in (PLUGIN / title).read_text(encoding="utf-8"), f"not in {title}: {text}"


@pytest.mark.slow
def test_first_camera(tmp_path: Path) -> None:
    printed = carry_out("first-camera.md", tmp_path)
    promised = next(text for language, _, text in steps("first-camera.md") if language == "text")
    assert printed["scene.py"] == promised
    truth = [[float(x) for x in re.findall(r"[\d.]+", line)] for line in reversed(promised.splitlines())]
    events = [[float(x) for x in re.findall(r"[\d.]+", line)[:2]] for line in printed["events.py"].splitlines()]
    assert len(events) == len(truth) == 2
    for (start, end), (true_start, true_end) in zip(events, truth, strict=True):
        assert start < true_end
        assert end > true_start
    with (tmp_path / "runs" / "score" / "01.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 480
    assert (tmp_path / "runs" / "score" / "01.png").stat().st_size > 10_000


@pytest.mark.slow
def test_first_data_set(tmp_path: Path) -> None:
    printed = carry_out("first-data-set.md", tmp_path)
    protocols = {}
    for name in ("motion", "adacl"):
        result = json.loads((tmp_path / "results" / name / "result.json").read_text(encoding="utf-8"))
        assert result["data_set"] == "walkway"
        assert (tmp_path / "results" / name / "report.html").is_file()
        protocols[name] = {protocol["normalization"] for protocol in result["protocols"]}
    assert protocols["motion"] == {"calibrated", "raw", "running", "per_video"}
    assert protocols["adacl"] == {"raw", "running", "per_video"}
    assert "| per_video: EER |" in printed["streamad compare results/motion results/adacl"]
    auc = re.search(r"micro AUC ([\d.]+)", printed["own.py"])
    assert auc is not None
    # Two normal distributions one unit apart, of standard deviation 0.8: Φ(1 / (0.8·√2)) = 0.81.
    assert float(auc[1]) == pytest.approx(0.81, abs=0.03)


@pytest.mark.slow
def test_first_detector(tmp_path: Path) -> None:
    for module in ("pip", "hatchling"):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"installing the plugin needs {module}")
    run(
        ["-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation", "--no-index",
         "--disable-pip-version-check", "--target", "site", str(PLUGIN)],
        tmp_path,
    )  # fmt: skip
    printed = carry_out("first-detector.md", tmp_path)
    result = json.loads((tmp_path / "results" / "difference" / "result.json").read_text(encoding="utf-8"))
    assert {protocol["normalization"] for protocol in result["protocols"]} >= {"calibrated", "raw"}
    assert "| per_video: EER |" in printed["streamad compare results/motion results/difference"]
