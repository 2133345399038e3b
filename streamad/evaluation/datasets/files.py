"""Reading what data sets are made of: folders of numbered images, videos, arrays of labels."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.array_files import read_arrays
from streamad.errors import DatasetError
from streamad.evaluation.datasets.pickled import load_pickled
from streamad.files import natural_key, open_regular
from streamad.sources.failures import SourceError
from streamad.sources.file import FileSource
from streamad.sources.folders import Content, folder_content, list_images
from streamad.sources.spec import FileSpec

Arrays = dict[str, npt.NDArray[np.generic]]
Labels = npt.NDArray[np.uint8]


def content_of(folder: Path) -> Content:
    """Videos, images and folders in a folder, each in natural order.

    Raises:
        DatasetError: the folder is missing or cannot be read.
    """
    try:
        return folder_content(folder)
    except OSError as error:
        raise DatasetError(f"cannot read the folder {folder}: {error.strerror or error}") from error


def image_files(folder: Path) -> list[Path]:
    """The frames of a clip that is a folder of images, in order.

    Raises:
        DatasetError: the folder is missing, holds no image, or holds videos too.
    """
    try:
        return list_images(folder)
    except SourceError as error:
        raise DatasetError(str(error), hint=error.hint) from error


@contextmanager
def opened_video(path: Path) -> Iterator[FileSource]:
    """The video as scoring reads it, closed at the end of the block.

    Raises:
        DatasetError: no video can be read from the file.
    """
    try:
        with FileSource(FileSpec(path=path), camera=path.name) as source:
            yield source
    except SourceError as error:
        reason = str(error).removeprefix(str(path)).lstrip(": ")
        raise DatasetError(f"cannot read the video {path}: {reason}", hint=error.hint) from error


def video_facts(path: Path, *, decode: bool = False) -> tuple[int, float | None]:
    """(frames, frames per second) of a video file. The frames are those that scoring it gives.

    Args:
        path: the file.
        decode: decode every frame; otherwise only where counting packets could be wrong for an intact file.

    Raises:
        DatasetError: no video can be read from the file.
    """
    with opened_video(path) as source:
        return source.count(decode=decode), source.info.fps


def declared_frames(path: Path) -> int:
    """Frames that a video file says it has, more than it holds where it was cut off; 0 where it does not say.

    Raises:
        DatasetError: no video can be read from the file.
    """
    with opened_video(path) as source:
        return source.declared


def load_arrays(path: Path, *, allow_pickle: bool = False) -> Arrays:
    """Arrays of an .npz by name, or the one of an .npy under its file name.

    Args:
        path: `.npz` or `.npy`; where pickles are allowed, `.pkl` and `.pickle` too.
        allow_pickle: read pickled arrays, by an unpickler that makes arrays and nothing else; else they are refused.

    Raises:
        DatasetError: the file is missing, damaged, or would need pickle.
    """
    if allow_pickle and (path.suffix in (".pkl", ".pickle") or _is_pickled(path)):
        return load_pickled(path)
    try:
        return read_arrays(path)
    except OSError as error:
        raise DatasetError(f"cannot read the labels {path}: {error.strerror or error}") from error
    except ValueError as error:
        raise DatasetError(
            f"cannot read the labels {path}: {error}",
            hint="labels must be plain .npy or .npz arrays; pickled ones are refused unless --allow-pickle is given",
        ) from error


def _is_pickled(path: Path) -> bool:
    """Whether an .npy holds objects: its header says so."""
    try:
        with open_regular(path) as file:
            return file.read(6) == np.lib.format.MAGIC_PREFIX and b"'|O'" in file.read(200)
    except (OSError, ValueError):
        return False


def as_labels(array: npt.NDArray[np.generic], path: Path) -> Labels:
    """Frame labels as (T,) uint8 from an array of shape (T,) or (1, T) of 0 and 1.

    Raises:
        DatasetError: another shape or other values.
    """
    flat = array[0] if array.ndim == 2 and array.shape[0] == 1 else array
    if flat.ndim != 1:
        raise DatasetError(f"{path}: frame labels must have shape (T,) or (1, T), got {array.shape}")
    if flat.dtype.kind not in "buif" or not np.isin(flat, (0, 1)).all():
        raise DatasetError(f"{path}: frame labels must be 0 (normal) or 1 (abnormal)")
    return flat.astype(np.uint8)


def joined_order(names: Sequence[str], path: Path) -> list[str]:
    """The order of the clips in joined labels: the natural one, "2" before "10".

    Names that differ in their numbers alone (1, 2, 10; Test001, Test002) leave no doubt. The order of other names is
    that of the file that they come from, where it is the natural order too.

    Args:
        names: of the clips, in the order of their file.
        path: of the labels, for the error.

    Raises:
        DatasetError: the order of the file and the natural one differ, and the names do not say which holds.
    """
    natural = sorted(names, key=natural_key)
    words = {re.sub(r"\d+", "#", name.lower()) for name in names}
    numbers = {tuple(natural_key(name)[0]) for name in names}
    if len(numbers) == len(names) and (len(words) == 1 or list(names) == natural):
        return natural
    raise DatasetError(
        f"{path} holds the labels of all clips joined, and the clips come in two orders: {shown_order(names)} in their "
        f"file, {shown_order(natural)} by name",
        hint="give the labels by clip: an .npz with one array a clip, a folder of NAME.npy, or a .csv",
    )


def shown_order(names: Sequence[str]) -> str:
    """An order in words; of many names, the first three and the last."""
    return ", ".join(names if len(names) <= 5 else [*names[:3], "…", names[-1]])


def split_labels(joined: Labels, names: Sequence[str], frames: Sequence[int], path: Path) -> dict[str, Labels]:
    """Cut the joined labels of all test clips into clips.

    Raises:
        DatasetError: the number of labels is not the number of frames.
    """
    if joined.size != sum(frames):
        raise DatasetError(
            f"{path}: {joined.size} labels for {sum(frames)} frames in {len(frames)} clips",
            hint="is the data set complete, and are these the labels of this data set?",
        )
    parts = np.split(joined, np.cumsum(frames)[:-1])
    return dict(zip(names, parts, strict=True))
