"""Validation: what is wrong with a copy is named, clip by clip, and nothing ends it early."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamad.evaluation.datasets import find_dataset
from streamad.evaluation.datasets.manifest import OfficialCounts, official_counts
from streamad.evaluation.datasets.validate import validate_dataset

COUNTS = OfficialCounts(
    size=(24, 16),
    masks=2,
    training_clips=1,
    training_frames=3,
    training={"Train001": 3},
    testing={"Test001": 6, "Test002": 5},
    abnormal={"UCSDped1.m": {"Test001": 4, "Test002": 5}},
)


def write_frames(folder: Path, frames: int, suffix: str = "tif") -> None:
    folder.mkdir(parents=True)
    for k in range(1, frames + 1):
        cv2.imwrite(str(folder / f"{k:03d}.{suffix}"), np.full((16, 24), 9 * k, np.uint8))


@pytest.fixture
def ped1(tmp_path: Path) -> Path:
    root = tmp_path / "UCSDped1"
    write_frames(root / "Train" / "Train001", 3)
    for name, frames in (("Test001", 6), ("Test002", 5)):
        write_frames(root / "Test" / name, frames)
        write_frames(root / "Test" / f"{name}_gt", frames, "bmp")
    lines = ["TestVideoFile = {};", *(f"TestVideoFile{{end+1}}.gt_frame = {i};" for i in ("[2:3, 5:6]", "[1:5]"))]
    (root / "Test" / "UCSDped1.m").write_text("\n".join(lines))
    return root


def test_a_complete_copy(ped1: Path) -> None:
    result = validate_dataset(find_dataset("ped1", ped1), COUNTS)
    assert result.ok
    assert [(c.split, c.name, c.frames, c.abnormal, c.masks) for c in result.clips] == [
        ("training", "Train001", 3, None, None),
        ("testing", "Test001", 6, 4, 6),
        ("testing", "Test002", 5, 5, 5),
    ]


def test_everything_that_is_wrong_is_named(ped1: Path) -> None:
    """A frame that does not decode, one of another size, one too few, a mask too few, a clip too many, one missing."""
    (ped1 / "Test" / "Test001" / "004.tif").write_bytes(b"no picture")
    cv2.imwrite(str(ped1 / "Test" / "Test001" / "005.tif"), np.zeros((8, 8), np.uint8))
    (ped1 / "Test" / "Test002" / "005.tif").unlink()
    (ped1 / "Test" / "Test001_gt" / "001.bmp").unlink()
    shutil.move(ped1 / "Train" / "Train001", ped1 / "Train" / "Train009")
    result = validate_dataset(find_dataset("ped1", ped1), COUNTS)
    assert not result.ok
    assert result.missing == ("training/Train001",)
    assert result.extra == ("training/Train009",)
    one, two = (clip for clip in result.clips if clip.split == "testing")
    assert one.undecodable == ("004.tif",)
    assert one.frames == 6
    assert [p.split(":")[0] for p in one.problems] == [
        "1 frames do not decode",
        "frames of different sizes",
        "5 masks for 6 frames",
    ]
    assert two.frames == 4
    assert two.problems[0] == "4 frames, officially 5"
    assert "interval 1:5 of clip Test002 does not fit the 4 frames" in two.problems[1]


def test_labels_that_differ_from_the_official_ones(ped1: Path) -> None:
    text = (ped1 / "Test" / "UCSDped1.m").read_text()
    (ped1 / "Test" / "UCSDped1.m").write_text(text.replace("5:6", "5:5"))
    result = validate_dataset(find_dataset("ped1", ped1), COUNTS, decode=False)
    assert [clip.problems for clip in result.clips] == [(), ("3 abnormal frames, officially 4",), ()]


def test_a_copy_without_official_counts_is_held_against_its_own_labels(ped1: Path) -> None:
    assert validate_dataset(find_dataset("ped1", ped1)).ok
    assert not validate_dataset(find_dataset("ped1", ped1)).official


def test_the_official_counts_are_the_published_totals() -> None:
    """Frames and abnormal frames as the sets' papers and the community's label files have them."""
    totals = {
        name: (
            counts.training_clips,
            counts.training_frames,
            len(counts.testing),
            sum(counts.testing.values()),
            {label_set: sum(clips.values()) for label_set, clips in counts.abnormal.items()},
        )
        for name, counts in official_counts().items()
    }
    assert totals == {
        "ped1": (34, 6800, 36, 7200, {"UCSDped1.m": 4045}),
        "ped2": (16, 2550, 12, 2010, {"UCSDped2.m": 1648}),
        "avenue": (16, 15328, 21, 15324, {"official": 3712, "future_frame_prediction": 3867}),
        "shanghaitech": (330, None, 107, 40791, {"test_frame_mask": 17326}),
    }
    for counts in official_counts().values():
        assert counts.training is None or sum(counts.training.values()) == counts.training_frames
        assert all(set(clips) == set(counts.testing) for clips in counts.abnormal.values())


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", "streamad", "datasets", *arguments], capture_output=True, text=True)


def test_the_command_says_what_is_wrong_and_ends_with_5(ped1: Path) -> None:
    done = run("validate", "ped1", "--data", str(ped1), "--quick", "--json")
    document = json.loads(done.stdout)
    assert done.returncode == 5
    assert not document["ok"]
    assert len(document["missing"]) == 33 + 34
    assert document["clips"][1]["expected"] == 200
    shown = run("validate", "ped1", "--data", str(ped1), "--quick")
    assert "missing: training/Train002" in shown.stdout
    assert "3 clips with problems, 67 missing, 0 extra" in shown.stderr


def test_the_command_lists_the_known_sets() -> None:
    done = run("list", "--json")
    assert [row["name"] for row in json.loads(done.stdout)["datasets"]] == ["ped1", "ped2", "avenue", "shanghaitech"]


@pytest.mark.data
def test_the_real_ped2_is_complete() -> None:
    root = os.environ.get("STREAMAD_DATA")
    if not root:
        pytest.skip("STREAMAD_DATA is not set")
    result = validate_dataset(find_dataset("ped2", Path(root)), official_counts()["ped2"], decode=False)
    assert result.ok
    assert len(result.clips) == 28
