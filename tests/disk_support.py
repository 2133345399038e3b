"""A small file system for tests of what happens when a disk is full or breaks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own in memory, which can be filled. Needs the right to mount.

    Args:
        folder: made, and where it is mounted.
        size: as `mount` takes it, such as "640k" or "2m".

    Raises:
        PermissionError: no right to mount.
    """
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        raise PermissionError(mounted.stderr.decode(errors="replace").strip())
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill(disk: Path) -> Path:
    """Fill a disk to the last byte; removing the file that is returned frees it again."""
    path = disk / "ballast"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1):
            try:
                while True:
                    file.write(bytes(size))
            except OSError:
                continue
    return path


@contextmanager
def small_disk_or_skip(folder: Path, size: str) -> Iterator[Path]:
    """`small_disk`; skips the test where there is no right to mount."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(folder, size))
        except PermissionError as error:
            pytest.skip(f"mounting a small file system needs root: {error}")
        yield disk


def may_mount() -> bool:
    """Whether `small_disk` can be made here."""
    return os.geteuid() == 0
