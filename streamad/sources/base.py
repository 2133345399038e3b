"""Source: the interface of every decoder, and the properties of an open source."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass

from streamad.frame import Frame
from streamad.protocols import Closeable

MAX_PROBLEMS = 50
"""Messages kept per source. All problems are counted. Chosen without measurement."""


@dataclass(frozen=True, slots=True)
class SourceInfo:
    """Properties of an open source.

    Attributes:
        width: Width of the first frame, pixels; 0 if unknown until the first frame arrives.
        height: Height of the first frame, pixels; 0 if unknown until the first frame arrives.
        fps: Frames per second, declared or estimated from the first frames; None if unknown. Cameras often
            report it wrong, so take time from `Frame.pts_seconds`, never from counting frames.
        frames: Number of frames that the container declares; None if unknown or endless.
        live: Whether the source is a camera.
        codec: FFmpeg's name for the codec; None for image folders.
        decoder: Decoder in use, such as "software (h264)", "cuda (h264)" or "opencv".
    """

    width: int
    height: int
    fps: float | None
    frames: int | None
    live: bool
    codec: str | None
    decoder: str


class Source(Closeable):
    """An open source of frames.

    A source is a context manager. Iteration is single-pass, as with an open file: a second loop continues where the
    first stopped. Every frame owns its pixels.

    Attributes:
        camera: The configured camera id, copied into every frame.
        problems: Messages about damage that did not end the source (a truncated end, undecodable images), oldest
            first, at most `MAX_PROBLEMS`.
        frames_decoded: Number of frames delivered.
        corrupt_frames: Number of frames in which the decoder found errors. More frames may be flagged, because later
            frames are predicted from damaged ones.
        decode_errors: Number of packets or images that could not be decoded.
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
        """Properties of the source."""

    @abstractmethod
    def __iter__(self) -> Iterator[Frame]:
        """Iterate over the frames in presentation order.

        Raises:
            SourceError: If the source cannot be read any further. A file that has yielded frames ends instead and
                reports the failure in `problems`.
        """

    def color(self) -> bytes | None:
        """The newest frame in color as JPEG, for people; None if the source has none."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Release the decoder and the connection. May be called more than once."""

    def report(self, problem: str) -> None:
        """Append to `problems`, which keeps only the first `MAX_PROBLEMS` messages."""
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)
