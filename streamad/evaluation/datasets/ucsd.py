"""The official layout of UCSD Ped1 and Ped2: Train/TrainNNN/*.tif, Test/TestNNN/*.tif, Test/UCSDpedN.m."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import folder_content, image_files
from streamad.evaluation.datasets.records import Clip, Dataset

FPS = 10.0
"""Frames a second of the UCSD sets (their authors' page)."""

_GT_FRAME = re.compile(r"^\s*TestVideoFile\{end\+1\}\.gt_frame\s*=\s*\[([^\]]*)\]", re.MULTILINE)
_INTERVAL = re.compile(r"(\d+)(?:\s*:\s*(\d+))?")


def load_official(root: Path, *, name: str) -> Dataset:
    """Read a UCSD set in its official layout.

    Args:
        root: the folder with `Train` and `Test`.
        name: "ped1" or "ped2"; names the `.m` file.

    Raises:
        DatasetError: a missing folder or `.m` file, or labels that do not fit the clips; names the path.
    """
    training = [
        Clip(path.name, path, "images", len(image_files(path)), fps=FPS)
        for path in _clip_folders(root / "Train", "Train")
    ]
    folders = _clip_folders(root / "Test", "Test")
    matlab = root / "Test" / f"UCSD{name}.m"
    intervals = read_gt_frames(matlab)
    if len(intervals) != len(folders):
        raise DatasetError(
            f"{matlab} labels {len(intervals)} clips, but {root / 'Test'} holds {len(folders)}",
            hint="is the data set complete?",
        )
    testing = []
    for path, of_clip in zip(folders, intervals, strict=True):
        frames = len(image_files(path))
        labels = np.zeros(frames, dtype=np.uint8)
        for first, last in of_clip:  # 1-based, both ends included
            if not 1 <= first <= last <= frames:
                raise DatasetError(
                    f"{matlab}: interval {first}:{last} of clip {path.name} does not fit the {frames} frames in {path}",
                    hint="is the data set complete?",
                )
            labels[first - 1 : last] = 1
        testing.append(Clip(path.name, path, "images", frames, labels, FPS))
    return Dataset(name, tuple(training), tuple(testing), FPS, matlab.name)


def read_gt_frames(path: Path) -> list[list[tuple[int, int]]]:
    """Intervals (first, last), 1-based, both included, of every test clip in a `UCSDpedN.m`.

    Raises:
        DatasetError: the file is missing or has no such lines.
    """
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise DatasetError(f"cannot read the labels {path}: {error.strerror or error}") from error
    clips = [
        [(int(first), int(last or first)) for first, last in _INTERVAL.findall(line)]
        for line in _GT_FRAME.findall(text)
    ]
    if not clips:
        raise DatasetError(f"{path} has no line 'TestVideoFile{{end+1}}.gt_frame = [a:b];'")
    return clips


def _clip_folders(split: Path, prefix: str) -> list[Path]:
    folders = [p for p in folder_content(split) if p.is_dir() and re.fullmatch(prefix + r"\d+", p.name)]
    if not folders:
        raise DatasetError(f"{split} holds no folder {prefix}001, {prefix}002, …")
    return folders
