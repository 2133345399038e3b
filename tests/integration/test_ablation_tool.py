"""tools/ablation.py, run as a user would, on a small data set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

TOOL = Path(__file__).parents[2] / "tools" / "ablation.py"


def write_digits(folder: Path) -> None:
    """Write ten classes of 28×28 pictures that differ in the position of a bar."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    arrays = {}
    for part, count in (("train", 20), ("test", 4)):
        labels = np.repeat(np.arange(10), count).astype(np.uint8)
        images = rng.integers(0, 40, (len(labels), 28, 28)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[2 * label + 2 : 2 * label + 6, 4:24] = rng.integers(150, 255)
        arrays |= {f"x_{part}": images, f"y_{part}": labels}
    np.savez(folder / "mnist.npz", **arrays)


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(TOOL), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_an_ablation_is_one_command_and_goes_on_where_it_was(tmp_path: Path) -> None:
    write_digits(tmp_path / "data")
    command = [
        "adacl-loss", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "out"), "--seeds", "1,2",
        "--classes", "7", "--threads", "1", "--option", "epochs=1", "--option", "batch=16",
        "--write", str(tmp_path / "page.md"),
    ]  # fmt: skip
    first = run(*command)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("seed") == 2 * 2
    page = (tmp_path / "page.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith(("| mse", "| bce"))]
    assert len(rows) == 2
    assert all(0 <= float(row.split("|")[2]) <= 100 for row in rows)
    again = run(*command)
    assert again.returncode == 0
    assert "seed" not in again.stderr  # nothing was retrained
    assert (tmp_path / "page.md").read_text() == page


def test_the_ablations_are_listed() -> None:
    listed = run("--list")
    assert listed.returncode == 0
    for name in ("adacl-loss", "adacl-labels", "adacl-augmentations", "adacl-intervals", "alps-perturbation"):
        assert name in listed.stdout
