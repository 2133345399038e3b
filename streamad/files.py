"""Files that cannot be trusted to be whole, small or honest: written atomically, read with a bound, hashed.

What must outlive a crash is written beside, synced and renamed. What is read may come from anybody: reading takes no
more memory and time than the caller allows, whatever a header claims, and no named pipe or device can hold it up. All
that is wrong with the content is a `ValueError`, to which callers add what the file should have been.
"""

from __future__ import annotations

import fcntl
import hashlib
import io
import json
import math
import os
import re
import stat
import tempfile
import tokenize
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from streamad.errors import OutputError

MOST_BYTES = 64 << 20
"""Bytes of a document that is read whole."""
MOST_ARRAY_BYTES = 1 << 30
"""Bytes of labels, scores or statistics, unpacked."""
_MOST_HEADER = 64 << 10
_PART = 1 << 20
_NPY_MAGIC = b"\x93NUMPY"


def write_atomic(path: Path, data: bytes | str) -> None:
    r"""Write `data` to `path` so that a reader sees the old content or the new, never a part.

    Bytes of a file's name that are not UTF-8, which Python keeps as lone surrogates, are written as `\udcXX`; in JSON
    that is the same string.

    Raises:
        OutputError: the folder cannot be written to (read-only, full disk).
    """
    payload = data.encode("utf-8", "backslashreplace") if isinstance(data, str) else data
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(descriptor, "wb") as file:
            file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check that the folder exists, can be written to, and that the disk is not full",
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write `document` as indented JSON, atomically."""
    write_atomic(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Whether this process alone has the folder; the lock ends with the process, however it ends.

    Raises:
        OutputError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror or error}", hint="give another folder with --out"
        ) from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(descriptor)


def open_regular(path: Path, most: int | None = None) -> io.BufferedReader:
    """Open a regular file of bounded size for reading.

    Args:
        path: the file.
        most: bytes that it may have; None: any number.

    Raises:
        OSError: it cannot be opened.
        ValueError: it is larger, or is a folder, a pipe or a device.
    """
    # Without O_NONBLOCK, opening a pipe waits until somebody writes to it.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if most is not None and status.st_size > most:
            raise ValueError(f"{status.st_size:,} bytes, of which at most {most:,} are read")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, most: int = MOST_BYTES) -> bytes:
    """The content of a regular file of at most so many bytes; raises as `open_regular` does."""
    with open_regular(path, most) as file:
        return file.read(most)


def pending_path(path: Path) -> Path:
    """Where the next content of a file waits until whatever refers to it is written."""
    return path.with_name(f".{path.name}.new")


def read_json(path: Path, most: int = MOST_BYTES) -> Any:
    """A JSON document of bounded size and depth.

    Raises:
        OSError: the file cannot be opened.
        ValueError: too large, not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(read_bytes(path, most))
    except RecursionError:
        raise ValueError("nested too deeply") from None


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
                    raise ValueError(f"{total:,} bytes when unpacked, of which at most {most:,} are read")
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


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Key that sorts names as people count, whatever the case of their letters: "2.png" before "10.png"."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], name


def sha256_of(path: Path, most: int | None = None) -> str:
    """Hexadecimal SHA-256 of the file's content; raises as `open_regular` does."""
    with open_regular(path, most) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    # os.umask can only be read by setting it; the process-wide race is harmless for a mask that is set back.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
