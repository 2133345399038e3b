"""Anybody's data set: `training/` and `testing/` with videos or folders of frames, and frame labels.

    training/videos/*.mp4            or  training/frames/NAME/000.jpg, 001.jpg, …
    testing/videos/NAME.mp4          or  testing/frames/NAME/000.jpg, …
    testing/frame_labels/NAME.npy    (T,) or (1, T), 0 = normal, 1 = abnormal
    truth.json                       optional: the true events

Instead of `testing/frame_labels/` a layout met in practice has the labels of all test clips joined, in one
`frame_labels_*.npy`, or by clip in one `frame_labels.npz`, in the data set's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import (
    VIDEO_SUFFIXES,
    as_labels,
    folder_content,
    image_files,
    load_arrays,
    split_labels,
    video_facts,
)
from streamad.evaluation.datasets.records import Clip, Dataset, Labels


def load_folder(
    root: Path,
    *,
    name: str | None = None,
    fps: float | None = None,
    extra_labels: Sequence[Path] = (),
    label_set: str | None = None,
) -> Dataset:
    """Read a data set in the layout of this module. One of `training/` and `testing/` may be missing.

    Args:
        root: its folder.
        name: its name; the folder's, where None.
        fps: frames a second of folders of frames; a video says it itself.
        extra_labels: label files to try before those in `root`.
        label_set: what the labels are called in results; the file's name, where None.

    Raises:
        DatasetError: missing or empty folders, missing labels, or counts that disagree; names the path.
    """
    if not root.is_dir():
        raise DatasetError(f"the data set's folder {root} does not exist", hint="give its path with --data")
    training = _clips(root / "training", fps)
    testing = _clips(root / "testing", fps)
    if not training and not testing:
        raise DatasetError(
            f"{root} has neither training/videos, training/frames, testing/videos nor testing/frames",
            hint="expected e.g. training/videos/01.mp4, testing/videos/01.mp4 and testing/frame_labels/01.npy",
        )
    found = "none"
    if testing:
        labels, path = _labels(root, testing, extra_labels)
        testing = [_with_labels(clip, labels, path) for clip in testing]
        found = path.name
    rates = {clip.fps for clip in (*training, *testing)}
    truth = root / "truth.json"
    return Dataset(
        name=name or root.resolve().name,
        training=tuple(training),
        testing=tuple(testing),
        fps=rates.pop() if len(rates) == 1 else None,
        labels=label_set or found,
        truth=truth if truth.is_file() else None,
    )


def _clips(split: Path, fps: float | None) -> list[Clip]:
    """Clips of one split; none where the split's folder is missing, an error where it is empty."""
    videos, frames = split / "videos", split / "frames"
    if videos.is_dir() and frames.is_dir():
        raise DatasetError(f"{split} has both videos/ and frames/: which are the clips?", hint="keep one")
    clips: list[Clip] = []
    if videos.is_dir():
        for path in folder_content(videos):
            if path.suffix.lower() in VIDEO_SUFFIXES:
                count, rate = video_facts(path)
                clips.append(Clip(path.stem, path, "video", count, fps=rate or fps))
    elif frames.is_dir():
        clips = [
            Clip(path.name, path, "images", len(image_files(path)), fps=fps)
            for path in folder_content(frames)
            if path.is_dir()
        ]
    else:
        if split.is_dir():
            raise DatasetError(f"{split} has neither videos/ nor frames/")
        return []
    if not clips:
        raise DatasetError(f"{videos if videos.is_dir() else frames} holds no clip")
    names = [clip.name for clip in clips]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise DatasetError(f"{videos} holds several videos named {twice!r}", hint="clip names must differ")
    return clips


def _labels(root: Path, clips: list[Clip], extra: Sequence[Path]) -> tuple[dict[str, Labels], Path]:
    """Labels by clip name, and where they were found."""
    each = root / "testing" / "frame_labels"
    candidates = [*extra, each, root / "frame_labels.npz", *sorted(root.glob("frame_labels_*.np[yz]"))]
    path = next((p for p in candidates if p.exists()), None)
    if path is None:
        raise DatasetError(
            f"no frame labels for the test clips of {root}: looked for {each}, frame_labels.npz and frame_labels_*.npy",
            hint="one array of 0 and 1 a clip, testing/frame_labels/NAME.npy",
        )
    if path.is_dir():
        return {
            clip.name: as_labels(next(iter(load_arrays(path / f"{clip.name}.npy").values())), path) for clip in clips
        }, path
    arrays = load_arrays(path)
    if path.suffix == ".npy":
        joined = as_labels(next(iter(arrays.values())), path)
        return split_labels(joined, [c.name for c in clips], [c.frames for c in clips], path), path
    if len(arrays) != len(clips):
        raise DatasetError(f"{path}: labels of {len(arrays)} clips, but {root} has {len(clips)} test clips")
    return {name: as_labels(array, path) for name, array in arrays.items()}, path


def _with_labels(clip: Clip, labels: dict[str, Labels], path: Path) -> Clip:
    mine = labels.get(clip.name)
    if mine is None:
        # Test001, 01 and 1 are names of one clip in different packings of a data set.
        same = [value for name, value in labels.items() if _number(name) == _number(clip.name) is not None]
        mine = same[0] if len(same) == 1 else None
    if mine is None:
        raise DatasetError(f"{path} has no labels for clip {clip.name!r} ({clip.path})")
    if mine.size != clip.frames:
        raise DatasetError(
            f"{clip.path}: {clip.frames} frames, but {mine.size} labels in {path}",
            hint="is the data set complete, and are these the labels of this data set?",
        )
    return Clip(clip.name, clip.path, clip.kind, clip.frames, mine, clip.fps)


def _number(name: str) -> int | None:
    """The number that ends a plain clip name: 1 of '01' and 'Test001'; None of '01_0014'."""
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return int(digits) if digits.isdecimal() else None
