"""Restore a backup: all of it or nothing, and never over what exists unless asked to."""

from __future__ import annotations

import hashlib
import os
import shutil
import sqlite3
import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from streamad.alerts.database import WriterLock, failure, schema_of
from streamad.config import load_config
from streamad.errors import OutputError, UsageError
from streamad.formatting import counted
from streamad.workflows.backup_archive import BackupFile, BackupManifest, open_archive
from streamad.workflows.backup_places import CONFIG, EVENTS, MODELS, USERS, Place, places_of

_CHUNK = 1 << 20
_BESIDE = ("", "-wal", "-shm", "-journal")
"""Endings of the files that make an SQLite database."""


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What was restored.

    Attributes:
        made_by: Version of the program that made the backup.
        made_at: When, as ISO 8601 text.
        restored: The files and folders.
        left_out: Names in the backup for which the configuration has no place.
        kept_config: Whether the configuration existed and was kept.
    """

    made_by: str
    made_at: str
    restored: tuple[Path, ...]
    left_out: tuple[str, ...]
    kept_config: bool


@dataclass(frozen=True, slots=True)
class _Item:
    """A file or folder of the backup on its way to its place; the names in the archive begin with `name`."""

    name: str
    path: Path

    @property
    def staged(self) -> Path:
        return self.path.with_name(f".{self.path.name}.restoring")

    @property
    def replaced(self) -> Path:
        return self.path.with_name(f".{self.path.name}.replaced")


def restore_backup(archive: Path, config_path: Path, *, force: bool = False) -> RestoreReport:
    """Restore a backup to where a configuration keeps its files.

    Everything is unpacked beside its place and checked before anything is put there, so that a damaged archive or a
    full disk changes nothing.

    Args:
        archive: The backup.
        config_path: The configuration. If it exists, it is kept and says where files go; otherwise that of the backup
            is restored here.
        force: Replace what exists. Default: refuse.

    Raises:
        UsageError: The archive is not a backup, is damaged, leads out of its places, or something exists already.
        ConfigError: The configuration is not valid.
        OutputError: A file cannot be written, or a running process uses the event store.
    """
    with ExitStack() as stack:
        opened, manifest = stack.enter_context(open_archive(archive))
        stack.enter_context(_reported())
        kept = os.path.lexists(config_path)
        unpacked = _Item(CONFIG, config_path)
        if not kept:
            config_path.parent.mkdir(parents=True, exist_ok=True)
            stack.callback(_remove, unpacked.staged)
            _unpack(opened, manifest, unpacked, archive)
        config = load_config(config_path if kept else unpacked.staged)
        places = [place for place in places_of(config, config_path) if not (kept and place.name == CONFIG)]
        items, left_out = _items(manifest, places)
        existing = [item.path for item in items if _is_there(item.path)]
        if existing and not force:
            raise UsageError(
                f"not restored: {', '.join(map(str, existing[:5]))}{' …' if len(existing) > 5 else ''} exists already",
                hint="restore to an empty folder, or replace what exists with --force",
            )
        for item in items:
            item.path.parent.mkdir(parents=True, exist_ok=True)
            stack.callback(_remove, item.staged)
        if any(item.name == EVENTS for item in items):
            lock = WriterLock(config.events.path)  # a running process would go on with its own file
            stack.callback(lock.release)
        _require_space(items, manifest)
        for item in items:
            if item.name != CONFIG:
                _unpack(opened, manifest, item, archive)
            if item.name == USERS:
                item.staged.chmod(0o600)
            if item.name == EVENTS:
                _check_events(item.staged, archive)
        _swap(items)
    return RestoreReport(
        manifest.streamad, manifest.made_at.isoformat(), tuple(item.path for item in items), left_out, kept
    )


def _items(manifest: BackupManifest, places: list[Place]) -> tuple[list[_Item], tuple[str, ...]]:
    """Where each part of the backup goes, and what has no place."""
    known = {place.name: place.path for place in places}
    models = next((place.path.parent for place in places if place.name.startswith(f"{MODELS}/")), None)
    items: dict[str, _Item] = {}
    left_out = []
    for name in (*manifest.files, *manifest.links):
        parts = name.split("/")
        owners = ["/".join(parts[:n]) for n in range(1, len(parts) + 1)]
        owner = next((owner for owner in owners if owner in known), None)
        if owner is not None:
            items[owner] = _Item(owner, known[owner])
        elif models is not None and parts[0] == MODELS and len(parts) > 2:  # a member of a fused model
            items[owners[1]] = _Item(owners[1], models / parts[1])
        elif name != CONFIG:
            left_out.append(name)
    order = [place.name for place in places]
    return sorted(items.values(), key=lambda item: order.index(item.name) if item.name in order else -1), tuple(
        left_out
    )


def _unpack(archive: zipfile.ZipFile, manifest: BackupManifest, item: _Item, path: Path) -> None:
    """Write the files of an item beside its place, and check their hashes."""
    _remove(item.staged)
    own = {name: file for name, file in manifest.files.items() if f"{name}/".startswith(f"{item.name}/")}
    if item.name == CONFIG and not own:
        raise UsageError(f"{path} has no configuration", hint="give an existing configuration")
    for name, file in own.items():
        target = item.staged / name[len(item.name) + 1 :] if name != item.name else item.staged
        target.parent.mkdir(parents=True, exist_ok=True)
        _write(archive, name, file, target, path)
    for link, target_text in manifest.links.items():
        if link.startswith(f"{item.name}/"):
            place = item.staged / link[len(item.name) + 1 :]
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(target_text)


def _write(archive: zipfile.ZipFile, name: str, expected: BackupFile, target: Path, path: Path) -> None:
    digest, size = hashlib.sha256(), 0
    with archive.open(name) as source, target.open("xb") as file:
        while data := source.read(_CHUNK):
            size += len(data)
            if size > expected.size:
                break
            digest.update(data)
            file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if size != expected.size or digest.hexdigest() != expected.sha256:
        raise UsageError(f"{path} is damaged: {name} does not match its hash", hint="use another backup")


def _check_events(database: Path, archive: Path) -> None:
    try:
        with closing(sqlite3.connect(database)) as connection:
            schema_of(connection, archive)
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise failure(archive, error) from error
    if found != "ok":
        raise UsageError(f"{archive}: the event store is damaged: {found}", hint="use another backup")


def _require_space(items: list[_Item], manifest: BackupManifest) -> None:
    needed: dict[int, tuple[Path, int]] = {}
    for item in items:
        size = sum(f.size for name, f in manifest.files.items() if f"{name}/".startswith(f"{item.name}/"))
        device = item.path.parent.stat().st_dev
        needed[device] = item.path.parent, needed.get(device, (item.path, 0))[1] + size
    for folder, size in needed.values():
        if shutil.disk_usage(folder).free < size:
            raise OutputError(
                f"not restored: {folder} has too little free space for {counted(size >> 20, 'MiB', 'MiB')}",
                hint="free space, or restore without evidence",
            )


def _swap(items: list[_Item]) -> None:
    """Put all items in their places. If one cannot be, those before it are taken back."""
    with ExitStack() as undo:
        for item in items:
            for ending in _BESIDE if item.name == EVENTS else ("",):
                old, aside = (path.with_name(path.name + ending) for path in (item.path, item.replaced))
                if os.path.lexists(old):
                    _remove(aside)
                    old.rename(aside)
                    undo.callback(aside.rename, old)
            item.staged.rename(item.path)
            undo.callback(item.path.rename, item.staged)
        undo.pop_all()
    for item in items:
        for ending in _BESIDE:
            with suppress(OSError):
                _remove(item.replaced.with_name(item.replaced.name + ending))


def _is_there(path: Path) -> bool:
    return any(path.iterdir()) if path.is_dir() else os.path.lexists(path)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


@contextmanager
def _reported() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if isinstance(error, OutputError):
            raise
        raise OutputError(
            f"not restored: {error.filename or ''}: {error.strerror or error}",
            hint="check that the folder is writable and the disk is not full",
        ) from error
