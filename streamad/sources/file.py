"""FileSource: a video file, read as fast as possible or in real time."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from dataclasses import replace

from av.container import InputContainer

from streamad.frame import Frame
from streamad.sources.container import ContainerSource, OnPacket
from streamad.sources.decoding import Picture
from streamad.sources.failures import SourceCodecError, SourceError, SourceNotFoundError
from streamad.sources.spec import FileSpec
from streamad.sources.timing import Pacer

_TS_PACKET = 188
_MISSING_SECONDS = 0.5
_MISSING_SHARE = 0.01
"""Share of the declared length that may be missing without a report, because containers round. Chosen without
measurement."""


class FileSource(ContainerSource):
    """A video file.

    A damaged or truncated file yields the frames that can be decoded and reports in `problems` what is missing.

    Args:
        spec: The file and how to play it.
        camera: The configured camera id.
        threads: Number of decoder threads; 0 for FFmpeg's default.
        clock: Monotonic clock, seconds.
        sleep: Function that waits for a number of seconds, for `realtime`.
        on_packet: See `ContainerSource`.

    Raises:
        SourceNotFoundError: If the file does not exist.
        SourceCodecError: If no video can be decoded, or the requested hardware is unavailable.
        SourceAuthError: If permission to read it is missing.
    """

    def __init__(
        self,
        spec: FileSpec,
        *,
        camera: str,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
        on_packet: OnPacket | None = None,
    ) -> None:
        self._spec = spec
        self._pacer = Pacer(spec.speed, clock=clock, sleep=sleep) if spec.realtime else None
        self._began_at: float | None = None
        self._last_at = 0.0
        super().__init__(camera, spec.path, hwaccel=spec.hwaccel, threads=threads, clock=clock, on_packet=on_packet)
        try:
            self._first = self._first_picture()
        except SourceError:
            self.close()
            raise
        # Use the displayed size: only a decoded frame carries its rotation.
        height, width = self._shown(self._first.frame).shape
        self._info = replace(self._info, width=width, height=height, frames=None if spec.loop else self._info.frames)

    def _first_picture(self) -> Picture:
        picture = next(self._pictures, None)
        if picture is None:
            raise SourceCodecError(
                f"{self._target}: no picture could be decoded ({self.decode_errors} damaged packets)",
                hint="check that the file plays in a video player",
            )
        return picture

    def _run(self) -> Generator[Frame, None, None]:
        while True:
            before, self._began_at = self.frames_decoded, None
            yield self._frame(self._first)
            for picture in self._pictures:
                yield self._frame(picture)
            self._report_missing(self.frames_decoded - before)
            if not self._spec.loop:
                return
            self._rewind()

    @property
    def declared(self) -> int:
        """Number of pictures that the file declares, more than it contains if truncated; 0 if undeclared."""
        rate, microseconds = self._stream.average_rate, self._container.duration
        return self._declared() or (round(microseconds / 1e6 * rate) if rate and microseconds else 0)

    def count(self, *, decode: bool = False) -> int:
        """Count the frames that iteration yields. This uses up the source: close it, or open another one to iterate.

        Args:
            decode: Whether to decode every picture. Otherwise packets are counted where that is exact, which equals
                decoding for an intact file.
        """
        if not decode and self._count.shown() is not None:
            while self._next_packet() is not None:
                pass
            if (shown := self._count.shown()) is not None:
                return shown
            self._rewind()
        return 1 + sum(1 for _ in self._pictures)

    def _opened(self) -> InputContainer:
        path = self._spec.path
        if path.is_dir():
            raise SourceCodecError(
                f"{path} is a folder, expected a video file", hint="for a folder of images use type: images"
            )
        if not path.exists():
            raise SourceNotFoundError(f"{path}: no such file", hint="check the path")
        if not path.is_file():
            raise SourceCodecError(f"{path} is not a regular file", hint="for a camera device use type: device")
        if path.stat().st_size == 0:
            raise SourceCodecError(f"{path} is empty (0 bytes)", hint="record or copy the file again")
        # "file:" keeps names such as "a:b.mp4" from being read as a protocol.
        return self._open(f"file:{path}")

    def _survives(self, failure: SourceError) -> bool:
        self.report(f"{self._target}: reading stopped after {self.frames_decoded} frames: damaged or truncated")
        return True

    def _before_delivery(self, pts_seconds: float) -> None:
        self._began_at = pts_seconds if self._began_at is None else self._began_at
        self._last_at = pts_seconds
        if self._pacer is not None:
            self._pacer.wait(pts_seconds)

    def _rewind(self) -> None:
        # Reopen instead of seeking: not every container can seek, and decoders keep state.
        self._pictures.close()
        self._container.close()
        self._raw_offset = None
        self._begin()
        self._first = self._first_picture()
        self._pts.restart()
        self._discontinuity = True

    def _report_missing(self, decoded: int) -> None:
        """Report missing frames: FFmpeg ends without an error where a file is cut off."""
        if self.problems:
            return
        if self.decode_errors:
            self.report(f"{self._target}: {self.decode_errors} packets could not be decoded")
        elif self.corrupt_frames:
            self.report(f"{self._target}: {self.corrupt_frames} pictures are damaged")
        declared = self._declared()
        if declared and declared - decoded > max(1, _MISSING_SHARE * declared):
            self.report(f"{self._target}: {decoded} of {declared} frames: damaged or truncated")
        elif not declared and self._cut_off():
            self.report(f"{self._target}: truncated: it ends after {decoded} frames")

    def _cut_off(self) -> bool:
        if self._container.format.name == "mpegts":
            return self._spec.path.stat().st_size % _TS_PACKET != 0
        # The container's duration is that of its longest stream.
        if "matroska" not in self._container.format.name or len(self._container.streams) > 1:
            return False
        if self._container.duration is None:
            return False
        declared = self._container.duration / 1e6
        return declared - (self._last_at - (self._began_at or 0.0)) > max(_MISSING_SECONDS, _MISSING_SHARE * declared)
