"""Bundles that are learned again: each version complete in a folder of its own, a link to the active one.

    models/gate/current -> versions/0002      what is loaded as `models/gate`
    models/gate/previous -> versions/0001     the previous version

Activating a version is one rename of the link, so that a reader always finds a complete version, whatever crashes. A
running `streamad run` keeps the files that it started with.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from streamad.errors import OutputError

VERSIONS, CURRENT, PREVIOUS = "versions", "current", "previous"
MANIFEST = "model.yaml"


def active_version(folder: Path) -> Path:
    """The folder to read: the active version, or `folder` itself if it has no versions.

    A link that leads out of the folder is ignored.
    """
    link = folder / CURRENT
    if (link / MANIFEST).is_file() and (version := link.resolve()).is_relative_to(folder.resolve()):
        return version
    return folder


def root_of(folder: Path) -> Path:
    """The bundle's own folder: the one above the versions, or `folder` itself."""
    return folder.parent.parent if folder.parent.name == VERSIONS else folder


def new_version(home: Path) -> Path:
    """Create an empty folder for the next version, and remove what a crashed run left unfinished.

    Raises:
        OutputError: It cannot be created.
    """
    try:
        versions = home / VERSIONS
        versions.mkdir(parents=True, exist_ok=True)
        _clean(home)
        numbers = [int(path.name) for path in versions.iterdir() if path.name.isdigit()]
        fresh = versions / f"{max(numbers, default=0) + 1:04d}"
        fresh.mkdir()
    except OSError as error:
        raise OutputError(f"cannot write to {home}: {error.strerror or error}", hint="give another --out") from error
    return fresh


def activate(home: Path, version: Path) -> None:
    """Make a complete version the active one; the version that was active becomes `previous`.

    A bundle with its files in `home` itself, the layout of older releases, is first kept as a version.

    Args:
        home: Folder of the bundle.
        version: From `new_version`, with all its files; it is synced to the disk first.

    Raises:
        OutputError: Activation failed; the active version has not changed.
    """
    try:
        _sync(version)
        old = active_version(home)
        if old == home:
            old = _flat_kept(home) if (home / MANIFEST).is_file() else version
        if old.resolve() != version.resolve():
            _link(home / PREVIOUS, old)
        _link(home / CURRENT, version)
        if (home / MANIFEST).is_file():  # files of the flat layout, which are kept as a version
            for path in sorted(_files(home), key=lambda path: path.name == MANIFEST):
                path.unlink()
        _clean(home)
    except OSError as error:
        raise OutputError(
            f"cannot activate the model in {home}: {error.strerror or error}",
            hint=f"the new version is complete in {version}; the file system must support symbolic links",
        ) from error


def _flat_kept(home: Path) -> Path:
    kept = home / VERSIONS / "0000"
    part = kept.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    for path in _files(home):
        shutil.copy2(path, part / path.name)
    _sync(part)
    shutil.rmtree(kept, ignore_errors=True)
    part.rename(kept)
    return kept


def _files(home: Path) -> list[Path]:
    return [path for path in home.iterdir() if path.is_file() and path.name != ".lock"]


def _link(link: Path, target: Path) -> None:
    """Point the link to a version, atomically."""
    if link.is_dir() and not link.is_symlink():  # a folder, in older releases
        shutil.rmtree(link)
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path(VERSIONS) / target.name)
    fresh.replace(link)
    _sync_folder(link.parent)


def _clean(home: Path) -> None:
    """Remove the versions without a link."""
    named = {(home / link).resolve() for link in (CURRENT, PREVIOUS)}
    if not (home / CURRENT).exists():
        return
    for path in (home / VERSIONS).iterdir():
        if path.resolve() not in named:
            shutil.rmtree(path, ignore_errors=True)


def _sync(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_file():
            with path.open("rb") as file:
                os.fsync(file.fileno())
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
