"""Custom data sets: `training/` and `testing/` with videos or folders of frames, and frame labels.

    training/videos/*.mp4            or  training/frames/NAME/000.jpg, 001.jpg, …
    testing/videos/NAME.mp4          or  testing/frames/NAME/000.jpg, …
    testing/frame_labels/NAME.npy    (T,) or (1, T), 0 = normal, 1 = abnormal
    testing/pixel_masks/NAME.npy     optional: (T, height, width), over 0 = abnormal; or pixel_masks.npz by clip
    truth.json                       optional: the true events

Instead of `testing/frame_labels/`, the data set's folder may contain the concatenated labels of all test clips in one
`frame_labels_*.npy`, or labels by clip in one `frame_labels.npz`, as some data sets do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import (
    Labels,
    as_labels,
    content_of,
    joined_order,
    load_arrays,
    shown_order,
    split_labels,
)
from streamad.evaluation.datasets.layout import Found, FoundClip, LabelReader, same_clip
from streamad.evaluation.datasets.masks import MaskReader, array_masks


def find_folder(
    root: Path,
    *,
    name: str | None = None,
    fps: float | None = None,
    extra_labels: Sequence[Path] = (),
    label_set: str | None = None,
    mask_folders: Sequence[str] = ("testing/pixel_masks",),
    allow_pickle: bool = False,
) -> Found:
    """Find a data set in the layout of this module. Either `training/` or `testing/` may be missing.

    Args:
        root: The data set's folder.
        name: Name of the data set. Default: the folder's name.
        fps: Frames per second of folders of frames; videos have their own.
        extra_labels: Label files, or folders with one file per clip, to try before those in `root`.
        label_set: Name of the labels in results. Default: the file's name.
        mask_folders: Folders to search for masks, NAME.npy.
        allow_pickle: See `load_arrays`.

    Raises:
        DatasetError: Folders are missing or empty, or there are no labels; names the path.
    """
    if not root.is_dir():
        raise DatasetError(f"the data set's folder {root} does not exist", hint="specify its path with --data")
    training, testing = _clips(root / "training"), _clips(root / "testing")
    if not training and not testing:
        raise DatasetError(
            f"{root} has neither training/videos, training/frames, testing/videos nor testing/frames",
            hint="expected e.g. training/videos/01.mp4, testing/videos/01.mp4 and testing/frame_labels/01.npy",
        )
    labels_of: LabelReader = _unlabeled
    check: Callable[[], None] = _nothing
    found = "none"
    notes = [note for split in ("training", "testing") for note in _beside(root / split / "videos")]
    if testing:
        path = _label_place(root, extra_labels, allow_pickle)
        found = path.name
        if path.is_dir():
            labels_of = partial(_labels_in, path, allow_pickle)
        elif path.suffix == ".npy":
            labels_of = _Joined(path, testing, allow_pickle)
            notes += labels_of.notes
        else:
            by_clip = load_arrays(path, allow_pickle=allow_pickle)
            labels_of = partial(labels_by_clip, path, {n: as_labels(array, path) for n, array in by_clip.items()})
            check = partial(_same_number, path, len(by_clip), len(testing), root)
    truth = root / "truth.json"
    return Found(
        name=name or root.resolve().name,
        training=tuple(training),
        testing=tuple(testing),
        label_set=label_set or found,
        labels_of=labels_of,
        masks_of=partial(_masks, root, mask_folders),
        fps=fps,
        truth=truth if truth.is_file() else None,
        check=check,
        notes=tuple(notes),
    )


def _beside(videos: Path) -> list[str]:
    """A note about images next to the videos of a split."""
    images = len(content_of(videos).images) if videos.is_dir() else 0
    return [f"{videos}: {images} images beside the videos left out"] if images else []


def _nothing() -> None: ...


def _unlabeled(clip: FoundClip, frames: int | None) -> Labels:
    raise DatasetError(f"no frame labels of clip {clip.name!r} with {frames} frames")


def _clips(split: Path) -> list[FoundClip]:
    """Clips of one split: none if the split's folder is missing, an error if it is empty."""
    videos, frames = split / "videos", split / "frames"
    if videos.is_dir() and frames.is_dir():
        raise DatasetError(
            f"{split} has both videos/ and frames/; it is unclear which are the clips", hint="remove one of them"
        )
    clips: list[FoundClip] = []
    if videos.is_dir():
        clips = [FoundClip(path.stem, path, "video") for path in content_of(videos).videos]
    elif frames.is_dir():
        clips = [FoundClip(path.name, path, "images") for path in content_of(frames).folders]
    else:
        if split.is_dir():
            raise DatasetError(f"{split} has neither videos/ nor frames/")
        return []
    if not clips:
        raise DatasetError(f"{videos if videos.is_dir() else frames} contains no clips")
    names = [clip.name for clip in clips]
    if len(set(names)) < len(names):
        twice = next(n for n in names if names.count(n) > 1)
        raise DatasetError(f"{videos} contains several videos named {twice!r}", hint="clip names must differ")
    return clips


