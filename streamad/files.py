"""Atomic writing and hashing of files: what must outlive a crash is written beside, synced and renamed."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from streamad.errors import OutputError


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


def natural_key(name: str) -> tuple[list[tuple[int, int, str]], str]:
    """Key that sorts names as people count, whatever the case of their letters: "2.png" before "10.png"."""
    parts = re.split(r"(\d+)", name.lower())
    return [(0, int(part), "") if part.isdecimal() else (1, 0, part) for part in parts], name


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of the file's content."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _umask() -> int:
    # os.umask can only be read by setting it; the process-wide race is harmless for a mask that is set back.
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
