"""Check whether a copy of a data set is complete: clips against official counts, labels, masks, and frames."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import image_files, opened_video
from streamad.evaluation.datasets.layout import Found, FoundClip, same_clip
from streamad.evaluation.datasets.manifest import OfficialCounts, official_counts
from streamad.evaluation.datasets.records import Clip, Dataset
from streamad.frame import FrameFlags
from streamad.protocols import Progress, no_progress
from streamad.sources.images import is_damaged, read_gray

Split = Literal["training", "testing"]

_DIFFERENCES = 5
"""Differences to the official counts that a note names."""


@dataclass(frozen=True)
class ClipCheck:
    """The findings for one clip.

    Attributes:
        split: "training" or "testing".
        name: Name of the clip.
        frames: Number of frames found; None if it cannot be read.
        expected: Number of frames it should have; None if unknown.
        abnormal: Number of abnormal frames by its labels; None for training clips, and if labels are missing.
        expected_abnormal: Number it should have.
        masks: Number of frames with a pixel mask; None if there are none, or they were not read.
        undecodable: Frames that do not decode, or only with errors: file names, or positions in a video.
        problems: Everything that is wrong with it, as text.
    """

    split: Split
    name: str
    frames: int | None
    expected: int | None
    abnormal: int | None
    expected_abnormal: int | None
    masks: int | None
    undecodable: tuple[str, ...]
    problems: tuple[str, ...]


@dataclass(frozen=True)
class Validation:
    """The findings for a data set.

    Attributes:
        name: Name of the data set.
        label_set: The labels that were compared.
        clips: One entry for each clip found.
        missing: Official clips that are missing, as "testing/Test003".
        extra: Clips that the official set does not have.
        problems: What is wrong with the set as a whole.
        decoded: Whether every frame and every mask was decoded.
        official: Whether official counts were available for comparison.
    """

    name: str
    label_set: str
    clips: tuple[ClipCheck, ...]
    missing: tuple[str, ...]
    extra: tuple[str, ...]
    problems: tuple[str, ...]
    decoded: bool
    official: bool

    @property
    def ok(self) -> bool:
        """Whether nothing is missing, extra, undecodable, or different."""
        return not (self.missing or self.extra or self.problems or any(clip.problems for clip in self.clips))


def validate_dataset(
    found: Found,
    official: OfficialCounts | None = None,
    *,
    decode: bool = True,
    progress: Progress = no_progress,
) -> Validation:
    """Compare a data set's folder with the official counts; damage does not end it early.

    Args:
        found: The contents of the folder.
        official: The official counts. None: compare clips only with their own labels.
        decode: Decode every frame and every mask. Default: only count them.
        progress: Called with "checking clips", the clips done, and their total.
    """
    splits: tuple[tuple[Split, tuple[FoundClip, ...]], ...] = (("training", found.training), ("testing", found.testing))
    total = len(found.training) + len(found.testing)
    missing, extra, problems = _whole(found, official)
    checks: list[ClipCheck] = []
    with ThreadPoolExecutor() as pool:
        for split, clips in splits:
            for clip in clips:
                checks.append(_check(split, clip, found, official, pool if decode else None))
                progress("checking clips", len(checks), total)
    return Validation(
        found.name, found.label_set, tuple(checks), missing, extra, problems, decode, official is not None
    )


def notes_on(dataset: Dataset) -> list[str]:
    """What readers of metrics must know of a loaded data set: damage, notes, differences to the official set."""
    unlike = _official_differences(dataset)
    notes = [f"Damaged: {problem}." for problem in dataset.problems]
    notes += [f"{note[0].upper()}{note[1:]}." for note in dataset.notes]
    notes += [f"This copy is not the official set: {difference}" for difference in unlike[:_DIFFERENCES]]
    if len(unlike) > _DIFFERENCES:
        more = len(unlike) - _DIFFERENCES
        notes.append(f"This copy differs in {more} more points: streamad datasets validate names them.")
    return notes


def _official_differences(dataset: Dataset) -> list[str]:
    """Differences to the official counts of the data set's name, one per line; nothing is decoded.

    A missing image in a folder shifts all labels after it, and nothing else would reveal that.
    """
    official = official_counts().get(dataset.name)
    if official is None:
        return []
    found = []
    if len(dataset.training) != official.training_clips:
        found.append(f"{len(dataset.training)} training clips, officially {official.training_clips}.")
    testing = dataset.whole or len(dataset.testing)
    if testing != len(official.testing):
        found.append(f"{testing} test clips, officially {len(official.testing)}.")
    for split, clips, counts in (
        ("training", dataset.training, official.training),
        ("test", dataset.testing, official.testing),
    ):
        for clip in clips:
            expected = _count(counts, clip)
            if expected is not None and expected != clip.frames:
                found.append(f"{split} clip {clip.name}: {clip.frames} frames, officially {expected}.")
    for clip in dataset.testing:
        expected = _count(official.abnormal.get(dataset.labels), clip)
        if clip.labels is not None and expected is not None and expected != clip.labels.sum():
            found.append(f"test clip {clip.name}: {clip.labels.sum()} abnormal frames, officially {expected}.")
    return found


def _whole(found: Found, official: OfficialCounts | None) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    if official is None:
        return (), (), ()
    missing, extra, problems = [], [], []
    expected: tuple[tuple[Split, Sequence[str] | None, tuple[FoundClip, ...]], ...] = (
        ("training", None if official.training is None else list(official.training), found.training),
        ("testing", list(official.testing), found.testing),
    )
    for split, names, clips in expected:
        here = [clip.name for clip in clips]
        if names is None:
            if len(here) != official.training_clips:
                problems.append(f"{split}: {len(here)} clips, but the official set has {official.training_clips}")
            continue
        missing += [f"{split}/{name}" for name in names if same_clip(name, here) is None]
        extra += [f"{split}/{name}" for name in here if same_clip(name, list(names)) is None]
    return tuple(missing), tuple(extra), tuple(problems)


def _check(
    split: Split, clip: FoundClip, found: Found, official: OfficialCounts | None, pool: ThreadPoolExecutor | None
) -> ClipCheck:
    problems: list[str] = []
    frames: int | None = None
    decoded = _Decoded(0, (), set(), [])
    try:
        if pool is None:
            frames = clip.facts()[0]
        else:
            decoded = _decode(clip, pool)
            frames, problems = decoded.frames, decoded.problems
    except DatasetError as error:
        problems.append(str(error))
    counts = None
    if official is not None:
        counts = official.training if split == "training" else official.testing
    expected = _count(counts, clip)
    if frames is not None and expected is not None and frames != expected:
        problems.append(f"{frames} frames, officially {expected}")
    abnormal = expected_abnormal = None
    if split == "testing":
        expected_abnormal = None if official is None else _count(official.abnormal.get(found.label_set), clip)
        if frames is not None:
            try:
                abnormal = int(found.labels_of(clip, frames).sum())
            except DatasetError as error:
                problems.append(str(error))
        if abnormal is not None and expected_abnormal is not None and abnormal != expected_abnormal:
            problems.append(f"{abnormal} abnormal frames, officially {expected_abnormal}")
    undecodable, sizes = decoded.undecodable, decoded.sizes
    masks = None
    if pool is not None and frames is not None:
        if undecodable:
            what = "do not decode" if clip.kind == "images" else "are damaged"
            problems.append(f"{len(undecodable)} frames {what}: {_some(undecodable)}")
        if len(sizes) > 1:
            problems.append(f"frames of different sizes: {', '.join(f'{w}×{h}' for w, h in sorted(sizes))}")
        masks = _masks(clip, found, frames, sizes, problems) if split == "testing" else None
    return ClipCheck(
        split, clip.name, frames, expected, abnormal, expected_abnormal, masks, undecodable, tuple(problems)
    )


def _count(counts: dict[str, int] | None, clip: FoundClip | Clip) -> int | None:
    name = same_clip(clip.name, list(counts)) if counts else None
    return counts[name] if counts and name is not None else None


class _Decoded(NamedTuple):
    """Decode a clip: number of frames, undecodable frames, (width, height) of the others, and problems."""

    frames: int
    undecodable: tuple[str, ...]
    sizes: set[tuple[int, int]]
    problems: list[str]


def _decode(clip: FoundClip, pool: ThreadPoolExecutor) -> _Decoded:
    if clip.kind == "video":
        return _decode_video(clip)
    files = image_files(clip.path)
    images = list(pool.map(_size, files))
    bad = tuple(path.name for path, size in zip(files, images, strict=True) if size is None)
    return _Decoded(len(files), bad, {size for size in images if size is not None}, [])


def _size(path: Path) -> tuple[int, int] | None:
    image = (
        None if is_damaged(path) else read_gray(path)
    )  # read as for scoring: cv2.imread would accept a truncated JPEG
    return None if image is None else (int(image.shape[1]), int(image.shape[0]))


def _decode_video(clip: FoundClip) -> _Decoded:
    with opened_video(clip.path) as source:
        frames = [(frame.index, frame.flags, frame.shape) for frame in source]
        bad = tuple(str(index) for index, flags, _ in frames if flags & FrameFlags.CORRUPT)
        return _Decoded(len(frames), bad, {(width, height) for _, _, (height, width) in frames}, list(source.problems))


def _masks(clip: FoundClip, found: Found, frames: int, sizes: set[tuple[int, int]], problems: list[str]) -> int | None:
    reader = found.masks_of(clip)
    if reader is None:
        return None
    count, size = 0, (0, 0)
    try:
        for mask in reader():
            count, size = count + 1, (mask.shape[1], mask.shape[0])
    except DatasetError as error:
        problems.append(str(error))
        return None
    if count != frames:
        problems.append(f"{count} masks for {frames} frames")
    if sizes and size not in sizes:
        problems.append(f"masks of {size[0]}×{size[1]}, frames of {', '.join(f'{w}×{h}' for w, h in sorted(sizes))}")
    return count


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:5]) + (" …" if len(names) > 5 else "")
