"""Pixel masks of a test clip in the formats of the data sets, read on demand, one clip at a time."""

from __future__ import annotations

import os
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import numpy as np
import numpy.typing as npt

from streamad.array_files import MOST_ARRAY_BYTES, read_array_header
from streamad.errors import DatasetError, install_hint
from streamad.evaluation.datasets.files import image_files
from streamad.files import open_regular
from streamad.sources.images import MAX_PIXELS, read_gray

_MATLAB_COMPRESSED = 15

Mask = npt.NDArray[np.bool_]
MaskReader = Callable[[], Iterator[Mask]]
"""Yields the (height, width) masks of a clip frame by frame, True where abnormal; may raise DatasetError at any
frame."""


def bitmap_masks(folder: Path) -> Iterator[Mask]:
    """Masks from a folder of bitmaps, one per frame, in the order of the numbers in their names.

    UCSD's releases have `001.bmp`, `frame001.bmp` and `Test003_001.bmp`; any value over 0 is abnormal.

    Raises:
        DatasetError: A bitmap does not decode, or they differ in size.
    """
    size = None
    for path in image_files(folder):
        image = read_gray(path)
        if image is None:
            raise DatasetError(f"the mask {path} does not decode", hint="download the data set again")
        if size not in (None, image.shape):
            raise DatasetError(f"the masks in {folder} have different sizes")
        size = image.shape
        yield np.asarray(image > 0)


def array_masks(path: Path, name: str) -> Iterator[Mask]:
    """Masks from an .npz with one (frames, height, width) array per clip, or from the .npy of one clip.

    Raises:
        DatasetError: The file cannot be read, lacks the clip, or has another shape.
    """
    try:
        with open_regular(path) as raw:
            if not zipfile.is_zipfile(raw):
                raw.seek(0)
                yield from _frames_of(raw, path, os.fstat(raw.fileno()).st_size)
                return
            with zipfile.ZipFile(raw) as archive:
                if f"{name}.npy" not in archive.namelist():
                    known = ", ".join(sorted(n.removesuffix(".npy") for n in archive.namelist())[:5])
                    raise DatasetError(f"{path} has no masks of clip {name!r}; it has {known}")
                with archive.open(f"{name}.npy") as file:
                    yield from _frames_of(file, path, archive.getinfo(f"{name}.npy").file_size)
    except OSError as error:
        raise DatasetError(f"cannot read the masks {path}: {error.strerror or error}") from error
    except (EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        raise DatasetError(f"cannot read the masks {path}: {error}") from error
    except ValueError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"cannot read the masks {path}: {error}") from error


def _frames_of(file: IO[bytes], path: Path, size: int) -> Iterator[Mask]:
    """Read frame by frame, because the masks of a long clip can exceed memory."""
    shape, columns_first, dtype = read_array_header(file, size)
    if len(shape) != 3 or dtype.kind not in "buif":
        raise DatasetError(f"{path}: masks of a clip must be (frames, height, width) numbers, got {shape} of {dtype}")
    if shape[1] * shape[2] > MAX_PIXELS:
        raise DatasetError(f"{path}: masks of {shape[2]}×{shape[1]} pixels, over {MAX_PIXELS:,}")
    if columns_first:  # the values of a frame are not contiguous
        if size > MOST_ARRAY_BYTES:
            raise DatasetError(
                f"{path}: {size:,} bytes with columns first, of which at most {MOST_ARRAY_BYTES:,} are read"
            )
        yield from np.frombuffer(file.read(), dtype).reshape(shape, order="F").astype(bool)
        return
    step = shape[1] * shape[2] * dtype.itemsize
    for frame in range(shape[0]):
        data = file.read(step)
        if len(data) < step:
            raise DatasetError(f"cannot read the masks {path}: it ends in frame {frame} of {shape[0]}")
        yield np.frombuffer(data, dtype).reshape(shape[1:]).astype(bool, copy=False)


def matlab_masks(path: Path) -> Iterator[Mask]:
    """Masks from Avenue's `volLabel`, a (1, frames) cell array of (height, width) uint8. SciPy reads the whole file.

    Raises:
        DatasetError: The file cannot be read or has other content, or SciPy is not installed.
    """
    try:
        from scipy.io import loadmat
        from scipy.io.matlab import MatReadError
    except ModuleNotFoundError as error:
        raise DatasetError(f"{path} is a MATLAB file, which requires SciPy", hint=install_hint("evaluation")) from error
    try:
        _require_bounded(path)
        content = loadmat(str(path), variable_names=["volLabel"])
    except (
        MatReadError, OSError, ValueError, NotImplementedError, TypeError, MemoryError, OverflowError, zlib.error,
    ) as error:  # fmt: skip
        raise DatasetError(
            f"cannot read the masks {path}: {error}", hint="Avenue's files are MATLAB 5 files with the key volLabel"
        ) from error
    cells = content.get("volLabel")
    if cells is None or cells.dtype != object or not cells.size:
        raise DatasetError(f"{path} has no cell array volLabel")
    size = np.shape(cells.flat[0])
    for cell in cells.flat:
        if cell.ndim != 2 or cell.shape != size:
            raise DatasetError(f"{path}: the masks of volLabel must be images of one size")
        yield np.asarray(cell > 0)


def _require_bounded(path: Path) -> None:
    """Decompress a MATLAB 5 file piece by piece to check its size, which SciPy does not: it can exceed memory.

    Raises:
        OSError: The file cannot be read.
        ValueError: It is larger than `MOST_ARRAY_BYTES` when decompressed.
    """
    with open_regular(path, MOST_ARRAY_BYTES) as file:
        order = {b"IM": "<", b"MI": ">"}.get(file.read(128)[126:])
        total = 0
        while order and len(tag := file.read(8)) == 8:
            kind, length = struct.unpack(f"{order}II", tag)
            end = file.tell() + length + (-length % 8 if kind != _MATLAB_COMPRESSED else 0)
            if kind == _MATLAB_COMPRESSED:
                unpacker = zlib.decompressobj()
                while not unpacker.eof and (part := unpacker.unconsumed_tail or file.read(min(length, 1 << 16))):
                    total += len(unpacker.decompress(part, 1 << 20))
                    if total > MOST_ARRAY_BYTES:
                        raise ValueError(f"over {MOST_ARRAY_BYTES:,} bytes when unpacked")
            file.seek(end)
