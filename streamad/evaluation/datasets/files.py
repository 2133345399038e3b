"""Read the parts of data sets: folders of numbered images, videos, label arrays."""

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
    """Videos, images, and folders in a folder, each in natural order.

    Raises:
        DatasetError: The folder is missing or cannot be read.
    """
    try:
        return folder_content(folder)
    except OSError as error:
        raise DatasetError(f"cannot read the folder {folder}: {error.strerror or error}") from error


def image_files(folder: Path) -> list[Path]:
    """The frames of a clip that is a folder of images, in order.

    Raises:
        DatasetError: The folder is missing, has no images, or has videos, too.
    """
    try:
        return list_images(folder)
    except SourceError as error:
        raise DatasetError(str(error), hint=error.hint) from error


@contextmanager
def opened_video(path: Path) -> Iterator[FileSource]:
    """Open a video as scoring does; it is closed at the end of the block.

    Raises:
        DatasetError: The file contains no readable video.
    """
    try:
        with FileSource(FileSpec(path=path), camera=path.name) as source:
            yield source
    except SourceError as error:
        reason = str(error).removeprefix(str(path)).lstrip(": ")
        raise DatasetError(f"cannot read the video {path}: {reason}", hint=error.hint) from error


def video_facts(path: Path, *, decode: bool = False) -> tuple[int, float | None]:
    """(frames, frames per second) of a video file. The frames are those that scoring it yields.

    Args:
        path: The file.
        decode: Decode every frame. Default: only if counting packets could be wrong for an intact file.

    Raises:
        DatasetError: The file contains no readable video.
    """
    with opened_video(path) as source:
        return source.count(decode=decode), source.info.fps


def declared_frames(path: Path) -> int:
    """Number of frames that a video file declares, which is more than it contains if it was cut off; 0 if undeclared.

    Raises:
        DatasetError: The file contains no readable video.
    """
    with opened_video(path) as source:
        return source.declared


def load_arrays(path: Path, *, allow_pickle: bool = False) -> Arrays:
    """Read the arrays of an .npz by name, or the array of an .npy under its file name.

    Args:
        path: `.npz` or `.npy`; also `.pkl` and `.pickle` if pickles are allowed.
        allow_pickle: Read pickled arrays, with an unpickler that creates nothing but arrays. Default: reject them.

    Raises:
        DatasetError: The file is missing, damaged, or pickled.
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
            hint="labels must be plain .npy or .npz arrays; pickled ones are rejected unless --allow-pickle is given",
        ) from error


def _is_pickled(path: Path) -> bool:
    """Whether the header of an .npy says that it contains objects."""
    try:
        with open_regular(path) as file:
            return file.read(6) == np.lib.format.MAGIC_PREFIX and b"'|O'" in file.read(200)
    except (OSError, ValueError):
        return False


def as_labels(array: npt.NDArray[np.generic], path: Path) -> Labels:
    """Convert an array of 0 and 1 with shape (T,) or (1, T) to frame labels, (T,) uint8.

    Raises:
        DatasetError: The array has another shape or other values.
    """
    flat = array[0] if array.ndim == 2 and array.shape[0] == 1 else array
    if flat.ndim != 1:
        raise DatasetError(f"{path}: frame labels must have shape (T,) or (1, T), got {array.shape}")
    if flat.dtype.kind not in "buif" or not np.isin(flat, (0, 1)).all():
        raise DatasetError(f"{path}: frame labels must be 0 (normal) or 1 (abnormal)")
    return flat.astype(np.uint8)


def joined_order(names: Sequence[str], path: Path) -> list[str]:
    """Determine the order of the clips in concatenated labels: the natural one, "2" before "10".

    Names that differ only in their numbers (1, 2, 10; Test001, Test002) are unambiguous. For other names, the order of
    the file that they come from is used if it is also the natural order.

    Args:
        names: Names of the clips, in the order of their file.
        path: The label file, for the error message.

    Raises:
        DatasetError: The order of the file and the natural order differ, and the names do not resolve it.
    """
    natural = sorted(names, key=natural_key)
    words = {re.sub(r"\d+", "#", name.lower()) for name in names}
    numbers = {tuple(natural_key(name)[0]) for name in names}
    if len(numbers) == len(names) and (len(words) == 1 or list(names) == natural):
        return natural
    raise DatasetError(
        f"{path} has concatenated labels, and the order of the clips is ambiguous: {shown_order(names)} in their "
        f"file, {shown_order(natural)} by name",
        hint="provide the labels by clip: an .npz with one array per clip, a folder of NAME.npy, or a .csv",
    )


def shown_order(names: Sequence[str]) -> str:
    """An order as text; of many names, the first three and the last."""
    return ", ".join(names if len(names) <= 5 else [*names[:3], "…", names[-1]])


def split_labels(joined: Labels, names: Sequence[str], frames: Sequence[int], path: Path) -> dict[str, Labels]:
    """Split the concatenated labels of all test clips.

    Raises:
        DatasetError: The numbers of labels and frames differ.
    """
    if joined.size != sum(frames):
        raise DatasetError(
            f"{path}: {joined.size} labels for {sum(frames)} frames in {len(frames)} clips",
            hint="is the data set complete, and are these the labels of this data set?",
        )
    parts = np.split(joined, np.cumsum(frames)[:-1])
    return dict(zip(names, parts, strict=True))
