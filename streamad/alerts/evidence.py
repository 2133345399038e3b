"""Evidence of events on disk: its folders, what exists of it, its removal, and its export as one file.

FOLDER/CAMERA/EVENT-ID/ contains `event.json`, `trace.csv`, `snapshot.jpg` and clips. `streamad.live.evidence` and the
decoder processes write it; everything else reads it through this module.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import stat
import time
import zipfile
from collections.abc import Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field
from typing_extensions import Buffer

from streamad.alerts.event import Event
from streamad.alerts.health import HealthEvent
from streamad.errors import OutputError, UsageError
from streamad.files import open_regular

RECORD = "event.json"
TRACE = "trace.csv"
SNAPSHOT = "snapshot.jpg"
CLIP = "clip"
"""Name of an event's first clip, without its suffix; the next are clip-2, clip-3 …"""

FORMAT = "streamad-evidence"
VERSION = 1

FILE_NAME = re.compile(r"event\.json|trace\.csv|snapshot\.jpg|clip(-\d{1,3})?\.(mp4|mkv)")
"""Names of complete files."""
_CHUNK = 1 << 18
_ZIP_EPOCH = (1980, 1, 1, 0, 0, 0)
_EVENT_ID = re.compile(r"[0-9A-HJKMNP-TV-Z]{26}")
_CROCKFORD = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


