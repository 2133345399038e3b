"""Write a backup, also beside a running `streamad run`."""

from __future__ import annotations

import hashlib
import os
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

from streamad import __version__
from streamad.alerts.database import connect_reader, failure, schema_of
from streamad.config import load_config
from streamad.errors import OutputError
from streamad.files import open_regular
from streamad.workflows.backup_archive import MANIFEST, BackupFile, BackupManifest, is_inside
from streamad.workflows.backup_places import EVIDENCE, MODELS, SCORES, Place, places_of
from streamad.workflows.learn_on import FOLDER as WATCHED

_CHUNK = 1 << 20
_COMPRESSED = (".mp4", ".mkv", ".jpg", ".png", ".npz")
_LEFT_OUT = (".lock", ".part", ".restoring", ".replaced")
"""Endings of files that only matter to a running process."""


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What a backup holds.

    Attributes:
        path: The archive.
        size: Its size, bytes.
        files: Number of files in it.
        skipped: What could not be included, and why.
    """

    path: Path
    size: int
    files: int
    skipped: tuple[str, ...]


@dataclass(slots=True)
class _Collected:
    files: dict[str, BackupFile] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    schema: int | None = None


def default_name(now: datetime) -> Path:
    """File name of a backup made now."""
    return Path(f"streamad-backup-{now:%Y%m%d-%H%M%S}.zip")


def create_backup(config_path: Path, target: Path, *, made_at: datetime, evidence: bool = False) -> BackupReport:
    """Back up what a configuration names: events and marks, models, calibrations, scores, and itself.

    The event store is copied as of one moment. The archive is complete or absent, and readable by its owner only.

    Args:
        config_path: The configuration.
        target: The archive, which must not exist.
        made_at: Now, timezone-aware.
        evidence: Whether to include the evidence of events.

    Raises:
        ConfigError: The configuration is not valid.
        OutputError: The archive exists or cannot be written, or a database cannot be read.
    """
    config = load_config(config_path)
    if os.path.lexists(target):
        raise OutputError(f"{target} exists already", hint="give another name with --out")
    part = target.with_name(f".{target.name}.part")
    collected = _Collected()
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):
            part.unlink()
        descriptor = os.open(part, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w+b") as file:
            with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
                for place in places_of(config, config_path):
                    if place.name != EVIDENCE or evidence:
                        _add(archive, place, collected, part)
                manifest = BackupManifest(
                    streamad=__version__,
                    made_at=made_at,
                    events_schema=collected.schema,
                    files=collected.files,
                    links=collected.links,
                )
                archive.writestr(_entry(MANIFEST), manifest.model_dump_json(indent=2))
            file.flush()
            os.fsync(file.fileno())
        size = part.stat().st_size
        os.link(part, target)  # unlike a rename, this never replaces a file
    except FileExistsError as error:
        raise OutputError(f"{target} exists already", hint="give another name with --out") from error
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"cannot write the backup {target}: {error.strerror or error}",
            hint="check that the folder exists and is writable, and that the disk is not full",
        ) from error
    finally:
        part.unlink(missing_ok=True)
    return BackupReport(target, size, len(collected.files), tuple(collected.skipped))


def _add(archive: zipfile.ZipFile, place: Place, collected: _Collected, part: Path) -> None:
    if place.kind == "database":
        _add_database(archive, place, collected, part)
    elif place.kind == "file":
        _add_file(archive, place.name, place.path, collected)
    else:
        for name, path in _walk(place.path, place.name, collected):
            _add_file(archive, name, path, collected)


def _walk(folder: Path, name: str, collected: _Collected) -> Iterator[tuple[str, Path]]:
    """Files below a folder. Links come first: a version that one names stays, whatever is learned meanwhile."""
    try:
        with os.scandir(folder) as found:
            entries = sorted(found, key=lambda entry: (not entry.is_symlink(), entry.name))
    except FileNotFoundError:
        return
    except OSError as error:
        collected.skipped.append(f"{folder}: {error.strerror or error}")
        return
    for entry in entries:
        path, own = folder / entry.name, f"{name}/{entry.name}"
        if _is_left_out(own, is_folder=entry.is_dir(follow_symlinks=False)):
            continue
        if not is_inside(own):
            collected.skipped.append(f"{path}: the name cannot be stored")
        elif entry.is_symlink():
            target = os.readlink(path)
            if is_inside(target):
                collected.links[own] = target
            else:
                collected.skipped.append(f"{path}: a link out of its folder")
        elif entry.is_dir():
            yield from _walk(path, own, collected)
        else:
            yield own, path


def _is_left_out(name: str, *, is_folder: bool) -> bool:
    top, *inside = name.split("/")
    if is_folder and top != MODELS:  # any other folder may have the name of a camera
        return top == SCORES and inside[1:] == [WATCHED]  # up to 1 GiB, and filled again within a day
    return name.endswith(_LEFT_OUT)


def _add_file(archive: zipfile.ZipFile, name: str, path: Path, collected: _Collected) -> None:
    try:
        source = open_regular(path)
    except FileNotFoundError:
        return  # optional, or removed meanwhile
    except (OSError, ValueError) as error:
        collected.skipped.append(f"{path}: {getattr(error, 'strerror', None) or error}")
        return
    with source:
        collected.files[name] = _copy(archive, name, source)


def _copy(archive: zipfile.ZipFile, name: str, source: BinaryIO) -> BackupFile:
    """Add what a file holds now; what is appended meanwhile is not part of it."""
    left = os.fstat(source.fileno()).st_size
    digest, size = hashlib.sha256(), 0
    with archive.open(_entry(name), "w", force_zip64=True) as target:
        while left > size and (data := source.read(min(_CHUNK, left - size))):
            digest.update(data)
            target.write(data)
            size += len(data)
    return BackupFile(size=size, sha256=digest.hexdigest())


def _add_database(archive: zipfile.ZipFile, place: Place, collected: _Collected, part: Path) -> None:
    """Add the state of a database at one moment. Its writer is not kept waiting: readers of a WAL block nobody."""
    if not place.path.is_file():
        return
    copy = part.with_name(f"{part.name}.{place.name}")
    try:
        with closing(connect_reader(place.path)) as source, closing(sqlite3.connect(copy)) as target:
            collected.schema = schema_of(source, place.path)
            source.backup(target)
            target.execute("PRAGMA journal_mode = DELETE")  # one file, without a log beside it
            found = target.execute("PRAGMA quick_check(1)").fetchone()[0]
        if found != "ok":
            raise OutputError(f"event store {place.path} is damaged: {found}", hint="restore an earlier backup")
        with copy.open("rb") as file:
            collected.files[place.name] = _copy(archive, place.name, file)
    except sqlite3.Error as error:
        raise failure(place.path, error) from error
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            copy.with_name(copy.name + suffix).unlink(missing_ok=True)


def _entry(name: str) -> zipfile.ZipInfo:
    entry = zipfile.ZipInfo(name)  # without a time: restored files are new
    entry.compress_type = zipfile.ZIP_STORED if name.endswith(_COMPRESSED) else zipfile.ZIP_DEFLATED
    entry.external_attr = 0o600 << 16
    return entry
