"""Bundles that are learned again: each version complete in a folder of its own, a link to the active one.

    models/gate/current -> versions/0003      what is loaded as `models/gate`
    models/gate/versions/0001, 0002           earlier versions, which can be activated again

Activating a version is one rename of the link, so that a reader always finds a complete version, whatever crashes. A
running `streamad run` keeps the files that it started with.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from streamad.errors import OutputError, UsageError

VERSIONS, CURRENT, PREVIOUS = "versions", "current", "previous"
"""Names in the folder of a bundle; `previous` is a link, or a folder, of older releases."""
MANIFEST = "model.yaml"

KEPT = 5
"""Number of versions that are kept: the newest; beyond them, the active one and the one that it replaced."""

_PART = ".part"
"""Suffix of a version that is not complete."""


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


def list_versions(home: Path) -> list[Path]:
    """The complete versions of a bundle, oldest first; empty if it has none."""
    versions = home / VERSIONS
    found = versions.iterdir() if versions.is_dir() else ()
    return sorted((path for path in found if path.name.isdigit()), key=lambda path: int(path.name))


def new_version(home: Path) -> Path:
    """Create an empty folder for the next version, and remove what a crashed run left unfinished.

    Raises:
        OutputError: It cannot be created.
    """
    try:
        versions = home / VERSIONS
        versions.mkdir(parents=True, exist_ok=True)
        for path in versions.glob(f"*{_PART}"):
            shutil.rmtree(path, ignore_errors=True)
        number = max((int(path.name) for path in list_versions(home)), default=0) + 1
        fresh = versions / f"{number:04d}{_PART}"
        fresh.mkdir()
    except OSError as error:
        raise OutputError(f"cannot write to {home}: {error.strerror or error}", hint="give another --out") from error
    return fresh


def activate(home: Path, version: Path) -> Path:
    """Make a complete version the active one. The `KEPT` newest versions stay, to be activated again.

    A bundle with its files in `home` itself, the layout of older releases, is first kept as a version.

    Args:
        home: Folder of the bundle.
        version: From `new_version`, with all its files, which are synced to the disk first; or from `list_versions`.

    Returns:
        The version's folder from now on.

    Raises:
        OutputError: Activation failed; the active version has not changed.
    """
    former = active_version(home).name
    try:
        if version.suffix == _PART:
            _sync(version)
            version = version.replace(version.with_suffix(""))
            _sync_folder(version.parent)
        if active_version(home) == home and (home / MANIFEST).is_file():
            _flat_kept(home)
        _link(home / CURRENT, version)
        if (home / MANIFEST).is_file():  # files of the flat layout, which are kept as a version
            for path in sorted(_files(home), key=lambda path: path.name == MANIFEST):
                path.unlink()
        _clean(home, former)
    except OSError as error:
        raise OutputError(
            f"cannot activate the model in {home}: {error.strerror or error}",
            hint=f"the new version is complete in {version}; the file system must support symbolic links",
        ) from error
    return version


def older_version(home: Path, number: int | None = None) -> Path:
    """Return the version with this number, or the one before the active version.

    Raises:
        UsageError: There is no such version.
    """
    found, active = list_versions(home), active_version(home)
    known = ", ".join(str(int(path.name)) for path in found) or "none"
    if active == home:
        raise UsageError(f"{home} has no versions", hint="`streamad learn` makes them")
    if number is None:
        older = [path for path in found if int(path.name) < int(active.name)]
        if not older:
            raise UsageError(f"{home} has no version before the active one, {int(active.name)}; versions: {known}")
        return older[-1]
    for path in found:
        if int(path.name) == number:
            return path
    raise UsageError(f"{home} has no version {number}; versions: {known}", hint="give one of these with --to")


def _flat_kept(home: Path) -> Path:
    kept = home / VERSIONS / "0000"
    part = kept.with_suffix(_PART)
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
    fresh = link.with_name(f".{link.name}.new")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path(VERSIONS) / target.name)
    fresh.replace(link)
    _sync_folder(link.parent)


def _clean(home: Path, former: str) -> None:
    """Remove all versions but the newest, the active one and the one that it replaced, and the link `previous`."""
    previous = home / PREVIOUS
    if previous.is_symlink():
        previous.unlink()
    elif previous.is_dir():
        shutil.rmtree(previous, ignore_errors=True)
    active = active_version(home).name
    for path in list_versions(home)[:-KEPT]:
        if path.name not in (active, former):
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
