"""A small file system for tests of full and failing disks."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """Mount a small file system in memory that can be filled. Requires permission to mount.

    Args:
        folder: The mount point, which is created.
        size: Size as for `mount`, such as "640k" or "2m".

    Raises:
        PermissionError: If mounting is not permitted.
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
    """Fill a disk to the last byte. Deleting the returned file frees it again."""
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
    """Like `small_disk`, but skip the test if mounting is not permitted."""
    with ExitStack() as stack:
        try:
            disk = stack.enter_context(small_disk(folder, size))
        except PermissionError as error:
            pytest.skip(f"mounting a small file system needs root: {error}")
        yield disk


def may_mount() -> bool:
    """Whether `small_disk` works here."""
    return os.geteuid() == 0
