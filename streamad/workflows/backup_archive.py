"""The archive of a backup: a zip file with a manifest of sizes and hashes, which is not trusted when it is read."""

from __future__ import annotations

import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamad.errors import UsageError
from streamad.files import open_regular

VERSION = 1
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 64 << 20

_DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, NotImplementedError)
"""What zipfile raises for a damaged, encrypted or unsupported archive."""


class BackupFile(BaseModel):
    """A file of a backup."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    size: int = Field(ge=0, description="bytes")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class BackupManifest(BaseModel):
    """The document `manifest.json` of a backup."""

    model_config = ConfigDict(frozen=True)

    format: Literal["streamad-backup"] = "streamad-backup"
    version: int = VERSION
    streamad: str = Field(description="version of the program that made it")
    made_at: datetime
    events_schema: int | None = Field(description="schema of the event store; null: there was no store")
    files: dict[str, BackupFile]
    links: dict[str, Annotated[str, Field(max_length=4096)]] = Field(
        description="symbolic links by name, with the target relative to the link's folder"
    )


@contextmanager
def open_archive(path: Path) -> Iterator[tuple[zipfile.ZipFile, BackupManifest]]:
    """Open a backup for reading. Damage found now or while it is read becomes a UsageError.

    Raises:
        UsageError: It cannot be read, is not a backup, is damaged, or was made by a newer version.
    """
    try:
        source = open_regular(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    try:
        with source, zipfile.ZipFile(source) as archive:
            yield archive, _checked(archive, path)
    except _DAMAGE as error:
        raise UsageError(f"{path} is not a backup, or is damaged: {error}", hint="use another backup") from error


def _checked(archive: zipfile.ZipFile, path: Path) -> BackupManifest:
    names = archive.namelist()
    try:
        entry = archive.getinfo(MANIFEST)
        if entry.file_size > MAX_MANIFEST_BYTES:
            raise ValueError(f"{MANIFEST} has {entry.file_size:,} bytes")
        document = json.loads(archive.read(entry))
        version = document["version"]
    except (KeyError, TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"{path} is not a backup of streamad: no valid {MANIFEST}") from error
    if isinstance(version, int) and version > VERSION:
        raise UsageError(
            f"{path} has version {version} of the backup format, the newest supported is {VERSION}",
            hint="a newer streamad made it: restore it with that version",
        )
    try:
        manifest = BackupManifest.model_validate(document)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))[:200]
        raise UsageError(f"{path}: {MANIFEST} is not valid: {where}: {first['msg']}") from error
    if len(set(names)) != len(names) or set(names) != {*manifest.files, MANIFEST}:
        raise UsageError(f"{path} does not hold exactly the files of its {MANIFEST}", hint="use another backup")
    for name in (*manifest.files, *manifest.links):
        if not is_inside(name):
            raise UsageError(f"{path} has the name {name[:200]!r}, which leads out of the backup: it is not restored")
    for name, file in manifest.files.items():
        if archive.getinfo(name).file_size != file.size:
            raise UsageError(f"{path}: the size of {name} is not the one in {MANIFEST}", hint="use another backup")
    for link, target in manifest.links.items():
        place = PurePosixPath(link).parent
        top = "/".join(place.parts[:2])  # models/NAME
        leads_to = os.path.normpath(place / target)
        if not is_inside(target) or not f"{leads_to}/".startswith(f"{top}/"):
            raise UsageError(f"{path} has the link {link[:200]!r}, which leads out of the backup: it is not restored")
        if any(name.startswith(f"{link}/") for name in (*manifest.files, *manifest.links)):
            raise UsageError(f"{path} has files under the link {link[:200]!r}: it is not restored")
    return manifest


def is_inside(name: str) -> bool:
    """Whether a name is a plain relative path: no "..", no root, no backslash, nothing unprintable."""
    parts = name.split("/")
    return not re.search(r"[\\\x00-\x1f\x7f\ud800-\udfff]", name) and not {"", ".", ".."} & set(parts)
