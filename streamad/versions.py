"""Bundles that are made anew: each version whole in a folder of its own, the one in force named by a link.

    models/gate/current -> versions/0002      what is loaded as `models/gate`
    models/gate/previous -> versions/0001     the one before

Putting a version in force is one rename of the link, so whoever loads the bundle finds the old one whole or the new
one, whatever crashes on the way; a watch that runs keeps the files that it was started with.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from streamad.errors import OutputError

VERSIONS, CURRENT, PREVIOUS = "versions", "current", "previous"
MANIFEST = "model.yaml"


def active_version(folder: Path) -> Path:
    """The folder whose files are to be read: the version in force, or `folder` itself where it has no versions.

    A link that leads out of the folder is no version of it.
    """
    link = folder / CURRENT
    if (link / MANIFEST).is_file() and (version := link.resolve()).is_relative_to(folder.resolve()):
        return version
    return folder


def root_of(folder: Path) -> Path:
    """The folder that people name: that above the versions, or `folder` itself."""
    return folder.parent.parent if folder.parent.name == VERSIONS else folder


def new_version(home: Path) -> Path:
    """An empty folder for the next version; what a crashed run left unfinished is removed.

    Raises:
        OutputError: it cannot be made.
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
    """Make a whole version the one that is loaded; the one in force until now becomes `previous`.

    A bundle whose files lie in `home` itself, as versions before had it, is kept as a version first.

    Args:
        home: folder of the bundle.
        version: of `new_version`, with every file in it. It is synced to the disk first.

    Raises:
        OutputError: it cannot be done; what was in force is in force still.
    """
    try:
        _sync(version)
        old = active_version(home)
        if old == home:
            old = _flat_kept(home) if (home / MANIFEST).is_file() else version
        if old.resolve() != version.resolve():
            _link(home / PREVIOUS, old)
        _link(home / CURRENT, version)
        if (home / MANIFEST).is_file():  # the flat bundle's files, which are kept as a version
            for path in sorted(_files(home), key=lambda path: path.name == MANIFEST):
                path.unlink()
        _clean(home)
    except OSError as error:
        raise OutputError(
            f"cannot put the model into {home}: {error.strerror or error}",
            hint=f"the new one is whole in {version}; the file system must know symbolic links",
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
    """Point the link at a version, in one step."""
    if link.is_dir() and not link.is_symlink():  # a folder of files, as versions before had it
        shutil.rmtree(link)
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path(VERSIONS) / target.name)
    fresh.replace(link)
    _sync_folder(link.parent)


def _clean(home: Path) -> None:
    """Remove the versions that no link names."""
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
