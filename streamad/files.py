"""Safe files: written atomically, read with a size limit, hashed, locked.

What must survive a crash is written to a temporary file, synced and renamed. Input files are not trusted: reading
uses no more memory and time than the caller allows, whatever a header claims, and never blocks on a named pipe or
device. Invalid content raises `ValueError`; callers add what was expected.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from streamad.errors import OutputError

MAX_BYTES = 64 << 20
"""Largest document that is read whole, bytes."""


def write_atomic(
    path: Path, data: bytes | str, *, mode: int | None = None, owner: tuple[int, int] | None = None
) -> None:
    r"""Write `data` to `path` so that a reader sees either the old or the new content, never a part.

    Undecodable bytes of file names, which Python represents as lone surrogates, are written as `\udcXX`; in JSON that
    is the same string.

    Args:
        path: The file.
        data: Its content.
        mode: Its permissions. Default: those of new files.
        owner: Its user and group, kept if this process may not set them. Default: those of the process.

    Raises:
        OutputError: The folder is not writable, or the disk is full.
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
        if owner is not None:
            with suppress(PermissionError):
                os.chown(temporary, *owner)
        os.chmod(temporary, 0o666 & ~_umask() if mode is None else mode)
        os.replace(temporary, path)
        temporary = None
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}",
            hint="check that the folder exists and is writable, and that the disk is not full",
        ) from error
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


def write_json(path: Path, document: Any) -> None:
    """Write `document` as indented JSON, atomically."""
    write_atomic(path, json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


@contextmanager
def locked(folder: Path) -> Iterator[bool]:
    """Lock a folder for this process; yields whether the lock was acquired.

    The lock ends with the process, however it ends.

    Raises:
        OutputError: The folder cannot be written to.
    """
    from filelock import FileLock, Timeout  # not at the top: it takes 30 ms, and few commands lock anything

    lock = FileLock(folder / ".lock", blocking=False, thread_local=False, fallback_to_soft=False)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        yield False
        return
    except OSError as error:
        raise OutputError(
            f"cannot write to {folder}: {error.strerror or error}", hint="choose another folder with --out"
        ) from error
    try:
        yield True
    finally:
        lock.release()


def open_regular(path: Path, most: int | None = None) -> io.BufferedReader:
    """Open a regular file of bounded size for reading.

    Args:
        path: The file.
        most: Its largest size, bytes. Default: no limit.

    Raises:
        OSError: It cannot be opened.
        ValueError: It is larger, or is a folder, pipe or device.
    """
    # Without O_NONBLOCK, opening a pipe waits for a writer.
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("not a regular file")
        if most is not None and status.st_size > most:
            raise ValueError(f"too large: {status.st_size:,} bytes, at most {most:,} are allowed")
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def read_bytes(path: Path, most: int = MAX_BYTES) -> bytes:
    """Read a regular file of at most `most` bytes; raises what `open_regular` does."""
    with open_regular(path, most) as file:
        return file.read(most)


def pending_path(path: Path) -> Path:
    """Where the next content of a file is kept until whatever refers to it is written."""
    return path.with_name(f".{path.name}.new")


def read_json(path: Path, most: int = MAX_BYTES) -> Any:
    """Read a JSON document of bounded size and depth.

    Raises:
        OSError: The file cannot be opened.
        ValueError: Too large, not UTF-8, not JSON, or nested too deeply.
    """
    try:
        return json.loads(read_bytes(path, most))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Key that sorts names as people count, whatever the case of their letters: "2.png" before "10.png"."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], name


def sha256_of(path: Path, most: int | None = None) -> str:
    """Hexadecimal SHA-256 of a file's content; raises what `open_regular` does."""
    with open_regular(path, most) as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    # os.umask can only be read by setting it. The race is harmless, because the mask is restored at once.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
