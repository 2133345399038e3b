"""Source: what every decoder offers, and what it says of itself."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from streamad.frame import Frame

MAX_PROBLEMS = 50
"""Texts kept of one source (our choice); all are counted."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """What is known of a source once it is open.

    Attributes:
        width: pixels, of the first frame; 0 where the stream does not say before its first frame.
        height: pixels, likewise.
        fps: frames a second as declared or guessed from the first frames, None where unknown. Cameras are
            often wrong about it: time is taken from `Frame.pts_seconds`, never from counting.
        frames: number of frames as declared by the container, None where unknown or endless.
        live: whether the source is a camera.
        codec: FFmpeg's name of the codec, None for folders of images.
        decoder: what decodes: "software (h264)", "cuda (h264)", "opencv".
    """

    width: int
    height: int
    fps: float | None
    frames: int | None
    live: bool
    codec: str | None
    decoder: str


class Source(ABC):
    """An open source: iterate it once for its frames, and close it.

    A source is a context manager. Iterating is single-pass, as with an open file: a second loop over the same
    source goes on where the first stopped. Every frame owns its pixels.

    Attributes:
        camera: the configured id, copied into every frame.
        problems: texts about damage that did not end the source (a truncated end, undecodable images), oldest
            first, at most `MAX_PROBLEMS`.
        frames_decoded: number of frames handed out.
        corrupt_frames: number of those in which the decoder met errors; more may be flagged, as they build on them.
        decode_errors: number of packets or images that could not be decoded.
    """

    def __init__(self, camera: str) -> None:
        self.camera = camera
        self.problems: list[str] = []
        self.frames_decoded = 0
        self.corrupt_frames = 0
        self.decode_errors = 0

    @property
    @abstractmethod
    def info(self) -> SourceInfo:
        """What is known of the source."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """The frames, in order of presentation.

        Raises:
            SourceError: the source cannot be read any further; a file that yielded frames ends instead, and
                says so in `problems`.
        """

    @abstractmethod
    def close(self) -> None:
        """Release decoder and connection. Closing twice is allowed."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def report(self, problem: str) -> None:
        """Add to `problems`, which keeps the first ones."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
