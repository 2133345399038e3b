"""Read .npy and .npz files from untrusted sources: memory and time are bounded, and nothing is unpickled.

Separate from `streamad.files`, so that reading a configuration does not import NumPy.
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
"""Maximum size of labels, scores or statistics, bytes after decompression."""
_MOST_HEADER = 64 << 10
_PART = 1 << 20
_NPY_MAGIC = b"\x93NUMPY"


def read_arrays(path: Path, most: int = MOST_ARRAY_BYTES) -> dict[str, NDArray[Any]]:
    """Read the arrays of an .npz by name, or that of an .npy under the file's stem; nothing is unpickled.

    Args:
        path: The file; its content decides which of the two it is.
        most: Maximum total size of all arrays, bytes after decompression.

    Raises:
        OSError: The file cannot be opened.
        ValueError: The file is damaged or too large, or an array claims more data than the file holds or needs pickle.
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
        # RuntimeError: encrypted; its subclass NotImplementedError: a compression that this Python does not support.
        except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
            raise ValueError(str(error)) from None


def read_array_header(file: IO[bytes], size: int) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Read the header of an .npy: shape, whether the order is column-major (Fortran), and dtype.

    Args:
        file: Positioned at the start of the .npy; left at the start of its data.
        size: Size of the .npy, header included, bytes.

    Raises:
        ValueError: Not an .npy, or one that needs pickle or claims more data than `size` has room for.
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