def _label_place(root: Path, extra: Sequence[Path], allow_pickle: bool) -> Path:
    """The file, or the folder with one file per clip, that contains the labels."""
    each = root / "testing" / "frame_labels"
    candidates = [*extra, each, root / "frame_labels.npz", *sorted(root.glob("frame_labels_*.np[yz]"))]
    if allow_pickle:
        candidates += [*sorted(root.glob("frame_labels*.pkl")), *sorted(root.glob("frame_labels*.pickle"))]
    path = next((p for p in candidates if p.exists()), None)
    if path is None:
        raise DatasetError(
            f"no frame labels for the test clips of {root}: looked for {each}, frame_labels.npz and frame_labels_*.npy",
            hint="provide one array of 0 and 1 per clip, testing/frame_labels/NAME.npy",
        )
    return path


def _labels_in(folder: Path, allow_pickle: bool, clip: FoundClip, frames: int | None) -> Labels:
    path = folder / f"{clip.name}.npy"
    labels = as_labels(next(iter(load_arrays(path, allow_pickle=allow_pickle).values())), path)
    _expect(labels, frames, clip, folder)
    return labels


def labels_by_clip(path: Path, labels: dict[str, Labels], clip: FoundClip, frames: int | None) -> Labels:
    """Labels of one clip from those of all, by its name or number; raises DatasetError if they do not match."""
    name = same_clip(clip.name, list(labels))
    if name is None:
        raise DatasetError(f"{path} has no labels for clip {clip.name!r} ({clip.path})")
    _expect(labels[name], frames, clip, path)
    return labels[name]


def _same_number(path: Path, labeled: int, clips: int, root: Path) -> None:
    if labeled != clips:
        raise DatasetError(f"{path}: labels of {labeled} clips, but {root} has {clips} test clips")


def _expect(labels: Labels, frames: int | None, clip: FoundClip, path: Path) -> None:
    if frames is not None and labels.size != frames:
        raise DatasetError(
            f"{clip.path}: {frames} frames, but {labels.size} labels in {path}",
            hint="is the data set complete, and are these the labels of this data set?",
        )


class _Joined:
    """Labels of all test clips in one array, split by the clips' frames, or an array of arrays, one per clip."""

    def __init__(self, path: Path, clips: Sequence[FoundClip], allow_pickle: bool) -> None:
        self.path, self.clips = path, clips
        self._parts = {
            name: as_labels(array, path) for name, array in load_arrays(path, allow_pickle=allow_pickle).items()
        }
        self._by_name: dict[str, Labels] | None = None
        order = joined_order([clip.name for clip in clips], path)
        self.notes = [f"the concatenated labels were assigned to the clips in the order {shown_order(order)}"] * (
            len(order) > 1
        )

    def __call__(self, clip: FoundClip, frames: int | None) -> Labels:
        if self._by_name is None:
            self._by_name = self._cut()
        _expect(self._by_name[clip.name], frames, clip, self.path)
        return self._by_name[clip.name]

    def _cut(self) -> dict[str, Labels]:
        names = [clip.name for clip in self.clips]
        if len(self._parts) == len(names) > 1:
            own = [same_clip(name, list(self._parts)) for name in names]
            order = own if None not in own and len(set(own)) == len(own) else list(self._parts)
            return {name: self._parts[str(part)] for name, part in zip(names, order, strict=True)}
        if len(self._parts) > 1:
            raise DatasetError(
                f"{self.path}: labels of {len(self._parts)} clips, but there are {len(names)} test clips"
            )
        (joined,) = self._parts.values()
        return split_labels(joined, names, self._lengths(joined.size), self.path)

    def _lengths(self, labels: int) -> list[int]:
        """Frames of each clip: the declared number if a video was cut off, the readable ones if it is damaged."""
        counted: list[int | None] = []
        broken: DatasetError | None = None
        for clip in self.clips:
            try:
                counted.append(clip.facts()[0])
            except DatasetError as error:
                if broken is not None:  # two unknown lengths cannot be told apart
                    raise
                broken = error
                counted.append(None)
        if sum(frames or 0 for frames in counted) != labels:
            pairs = zip(counted, self.clips, strict=True)
            counted = [frames and clip.facts(decode=True)[0] for frames, clip in pairs]
        if sum(frames or 0 for frames in counted) != labels:
            counted = [
                frames and max(frames, clip.declared()) for frames, clip in zip(counted, self.clips, strict=True)
            ]
        left = labels - sum(frames or 0 for frames in counted)
        if broken is not None and left <= 0:
            raise broken
        return [left if frames is None else frames for frames in counted]


def _masks(root: Path, folders: Sequence[str], clip: FoundClip) -> MaskReader | None:
    for folder in folders:
        path = root / folder / f"{clip.name}.npy"
        if path.is_file():
            return partial(array_masks, path, path.stem)
    joined = root / "pixel_masks.npz"
    return partial(array_masks, joined, clip.name) if joined.is_file() else None
