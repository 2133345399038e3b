"""UCSD Ped1 and Ped2, 10 frames/s, in the official layout and as folders of numbered frames.

    Train/TrainNNN/*.tif   Test/TestNNN/*.tif   Test/UCSDpedN.m   Test/TestNNN_gt/*.bmp

Ped1, 238×158: 34 training clips (6800 frames) and 36 test clips (7200 frames, 4045 of them abnormal), pixel masks for
ten. Frame 142 of Test017 does not decode in the official release.
Ped2, 360×240: 16 training clips (2550 frames) and 12 test clips (2010 frames, 1648 of them abnormal), pixel masks for
all.
"""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

import numpy as np

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import Labels, content_of
from streamad.evaluation.datasets.folder import find_folder
from streamad.evaluation.datasets.layout import Found, FoundClip, clip_number
from streamad.evaluation.datasets.masks import MaskReader, bitmap_masks
from streamad.files import read_bytes

FPS = 10.0
"""Frames per second of the UCSD sets (their authors' page)."""

Intervals = list[tuple[int, int]]

_GT_FRAME = re.compile(r"^\s*TestVideoFile\{end\+1\}\.gt_frame\s*=\s*\[([^\]]*)\]", re.MULTILINE)
_INTERVAL = re.compile(r"(\d+)(?:\s*:\s*(\d+))?")


def find_ped1(root: Path, *, label_set: str | None = None, allow_pickle: bool = False) -> Found:
    """Find Ped1; see `find_ucsd`. It has only one label set, so `label_set` has no effect."""
    return find_ucsd(root, "ped1", allow_pickle=allow_pickle)


def find_ped2(root: Path, *, label_set: str | None = None, allow_pickle: bool = False) -> Found:
    """Find Ped2; see `find_ucsd`. It has only one label set, so `label_set` has no effect."""
    return find_ucsd(root, "ped2", allow_pickle=allow_pickle)


def find_ucsd(root: Path, name: str, *, allow_pickle: bool = False) -> Found:
    """Find a UCSD set in the official layout or in the common layout of `folder`.

    In the common layout, labels can also be in `frame_labels/pedN.npz` (clip → 0/1 per frame) or
    `frame_labels_pedN.npy` (all test clips concatenated), in the data set's folder or its parent.

    Args:
        root: The data set's folder, or a folder that contains it as `UCSDpedN`.
        name: "ped1" or "ped2".
        allow_pickle: See `load_arrays`.

    Raises:
        DatasetError: Folders or labels are missing; names the path.
    """
    for official in (root, root / f"UCSD{name}"):
        if (official / "Train").is_dir() or (official / "Test").is_dir():
            return find_official(official, name=name)
    return find_folder(
        root,
        name=name,
        fps=FPS,
        extra_labels=[
            place / label_file
            for label_file in (f"{name}.npz", f"frame_labels_{name}.npy")
            for place in (root / "frame_labels", root.parent / "frame_labels", root, root.parent)
        ],
        label_set=f"UCSD{name}.m",
        allow_pickle=allow_pickle,
    )


def find_official(root: Path, *, name: str) -> Found:
    """Find a UCSD set in its official layout.

    Args:
        root: The folder that contains `Train` and `Test`.
        name: "ped1" or "ped2"; names the `.m` file.

    Raises:
        DatasetError: A folder or the `.m` file is missing; names the path.
    """
    training = [FoundClip(path.name, path, "images") for path in _clip_folders(root / "Train", "Train")]
    testing = [FoundClip(path.name, path, "images") for path in _clip_folders(root / "Test", "Test")]
    matlab = root / "Test" / f"UCSD{name}.m"
    intervals = read_gt_frames(matlab)
    return Found(
        name=name,
        training=tuple(training),
        testing=tuple(testing),
        label_set=matlab.name,
        labels_of=partial(_labels, matlab, intervals),
        masks_of=_masks,
        fps=FPS,
        check=partial(_complete, matlab, len(intervals), root / "Test", len(testing)),
    )


def read_gt_frames(path: Path) -> list[Intervals]:
    """Intervals (first, last), 1-based, both included, of every test clip in a `UCSDpedN.m`.

    Raises:
        DatasetError: The file is missing or has no such lines.
    """
    try:
        text = read_bytes(path).decode("utf-8", "replace")
    except OSError as error:
        raise DatasetError(f"cannot read the labels {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DatasetError(f"cannot read the labels {path}: {error}") from error
    clips = [
        [(int(first), int(last or first)) for first, last in _INTERVAL.findall(line)]
        for line in _GT_FRAME.findall(text)
    ]
    if not clips:
        raise DatasetError(f"{path} has no line 'TestVideoFile{{end+1}}.gt_frame = [a:b];'")
    return clips


def _labels(matlab: Path, intervals: list[Intervals], clip: FoundClip, frames: int | None) -> Labels:
    """Labels of a clip by its number: Test003 has the third line, regardless of missing clips."""
    number = clip_number(clip.name)
    if number is None or not 1 <= number <= len(intervals):
        raise DatasetError(f"{matlab} labels {len(intervals)} clips, none of them {clip.name}")
    if frames is None:
        raise DatasetError(f"{clip.path} cannot be read, and {matlab} does not say how many frames it has")
    labels: Labels = np.zeros(frames, dtype=np.uint8)
    for first, last in intervals[number - 1]:  # 1-based, both ends included
        if not 1 <= first <= last <= frames:
            raise DatasetError(
                f"{matlab}: interval {first}:{last} of clip {clip.name} does not fit the {frames} frames in "
                f"{clip.path}",
                hint="is the data set complete?",
            )
        labels[first - 1 : last] = 1
    return labels


def _complete(matlab: Path, labeled: int, test: Path, clips: int) -> None:
    if labeled != clips:
        raise DatasetError(
            f"{matlab} labels {labeled} clips, but {test} holds {clips}", hint="is the data set complete?"
        )


def _masks(clip: FoundClip) -> MaskReader | None:
    folder = clip.path.with_name(f"{clip.name}_gt")
    return partial(bitmap_masks, folder) if folder.is_dir() else None


def _clip_folders(split: Path, prefix: str) -> list[Path]:
    folders = [p for p in content_of(split).folders if re.fullmatch(prefix + r"\d+", p.name)]
    if not folders:
        raise DatasetError(f"{split} contains no folders {prefix}001, {prefix}002, …")
    return folders