class EvidenceSpec(BaseModel):
    """What is kept of every event for a person to judge: a snapshot, a clip, and the score's trace."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="false: events have no evidence")
    folder: Path = Field(
        Path("runs/evidence"), description="folder of the evidence, with a subfolder for each camera and event"
    )
    pre_roll_seconds: float = Field(
        5.0,
        ge=0,
        le=120,
        description="how long before an event its clip and trace begin; a clip begins with a key frame",
    )
    post_roll_seconds: float = Field(5.0, ge=0, le=120, description="how long after an event its clip and trace end")
    max_clip_seconds: float = Field(
        120.0, gt=0, le=3600, description="longest clip; what an event lasts beyond it is in its trace alone"
    )
    keep_days: float = Field(30.0, gt=0, le=36_600, description="age at which evidence is removed")
    max_gigabytes: float = Field(
        10.0, gt=0, le=1_000_000, description="largest evidence of one camera; the oldest events lose theirs first"
    )
    min_free_gigabytes: float = Field(
        1.0, ge=0, le=1_000_000, description="no clip is begun with less free space on the disk, which events need, too"
    )
    max_packet_megabytes: int = Field(
        32, ge=1, le=2048, description="memory of a camera's decoder for the packets before an event"
    )


@dataclass(frozen=True, slots=True)
class Evidence:
    """What exists of one event.

    Attributes:
        folder: The event's folder.
        files: The complete files in it, by name.
    """

    folder: Path
    files: tuple[Path, ...]

    @property
    def snapshot(self) -> Path | None:
        """The picture at the peak; None if there is none."""
        return next((path for path in self.files if path.name == SNAPSHOT), None)

    @property
    def clips(self) -> tuple[Path, ...]:
        """The clips, in order."""
        return tuple(path for path in self.files if path.name.startswith(CLIP))


def event_folder(folder: Path, camera: str, event: str) -> Path:
    """Folder of an event's evidence.

    Args:
        folder: `EvidenceSpec.folder`.
        camera: The camera's id.
        event: The event's id.
    """
    return folder / camera / event


def evidence_of(folder: Path, camera: str, event: str) -> Evidence:
    """What exists of an event; without files if nothing does."""
    own = event_folder(folder, camera, event)
    try:
        with os.scandir(own) as entries:
            names = [e.name for e in entries if FILE_NAME.fullmatch(e.name) and e.is_file(follow_symlinks=False)]
    except OSError:
        names = []
    return Evidence(own, tuple(own / name for name in sorted(names, key=_order)))


def find_evidence(folder: Path, event: str) -> Evidence | None:
    """The evidence of the event with this id, whatever its camera; None if there is none."""
    if not _EVENT_ID.fullmatch(event):
        return None
    for camera in _folders(folder):
        own = camera / event
        if own.is_dir() and not own.is_symlink():
            found = evidence_of(folder, camera.name, event)
            return found if found.files else None
    return None


def picture_of(folder: Path, event: Event | HealthEvent) -> Path | None:
    """The snapshot of an event, for a notification; None if there is none (yet)."""
    return evidence_of(folder, event.camera, event.id).snapshot


def event_folders(folder: Path) -> Iterator[Path]:
    """The folders of all events, by camera and then by id, which sorts by time."""
    for camera in _folders(folder):
        yield from _event_folders(camera)


def export_evidence(evidence: Evidence, target: Path) -> Path:
    """Write an event's evidence to one zip file, in a folder with the event's id.

    Raises:
        UsageError: There is no evidence.
        OutputError: The file exists, or cannot be written.
    """
    if not evidence.files:
        raise UsageError(f"{evidence.folder} has no evidence", hint="it may have been removed (evidence.keep_days)")
    part = target.with_name(f".{target.name}.part")
    try:
        if target.exists():
            raise FileExistsError(17, "it exists")
        target.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as file:
            file.writelines(zipped(evidence))
        os.replace(part, target)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise OutputError(
            f"cannot write {target}: {error.strerror or error}", hint="give another name with --out"
        ) from error
    return target


def zipped(evidence: Evidence) -> Iterator[bytes]:
    """The zip file of an event's evidence, in parts. A file that is removed meanwhile is left out.

    Raises:
        OSError: A file cannot be read.
    """
    sink = _Parts()
    # Pictures and videos are compressed already.
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as archive:
        for path in evidence.files:
            try:
                file = open_regular(path)
            except FileNotFoundError:
                continue
            with file:
                changed = time.localtime(os.fstat(file.fileno()).st_mtime)[:6]
                entry = zipfile.ZipInfo(f"{evidence.folder.name}/{path.name}", max(changed, _ZIP_EPOCH))
                entry.external_attr = 0o644 << 16
                with archive.open(entry, "w", force_zip64=True) as target:
                    while chunk := file.read(_CHUNK):
                        target.write(chunk)
                        yield sink.taken()
    yield sink.taken()


class _Parts(io.RawIOBase):
    """What was written since it was taken last. It cannot be sought, so the archive is written in one pass."""

    def __init__(self) -> None:
        super().__init__()
        self._written = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer) -> int:
        self._written += data
        return memoryview(data).nbytes

    def taken(self) -> bytes:
        written, self._written = bytes(self._written), bytearray()
        return written


def remove_old(
    folder: Path,
    *,
    max_bytes: float,
    oldest: datetime | None,
    keep: Collection[str] = (),
    sizes: dict[Path, tuple[int, int]] | None = None,
) -> list[Path]:
    """Remove the evidence that is too old or too much, the oldest events of each camera first.

    Args:
        folder: `EvidenceSpec.folder`.
        max_bytes: Largest evidence of one camera, bytes.
        oldest: Evidence of events that began before is removed. None: age does not matter.
        keep: Ids of events whose evidence is never removed, because they are open.
        sizes: Known sizes of events' folders, which this updates: folder -> (time of its last change, bytes).

    Returns:
        The folders that were removed.

    Raises:
        OSError: One could not be removed.
    """
    sizes = {} if sizes is None else sizes
    removed: list[Path] = []
    for camera in _folders(folder):
        own = [(path, _size(path, sizes)) for path in _event_folders(camera)]
        total = sum(size for _, size in own)
        for path, size in own:
            is_old = oldest is not None and _began_at(path.name) < oldest
            if path.name in keep or not (is_old or total > max_bytes):
                continue
            _remove(path)
            sizes.pop(path, None)
            total -= size
            removed.append(path)
    return removed


def _order(name: str) -> tuple[bool, int, str]:
    is_clip = name.startswith(CLIP)
    return not is_clip, len(name) if is_clip else 0, name


def _folders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / e.name for e in entries if e.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _event_folders(camera: Path) -> list[Path]:
    return [path for path in _folders(camera) if _EVENT_ID.fullmatch(path.name)]


def _size(path: Path, sizes: dict[Path, tuple[int, int]]) -> int:
    try:
        changed = path.stat().st_mtime_ns
        known = sizes.get(path)
        if known is None or known[0] != changed:
            with os.scandir(path) as entries:
                known = changed, sum(e.stat(follow_symlinks=False).st_size for e in entries)
            sizes[path] = known
        return known[1]
    except FileNotFoundError:  # removed by hand
        return 0


def _remove(path: Path) -> None:
    """Remove an event's folder. What somebody removes at the same time is no error."""
    for name in os.listdir(path) if path.is_dir() else ():
        entry = path / name
        if stat.S_ISDIR(entry.lstat().st_mode):
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
    with suppress(FileNotFoundError):
        path.rmdir()


def _began_at(event: str) -> datetime:
    milliseconds = 0
    for letter in event[:10]:
        milliseconds = milliseconds * 32 + _CROCKFORD.index(letter)
    try:
        return datetime.fromtimestamp(milliseconds / 1000, UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.max.replace(tzinfo=UTC)
