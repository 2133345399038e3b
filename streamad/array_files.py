"""Arrays from .npy and .npz files that may come from anybody: bounded memory and time, and nothing is unpickled.

Apart from `streamad.files`, so that reading a configuration loads no NumPy.
"""

from __future__ import annotations

import io
import math
import os
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from streamad.files import open_regular

MOST_ARRAY_BYTES = 1 << 30
"""Bytes of labels, scores or statistics, unpacked."""
_MOST_HEADER = 64 << 10
_PART = 1 << 20
_NPY_MAGIC = b"\x93NUMPY"


def read_arrays(path: Path, most: int = MOST_ARRAY_BYTES) -> dict[str, NDArray[Any]]:
    """The arrays of an .npz by name, or the one of an .npy under its file name; nothing is unpickled.

    Args:
        path: the file; its content decides which of the two it is.
        most: bytes of all arrays together, unpacked.

    Raises:
        OSError: the file cannot be opened.
        ValueError: damaged, too large, or with an array that is larger than what is there or would need pickle.
    """
    with open_regular(path, most) as file:
        if file.read(len(_NPY_MAGIC)) == _NPY_MAGIC:
            file.seek(0)
            return {path.stem: _read_array(file, os.fstat(file.fileno()).st_size)}
        try:
            with zipfile.ZipFile(file) as archive:
                members = archive.infolist()
                total = sum(member.file_size for member in members)
                if total > most:
                    raise ValueError(f"{total:,} bytes when unpacked, at most {most:,} are allowed")
                arrays = {}
                for member in members:
                    with archive.open(member) as part:
                        arrays[member.filename.removesuffix(".npy")] = _read_array(part, member.file_size)
                return arrays
        # RuntimeError: encrypted; NotImplementedError: packed in a way that this Python does not know.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise ValueError(str(error)) from None


def read_array_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether columns come first, and type of the .npy that begins here.

    Args:
        file: at the beginning of the .npy; is left where its numbers begin.
        size: bytes of the .npy, header and numbers.

    Raises:
        ValueError: no .npy, one that would need pickle, or one that claims more numbers than `size` has room for.
    """
    start = file.read(8)
    if len(start) < 8 or not start.startswith(_NPY_MAGIC) or start[6] not in (1, 2):
        raise ValueError("not an .npy file of version 1 or 2")
    prefix = file.read(2 if start[6] == 1 else 4)
    length = int.from_bytes(prefix, "little")
    if length > _MOST_HEADER:
        raise ValueError(f"the header of an array claims {length:,} bytes")
    header = io.BytesIO(prefix + file.read(length))
    read = np.lib.format.read_array_header_1_0 if start[6] == 1 else np.lib.format.read_array_header_2_0
    try:
        shape, columns_first, dtype = read(header)
    except (RecursionError, MemoryError, SyntaxError, tokenize.TokenError):
        raise ValueError("the header of an array cannot be parsed") from None
    if dtype.hasobject:
        raise ValueError("Object arrays cannot be loaded without pickle")
    if not dtype.itemsize:
        raise ValueError(f"an array of {dtype}, which holds nothing")
    claimed, left = math.prod(shape) * dtype.itemsize, size - len(start) - len(prefix) - length
    if claimed > left or min(shape, default=0) < 0:
        raise ValueError(f"an array claims {claimed:,} bytes ({shape} of {dtype}), of which {max(left, 0):,} are there")
    return shape, columns_first, dtype


def _read_array(file: IO[bytes], size: int) -> NDArray[Any]:
    shape, columns_first, dtype = read_array_header(file, size)
    numbers = np.empty(math.prod(shape) * dtype.itemsize, np.uint8)
    view, filled = numbers.data, 0
    while filled < len(numbers):
        part = file.read(min(len(numbers) - filled, _PART))
        if not part:
            raise ValueError(f"an array ends after {filled:,} of {len(numbers):,} bytes")
        view[filled : filled + len(part)] = part
        filled += len(part)
    return numbers.view(dtype).reshape(shape, order="F" if columns_first else "C")
