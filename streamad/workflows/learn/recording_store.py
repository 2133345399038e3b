"""The normal video that a model was learned from, kept beside it so that learning again forgets nothing."""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from streamad.errors import OutputError, UsageError
from streamad.files import read_json, write_json
from streamad.frame import Frame, FrameFlags
from streamad.sources import DeviceSpec, FileSpec, ImagesSpec, RtspSpec, SourceSpec, open_source

INDEX = "index.json"
FORMAT = "streamad-recordings"

HELD_EVERY = 4
"""Every fourth clip is held out for the calibration; the choice never changes."""

Role = Literal["train", "held"]


@dataclass(frozen=True, slots=True)
class Clip:
    """One clip of normal video.

    Attributes:
        file: Its name in the folder.
        session: Number of the recording that it belongs to.
        profile: What the recording shows ("day", "night").
        role: Whether it is fitted to or held out.
        seconds: Its length.
        size_bytes: Size of the file.
        origin: The file that it was recorded from (`origin_of`); empty for a camera.
    """

    file: str
    session: int
    profile: str
    role: Role
    seconds: float
    size_bytes: int
    origin: str = ""


@dataclass(frozen=True, slots=True)
class GoodVideo:
    """The good frames of a file that is learned from where it is; calling it yields them.

    Attributes:
        spec: The file.
        origin: See `Clip`.
        session: Number of the recording in which it was read.
        profile: See `Clip`.
        runs: First and last index of each run of good frames, in order.
        seconds: Length of the good frames.
        fps: Frame rate.
    """

    spec: SourceSpec
    origin: str
    session: int
    profile: str
    runs: tuple[tuple[int, int], ...]
    seconds: float
    fps: float

    def __call__(self) -> Iterator[Frame]:
        """Yield the good frames; the first after a rejected one is marked as a discontinuity.

        An odd last row or column is left out, as in recordings.
        """
        runs = iter(self.runs)
        first, last = next(runs, (0, -1))
        with open_source(self.spec, camera="learn") as source:
            for frame in source:
                while frame.index > last:
                    following = next(runs, None)
                    if following is None:
                        return
                    first, last = following
                if frame.index < first:
                    continue
                height, width = (side // 2 * 2 for side in frame.shape)
                flags = frame.flags | FrameFlags.DISCONTINUITY if frame.index == first else frame.flags
                yield replace(frame, pixels=frame.pixels[:height, :width], flags=flags)


@dataclass(frozen=True, slots=True)
class Session:
    """One recording, which may be interrupted and resumed.

    Attributes:
        number: From 0.
        profile: See `Clip`.
        source: Description of the source, without credentials.
        wanted_seconds: Requested length.
        done: Whether it is complete.
        survey: Statistics, as from `RecordingStats.to_json`.
        address: Salted digest of a camera's address, so that only its own recording is resumed: `source` names just the
            host, and a recorder has many cameras. Empty for files, and in older indexes.
    """

    number: int
    profile: str
    source: str
    wanted_seconds: float
    done: bool = False
    survey: dict[str, Any] = field(default_factory=dict)
    address: str = ""


class RecordingStore:
    """The folder of recordings and its index, which is rewritten atomically at every change.

    Args:
        folder: Created if missing.

    Raises:
        OutputError: It cannot be written to.
        UsageError: Its index is damaged.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.clips: list[Clip] = []
        self.sessions: list[Session] = []
        self.given: list[GoodVideo] = []
        """Files that are learned from where they are, this time; the folder keeps a sample of them for the next."""
        try:
            folder.mkdir(parents=True, exist_ok=True)
            for part in folder.glob(".*.part"):  # left by a killed process
                part.unlink(missing_ok=True)
        except OSError as error:
            raise OutputError(f"cannot write to {folder}: {error.strerror}", hint="give another --out") from error
        self._load()

    @property
    def seconds(self) -> float:
        """Length of all clips."""
        return sum(clip.seconds for clip in self.clips)

    @property
    def size_bytes(self) -> int:
        """Size of all clips."""
        return sum(clip.size_bytes for clip in self.clips)

    @property
    def profiles(self) -> dict[str, float]:
        """Seconds of each profile in the folder, in order of their first recording."""
        return _by_profile(self.clips)

    @property
    def learned_profiles(self) -> dict[str, float]:
        """Seconds of each profile that is learned from, see `whole`."""
        return _by_profile([*self._beside_given, *self.given])

    @property
    def whole(self) -> list[FileSpec | GoodVideo]:
        """All normal video: the files that were given, whole, and clips of everything else, in order of time."""
        return [*map(self._spec_of, self._beside_given), *self.given]

    @property
    def _beside_given(self) -> list[Clip]:
        origins = {video.origin for video in self.given}
        return [clip for clip in self.clips if clip.origin not in origins]

    def surveyed(self, name: str) -> float:
        """Sum of a statistic ("seconds", "moving_seconds") over all recordings that still have clips."""
        kept = {clip.session for clip in self.clips} | {video.session for video in self.given}
        return sum(float(s.survey.get(name, 0.0)) for s in self.sessions if s.number in kept)

    def of_role(self, role: Role) -> list[FileSpec]:
        """Clips of one role, in order of time."""
        return [self._spec_of(clip) for clip in self.clips if clip.role == role]

    def _spec_of(self, clip: Clip) -> FileSpec:
        return FileSpec(path=self.folder / clip.file)

    def of_session(self, number: int) -> list[Clip]:
        """Clips of one recording."""
        return [clip for clip in self.clips if clip.session == number]

    def begin(self, *, profile: str, source: str, wanted_seconds: float, camera: SourceSpec | None = None) -> Session:
        """Start a recording, or resume the interrupted one of the same profile and source; drop other unfinished ones.

        Args:
            profile: See `Clip`.
            source: Description of the source, without credentials.
            wanted_seconds: Requested length.
            camera: The camera, whose recording can be resumed. None: files, which start from the beginning.
        """
        address = "" if camera is None else _address_of(camera)
        for session in [s for s in self.sessions if not s.done]:
            is_same = _is_address(address, session.address) if session.address else session.source == source
            if address and is_same and session.profile == profile:
                session = replace(session, wanted_seconds=wanted_seconds)
                self.update(session)
                return session
            self._drop(self.of_session(session.number))
            self.sessions.remove(session)
        number = max((s.number for s in self.sessions), default=-1) + 1
        session = Session(number, profile, source, wanted_seconds, address=_digest(address, secrets.token_hex(16)))
        self.sessions.append(session)
        self.save()
        return session

    def update(self, session: Session) -> None:
        """Store the new state of a recording."""
        self.sessions = [session if s.number == session.number else s for s in self.sessions]
        self.save()

    def next_file(self, session: Session, role: Role | None = None) -> tuple[Path, Role]:
        """Return the path of a recording's next clip, and its role (by its number, unless given)."""
        number = len(self.of_session(session.number))
        role = role or ("held" if number % HELD_EVERY == HELD_EVERY - 1 else "train")
        taken = {clip.file for clip in self.clips}
        while (name := f"{session.number:03d}-{session.profile}-{number:04d}.mkv") in taken:
            number += 1
        return self.folder / name, role

    def add(self, session: Session, path: Path, role: Role, seconds: float, origin: str = "") -> None:
        """Add a finished clip."""
        self.clips.append(Clip(path.name, session.number, session.profile, role, seconds, path.stat().st_size, origin))
        self.save()

    def drop(self, clips: Sequence[Clip]) -> None:
        """Delete clips."""
        self._drop(clips)
        self.save()

    def replace_origins(self, session: Session, origins: set[str]) -> None:
        """Delete what earlier recordings kept of this one's files: the same video must not count twice."""
        self.drop([clip for clip in self.clips if clip.session != session.number and clip.origin in origins])

    def thin(self, *, keep_seconds: float, keep_bytes: int, seed: int = 17) -> int:
        """Drop random clips of profiles that exceed their limits, so that old and new ones are equally likely to stay.

        A profile keeps at most `keep_seconds`; all share `keep_bytes` by their length. One clip of each role stays.

        Returns:
            The number of clips dropped.
        """
        rng = np.random.default_rng(seed)
        dropped: list[Clip] = []
        profiles = self.profiles
        for profile in profiles:
            kept = [clip for clip in self.clips if clip.profile == profile]
            room = keep_bytes / len(profiles)
            while len(kept) > 2 and (
                sum(c.seconds for c in kept) > keep_seconds or sum(c.size_bytes for c in kept) > room
            ):
                roles = [c.role for c in kept]
                free = [k for k, c in enumerate(kept) if roles.count(c.role) > 1]
                # The role that exceeds its share is thinned first.
                over: Role = "held" if roles.count("held") * HELD_EVERY > len(roles) else "train"
                choice = [k for k in free if kept[k].role == over] or free
                if not choice:
                    break
                dropped.append(kept.pop(int(rng.choice(choice))))
        self._drop(dropped)
        self.save()
        return len(dropped)

    def save(self) -> None:
        """Write the index."""
        write_json(
            self.folder / INDEX,
            {
                "format": FORMAT,
                "version": 1,
                "sessions": [asdict(session) for session in self.sessions],
                "clips": [asdict(clip) for clip in self.clips],
            },
        )

    def _drop(self, clips: Sequence[Clip]) -> None:
        if not clips:
            return
        gone = {clip.file for clip in clips}
        self.clips = [clip for clip in self.clips if clip.file not in gone]
        for name in gone:
            (self.folder / name).unlink(missing_ok=True)

    def _load(self) -> None:
        path = self.folder / INDEX
        if not path.exists():
            return
        try:
            document = read_json(path)
            if document["format"] != FORMAT or document["version"] != 1:
                raise ValueError("another format")
            self.sessions = [Session(**session) for session in document["sessions"]]
            self.clips = [Clip(**clip) for clip in document["clips"] if (self.folder / clip["file"]).is_file()]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(
                f"{path} is not an index of recordings: {error}", hint="move the folder away and record again"
            ) from error


def _by_profile(parts: Sequence[Clip | GoodVideo]) -> dict[str, float]:
    found: dict[str, float] = {}
    for part in parts:
        found[part.profile] = found.get(part.profile, 0.0) + part.seconds
    return found


def _address_of(camera: SourceSpec) -> str:
    """Return what identifies a camera: its whole address without user and password."""
    if isinstance(camera, RtspSpec):
        return camera.url.reveal(credentials=False)
    return str(camera.device) if isinstance(camera, DeviceSpec) else camera.type


def _digest(address: str, salt: str) -> str:
    # Cameras take passwords in paths and queries, so the digest must be slow to guess from.
    if not address:
        return ""
    raw = address.encode("utf-8", "surrogateescape")
    return f"{salt}:{hashlib.scrypt(raw, salt=salt.encode(), n=2**14, r=8, p=1).hex()}"


def _is_address(address: str, stored: str) -> bool:
    return hmac.compare_digest(_digest(address, stored.partition(":")[0]), stored)


def origin_of(spec: SourceSpec) -> str:
    """Return a digest that identifies a file by path, size and modification time; "" for a camera."""
    if not isinstance(spec, FileSpec | ImagesSpec):
        return ""
    path = spec.path.resolve()
    state = path.stat()
    return hashlib.sha256(f"{path} {state.st_size} {state.st_mtime_ns}".encode(errors="surrogateescape")).hexdigest()
