"""Discovery of clips in files and folders: one rule for every command that takes them.

A folder tree that contains videos has one clip per video. Cameras and recorders put pictures beside or below their
recordings; those pictures are ignored. A tree without videos has one clip per folder of images. Names that begin with a
dot and the internal folders of storage systems are skipped.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from streamad.errors import StreamadError, UsageError
from streamad.files import natural_key
from streamad.protocols import Progress, no_progress
from streamad.sources.failures import FailureReason, SourceAuthError, SourceCodecError, SourceError, SourceNotFoundError
from streamad.sources.opening import open_source
from streamad.sources.spec import FileSpec, ImagesSpec

IMAGE_SUFFIXES = frozenset({".tif", ".tiff", ".jpg", ".jpeg", ".png", ".bmp"})
VIDEO_SUFFIXES = frozenset(
    {".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".ts", ".m2ts", ".mts", ".mpg", ".mpeg", ".m2v", ".vob", ".wmv"}
    | {".asf", ".flv", ".3gp", ".ogv", ".mxf", ".dav", ".mjpg", ".mjpeg", ".h264", ".264", ".h265", ".265", ".hevc"}
)
SYSTEM_FOLDERS = frozenset(
    {"@eaDir", "#recycle", "__MACOSX", "$RECYCLE.BIN", "lost+found", "System Volume Information"}
)
"""Folders that storage systems create for thumbnails, deleted files and metadata."""

_HINT = "give a video file, a folder of images, or a folder of those"
SHOWN = 5
"""Maximum number of clips listed in a message."""


@dataclass(frozen=True)
class LeftOut:
    """A clip or folder that cannot be read.

    Attributes:
        path: The file or folder.
        reason: The kind of failure.
        message: The failure as a sentence.
    """

    path: Path
    reason: FailureReason
    message: str


@dataclass(frozen=True)
class Clips:
    """Clips found in files and folders.

    Attributes:
        clips: Name and source of each clip, in natural order of their paths within each given path.
        left_out: Clips and folders that cannot be read.
        notes: Messages about files that were skipped on purpose.
    """

    clips: tuple[tuple[str, FileSpec | ImagesSpec], ...]
    left_out: tuple[LeftOut, ...] = ()
    notes: tuple[str, ...] = ()

    def readable(self, progress: Progress = no_progress) -> Clips:
        """Return the clips that can be opened and yield a frame; the others are added to `left_out`.

        Args:
            progress: Called with "opening clips", the number of clips tried and the total.

        Raises:
            SourceError: If no clip can be read; the error of the first one.
        """
        good: list[tuple[str, FileSpec | ImagesSpec]] = []
        bad = list(self.left_out)
        first: SourceError | None = None
        for number, (name, spec) in enumerate(self.clips, 1):
            try:
                with open_source(spec, camera=name) as source:
                    next(iter(source), None)
            except SourceError as error:
                first = first or error
                bad.append(LeftOut(spec.path, error.reason, str(error)))
            else:
                good.append((name, spec))
            progress("opening clips", number, len(self.clips))
        if first is not None and not good:
            if len(bad) == 1:
                raise first
            raise type(first)(f"none of the {len(bad)} clips can be read; first error: {first}", hint=first.hint)
        return replace(self, clips=tuple(good), left_out=tuple(bad))

    @property
    def specs(self) -> list[FileSpec | ImagesSpec]:
        """The source of each clip."""
        return [spec for _, spec in self.clips]

    @property
    def summary(self) -> str:
        """The first few names and the number of further ones."""
        more = len(self.clips) - SHOWN
        return ", ".join(name for name, _ in self.clips[:SHOWN]) + (f" and {more} more" if more > 0 else "")

    def failures(self) -> list[str]:
        """One sentence per kind of failure, with the number of clips and the first messages."""
        kinds: dict[FailureReason, list[str]] = {}
        for item in self.left_out:
            kinds.setdefault(item.reason, []).append(item.message)
        return [
            f"{_count(len(messages), 'clip')} left out ({reason}): "
            + "; ".join([*messages[:SHOWN], *([f"and {len(messages) - SHOWN} more"] if len(messages) > SHOWN else [])])
            for reason, messages in kinds.items()
        ]

    def report(self) -> dict[str, object]:
        """Notes and skipped clips for a JSON document."""
        left_out = [{"path": str(i.path), "reason": str(i.reason), "message": i.message} for i in self.left_out]
        return {"notes": list(self.notes), "left_out": left_out}


@dataclass
class Content:
    """Visible entries of a folder, each list in natural order.

    Attributes:
        videos: Files with a video suffix.
        images: Files with an image suffix.
        folders: Subfolders, except those in `SYSTEM_FOLDERS`.
        others: All other files.
    """

    videos: list[Path] = field(default_factory=list)
    images: list[Path] = field(default_factory=list)
    folders: list[Path] = field(default_factory=list)
    others: list[Path] = field(default_factory=list)


def folder_content(folder: Path) -> Content:
    """List one folder.

    Raises:
        OSError: If it cannot be read.
    """
    content = Content()
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith("."):
                continue
            path, suffix = Path(entry.path), os.path.splitext(entry.name)[1].lower()
            if _is(entry.is_dir):
                if entry.name not in SYSTEM_FOLDERS:
                    content.folders.append(path)
            elif suffix in VIDEO_SUFFIXES:
                content.videos.append(path)
            elif suffix in IMAGE_SUFFIXES and _is(entry.is_file):
                content.images.append(path)
            else:
                content.others.append(path)
    for paths in (content.videos, content.images, content.folders, content.others):
        paths.sort(key=lambda path: natural_key(path.name))
    return content


def find_clips(paths: Sequence[Path], fps: float) -> Clips:
    """Find clips in files and folders. Only names are read; see `Clips.readable`.

    Args:
        paths: Video files, folders of images, and folders containing those at any depth. A missing or unreadable path
            is left out if others yield clips. A file that is given or linked twice counts as one clip.
        fps: Frame rate to assume for folders of images.

    Raises:
        UsageError: If a folder has images both in itself and in its subfolders, single images are given, or no path
            is given.
        SourceError: If none of the paths can be read, or none contains a clip.
    """
    found = _Discovery(fps)
    empty: list[Path] = []
    for path in paths:
        before = len(found.clips)
        if not os.path.lexists(path):
            found.fail(path, SourceNotFoundError(f"{path} does not exist", hint=_HINT))
        elif not path.is_dir():
            found.file(path)
        elif not found.folder(path) and len(found.clips) == before:
            empty.append(path)
    if not found.clips:
        if found.first is not None:
            raise found.first
        if found.single_images:
            raise UsageError(
                f"{_count(len(found.single_images), 'image')} given one by one, the first {found.single_images[0]}: "
                "single images are not a video",
                hint="to use images as the frames of a video, give their folder",
            )
        raise _empty(empty[0]) if empty else UsageError("no video was given", hint=_HINT)
    for path in empty:
        found.fail(path, _empty(path))
    if found.single_images:
        found.notes.append(_left_out(len(found.single_images), "image", "given with the videos"))
    if found.duplicates:
        found.notes.append(
            f"{_count(found.duplicates, 'file')} given or linked twice: each counts as one clip"
            if found.duplicates > 1
            else "1 file given or linked twice: it counts as one clip"
        )
    return Clips(tuple(found.clips), tuple(found.left_out), tuple(found.notes))


class _Discovery:
    """Discovery state of one `find_clips` call."""

    def __init__(self, fps: float) -> None:
        self.clips: list[tuple[str, FileSpec | ImagesSpec]] = []
        self.left_out: list[LeftOut] = []
        self.notes: list[str] = []
        self.single_images: list[Path] = []
        self.duplicates = 0
        self.first: StreamadError | None = None
        self._fps = fps
        self._seen: set[tuple[int, int]] = set()

    def fail(self, path: Path, error: SourceError) -> None:
        self.first = self.first or error
        self.left_out.append(LeftOut(path, error.reason, str(error)))

    def file(self, path: Path) -> None:
        if path.suffix.lower() in IMAGE_SUFFIXES:
            self.single_images.append(path)
        else:
            self._video(path, path.stem)

    def folder(self, root: Path) -> int:
        """Add the clips of a folder tree and return their number before duplicates are removed."""
        tree = list(self._walk(root))
        videos = [path for content in tree for path in content.videos]
        images = [content.images for content in tree if content.images]
        if videos:
            for path in sorted(videos, key=lambda path: [natural_key(part) for part in path.relative_to(root).parts]):
                self._video(path, "-".join(path.relative_to(root).with_suffix("").parts))
            beside = sum(map(len, images))
            if beside:
                self.notes.append(f"{root}: " + _left_out(beside, "image", f"beside {_count(len(videos), 'video')}"))
            return len(videos)
        folders = [paths[0].parent for paths in images]
        inside = {above for folder in folders for above in folder.parents}
        for folder in folders:
            if folder in inside:
                below = sum(len(paths) for paths in images if folder in paths[0].parent.parents)
                raise UsageError(
                    f"{folder} contains {_count(len(folder_content(folder).images), 'image')} itself and {below} in "
                    "its subfolders; which of them form the clip is unclear",
                    hint="move one group away, or give only the folder with the clip's images",
                )
        for folder in sorted(folders, key=lambda path: [natural_key(part) for part in path.parts]):
            if self._is_new(folder):
                name = "-".join(folder.relative_to(root).parts) or folder.resolve().name
                self.clips.append((name, ImagesSpec(path=folder, fps=self._fps)))
        return len(folders)

    def _walk(self, root: Path) -> Iterator[Content]:
        """Walk the folders of a tree. A folder reached by several links is read once."""
        waiting, known = [root], set[tuple[int, int]]()
        while waiting:
            folder = waiting.pop()
            try:
                status = folder.stat()
                if (status.st_dev, status.st_ino) in known:
                    continue
                known.add((status.st_dev, status.st_ino))
                content = folder_content(folder)
            except OSError as error:
                kind = SourceAuthError if isinstance(error, PermissionError) else SourceNotFoundError
                self.fail(folder, kind(f"cannot read the folder {folder}: {error.strerror or error}"))
                continue
            waiting += content.folders
            yield content

    def _video(self, path: Path, name: str) -> None:
        try:
            is_new = self._is_new(path)
        except OSError as error:  # a broken or circular link
            self.fail(path, SourceNotFoundError(f"cannot read {path}: {error.strerror or error}"))
            return
        if is_new:
            self.clips.append((name, FileSpec(path=path)))

    def _is_new(self, path: Path) -> bool:
        status = path.stat()
        is_new = (status.st_dev, status.st_ino) not in self._seen
        self._seen.add((status.st_dev, status.st_ino))
        self.duplicates += not is_new
        return is_new


def _is(kind: Callable[[], bool]) -> bool:
    try:
        return kind()
    except OSError:  # a circular link
        return False


def list_images(folder: Path) -> list[Path]:
    """List the images of a folder in natural order of their names ("2.png" before "10.png").

    Raises:
        SourceNotFoundError: If the folder does not exist or contains no image.
        SourceCodecError: If it is not a folder, or also contains videos: pictures beside videos are not a clip.
        SourceAuthError: If permission to read it is missing.
    """
    if not folder.exists():
        raise SourceNotFoundError(f"{folder}: no such folder", hint="check the path")
    if not folder.is_dir():
        raise SourceCodecError(f"{folder} is a file, expected a folder of images", hint="for a video use type: file")
    try:
        content: Content | None = folder_content(folder)
    except PermissionError:
        content = None
    if content is None:
        raise SourceAuthError(f"{folder}: permission denied", hint="check the folder's permissions")
    if content.videos and content.images:
        raise SourceCodecError(
            f"{folder} contains {_count(len(content.videos), 'video')} beside {_count(len(content.images), 'image')}: "
            "its images are not treated as a clip",
            hint="give the videos, or move the images that form a clip into a folder of their own",
        )
    if not content.images:
        raise SourceNotFoundError(
            f"{folder} contains no image ({', '.join(sorted(IMAGE_SUFFIXES))})",
            hint="the images may be in a subfolder; give that folder" if content.folders else "check the path",
        )
    return content.images


def _empty(folder: Path) -> SourceNotFoundError:
    return SourceNotFoundError(
        f"{folder} contains no video ({', '.join(sorted(VIDEO_SUFFIXES))}) and no image", hint=_HINT
    )


def _left_out(count: int, what: str, where: str) -> str:
    return f"{_count(count, what)} {where} left out"


def _count(count: int, what: str) -> str:
    return f"{count} {what}" + ("" if count == 1 else "s")
