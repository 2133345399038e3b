"""ContainerSource: frames from anything FFmpeg can open. Base class for files, RTSP and devices."""

from __future__ import annotations

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path

import av
import numpy as np
from av.codec.hwaccel import HWAccel
from av.container import InputContainer
from av.stream import Disposition
from av.video.stream import VideoStream

from streamad.frame import Frame, FrameFlags, UInt8Image
from streamad.sources.base import Source, SourceInfo
from streamad.sources.color import color_jpeg
from streamad.sources.decoding import PacketCount, Picture, PictureDecoder
from streamad.sources.failures import SourceCodecError, SourceEndedError, SourceError, classify
from streamad.sources.hardware import choose_hardware
from streamad.sources.luma import LumaConverter
from streamad.sources.orientation import orientation_of
from streamad.sources.spec import HardwareDecoding
from streamad.sources.timing import MAX_JUMP_SECONDS, BestEffort, PtsClock
from streamad.sources.url import Url

QUARANTINE_SECONDS = 30.0
"""Time for which frames stay flagged after damage. Damage spreads, unflagged, to the frames predicted from a damaged
one until the next key frame: of 566 frames damaged by lost packets, the decoder flagged 67. Streams without key frames
(intra refresh) recover within a second or two. Chosen without measurement."""

OnPacket = Callable[["av.Packet[VideoStream]", float], None]

_DEFAULT_FPS = 25.0
_GENERATE_PTS = 1
"""FFmpeg's AVFMT_FLAG_GENPTS."""
_TEXT_CODECS = frozenset({"ansi", "bintext", "xbin", "idf"})
"""FFmpeg "decodes" text files into pictures of their text. They are not video."""


class ContainerSource(Source):
    """Demuxer and decoder for one video stream.

    Args:
        camera: The configured camera id.
        target: The opened address or path, used in messages.
        hwaccel: Hardware decoding mode; see `choose_hardware`.
        threads: Number of decoder threads. Use 1 for cameras, which share the cores (more costs 16 % more CPU and is
            slower under load). More, or 0 for FFmpeg's default, speeds up a single file.
        clock: Monotonic clock, seconds, for `Frame.received_at`.
        on_packet: Called with every packet of the stream and its position on the frames' clock, seconds.
        decode: False: nothing is decoded. Each packet yields a frame of a single black pixel, which tells that the
            stream is alive and relates its clock to that of the machine.
    """

    def __init__(
        self,
        camera: str,
        target: Url | Path,
        *,
        hwaccel: HardwareDecoding,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
        on_packet: OnPacket | None = None,
        decode: bool = True,
    ) -> None:
        super().__init__(camera)
        if threads < 0:
            raise ValueError(f"threads must be 0 (FFmpeg's choice) or more, got {threads}")
        self._target = target
        self._threads = threads
        self._clock = clock
        self._on_packet = on_packet
        self._decodes = decode
        self._raw_offset: float | None = None  # of the stream's own clock to that of the frames
        self._newest_pts: float | None = None
        self._accelerator, self._hardware = choose_hardware(hwaccel, camera=camera)
        self._luma = LumaConverter()
        self._size: tuple[int, ...] | None = None
        self._newest: av.VideoFrame | None = None
        self._rotation_reported = False
        self._discontinuity = True
        self._quarantine_until: float | None = None
        self._closed = False
        self._read_timeout: float | None = None
        self._stall_timeout = math.inf
        self._begin()
        self._info = self._describe()
        self._pts = PtsClock(1.0 / (self._info.fps or _DEFAULT_FPS))
        self._frames = self._run()

    def _begin(self) -> None:
        """Open the container and its decoder, positioned at the first packet."""
        self._container = self._opened()
        try:
            self._stream = self._video_stream()
            self._decoder = PictureDecoder(self._stream, target=self._target, threads=self._threads)
            self._best_effort = BestEffort()
            self._packets = iter(self._container.demux(self._stream))
            self._count = PacketCount(self._stream, self._container.format.name)
            self._pictures = self._decoded()
        except SourceError:
            self._container.close()
            raise

    @abstractmethod
    def _opened(self) -> InputContainer:
        """Open the container, usually by `_open`."""

    @property
    def info(self) -> SourceInfo:
        """Properties of the source."""
        return self._info

    def close(self) -> None:
        """Release the decoder and the connection."""
        if not self._closed:
            self._closed = True
            self._frames.close()
            self._pictures.close()
            self._container.close()

    def __iter__(self) -> Iterator[Frame]:
        """Iterate over the frames until the stream ends."""
        if self._closed:
            raise ValueError(f"the source {self.camera} is closed")
        return self._frames

    def _run(self) -> Generator[Frame, None, None]:
        if not self._decodes:
            yield from self._undecoded()
            return
        for picture in self._pictures:
            yield self._frame(picture)
        if self.frames_decoded == 0:
            raise (
                self._no_picture()
                if self.decode_errors
                else SourceEndedError(
                    f"{self._target}: the stream ended before its first picture",
                    hint="check that the camera sends video",
                )
            )

    def _undecoded(self) -> Generator[Frame, None, None]:
        pixel = np.zeros((1, 1), np.uint8)
        while (packet := self._next_packet()) is not None:
            if packet.size == 0:
                continue
            ticks = packet.dts if packet.dts is not None else packet.pts  # dts does not go back and forth
            unit = packet.time_base or self._stream.time_base
            raw = None if ticks is None or unit is None else float(ticks * unit)
            pts_seconds, _ = self._pts.advance(raw)
            self._newest_pts = pts_seconds
            self._raw_offset = None if raw is None else raw - pts_seconds
            yield Frame(self.camera, self.frames_decoded, pts_seconds, self._clock(), pixel)
            self.frames_decoded += 1

    def _no_picture(self) -> SourceCodecError:
        if self.decode_errors:
            return SourceCodecError(
                f"{self._target}: no picture could be decoded ({self.decode_errors} damaged packets)",
                hint="choose H.264 or H.265, or a smaller picture",
            )
        return SourceCodecError(
            f"{self._target}: no picture could be decoded: packets arrive, but no key frame",
            hint="shorten the camera's key-frame interval, or raise stall_timeout_seconds",
        )

    def _open(
        self,
        name: str,
        *,
        options: Mapping[str, str] | None = None,
        container_format: str | None = None,
        timeouts: tuple[float, float] | None = None,
    ) -> InputContainer:
        """Call `av.open` with typed errors. `timeouts` are those for opening and reading, seconds."""
        began = time.monotonic()
        accelerator: HWAccel | None = self._accelerator
        try:
            container = av.open(
                name,
                format=container_format,
                options=dict(options or {}),
                timeout=timeouts,
                hwaccel=accelerator,
                metadata_errors="replace",
            )
            # PyAV makes FFmpeg generate missing presentation times from packet order, which is wrong for AVI with
            # B-frames. `BestEffort` uses the decoding time for those frames instead.
            container.flags &= ~_GENERATE_PTS
            return container
        except NotImplementedError:
            failure: SourceError = SourceCodecError(
                f"{self._target}: hwaccel: {self._hardware} does not decode this codec",
                hint="set hwaccel: auto or none",
            )
        except (av.FFmpegError, OSError, ValueError, RuntimeError) as error:
            failure = classify(
                error,
                target=self._target,
                elapsed_seconds=time.monotonic() - began,
                timeout_seconds=timeouts[0] if timeouts else None,
            )
        # Raise outside the handler: PyAV's error contains the password and must not be chained.
        raise failure

    def _video_stream(self) -> VideoStream:
        streams = [s for s in self._container.streams.video if not s.disposition & Disposition.attached_pic]
        best = self._container.streams.best("video")
        stream = best if isinstance(best, VideoStream) and best in streams else next(iter(streams), None)
        if stream is None:
            kinds = sorted({s.type.replace("video", "a cover picture") for s in self._container.streams if s.type})
            raise SourceCodecError(
                f"{self._target}: no video track, only {', '.join(kinds) or 'unknown data'}",
                hint="give a file or stream with a video track",
            )
        if stream.codec_context is None or stream.codec_context.name in _TEXT_CODECS:
            raise SourceCodecError(
                f"{self._target}: unknown video codec",
                hint="convert the file, for example to H.264 in MP4",
            )
        return stream

    def _describe(self) -> SourceInfo:
        stream = self._stream
        rate = stream.average_rate or stream.guessed_rate
        context = stream.codec_context
        hardware = self._hardware if context.is_hwaccel else "software"
        frames = self._declared()
        fps = float(rate) if rate else None
        if fps is not None and frames and self._container.format.name == "avi" and frames < stream.frames:
            fps *= frames / stream.frames  # constant rate, with empty packets where no picture was due
        return SourceInfo(
            width=context.width,
            height=context.height,
            fps=fps,
            frames=frames,
            live=isinstance(self._target, Url),
            codec=context.name,
            decoder=f"{hardware} ({context.name})",
        )

    def _declared(self) -> int | None:
        """Number of pictures to show according to the container; None if it does not declare one.

        The header's count includes pictures hidden by an edit list and AVI's empty packets. If the index covers the
        whole stream, it is more accurate.
        """
        stream, entries = self._stream, self._stream.index_entries
        if not stream.frames or not len(entries):
            return stream.frames or None
        covered = entries[-1].timestamp - entries[0].timestamp + (stream.duration or 0) / stream.frames
        if stream.duration is None or covered < 0.99 * stream.duration:
            return stream.frames
        return min(stream.frames, sum(not entry.is_discard for entry in entries))

    def _decoded(self) -> Generator[Picture, None, None]:
        """Decode pictures until the stream ends, without those hidden by an edit list."""
        picture_at, undecoded_at = self._clock(), math.inf
        while (packet := self._next_packet()) is not None:
            pictures = self._decode(packet)
            if pictures:
                yield from pictures
                picture_at, undecoded_at = self._clock(), math.inf
                continue
            # A stream whose packets never decode is a codec failure, not a stall. Report it before the supervisor's
            # stall timeout expires.
            now = self._clock()
            undecoded_at = min(undecoded_at, now)
            if now - picture_at > 0.9 * self._stall_timeout and now - undecoded_at > 0.45 * self._stall_timeout:
                raise self._no_picture()

    def _next_packet(self) -> av.Packet[VideoStream] | None:
        """Read the next packet; None at the end. The last packet is empty and flushes the decoder."""
        failure: SourceError | None = None
        packet: av.Packet[VideoStream] | None = None
        try:
            packet = next(self._packets, None)
        except IndexError:
            # End of an MPEG-TS in which damage created extra streams (PyAV issue 692).
            packet = None
        except (av.FFmpegError, OSError) as error:
            failure = classify(error, target=self._target, timeout_seconds=self._read_timeout)
        if failure is not None and not self._survives(failure):
            raise failure
        if packet is not None:
            self._count.add(packet)
            if self._on_packet is not None:
                self._on_packet(packet, self._position_of(packet))
        return packet

    def _position_of(self, packet: av.Packet[VideoStream]) -> float:
        """Position of a packet on the frames' clock, seconds; the newest frame's if the stream's clock was set."""
        newest = self._newest_pts
        if packet.pts is None or self._stream.time_base is None:
            return newest or 0.0
        raw = float(packet.pts * self._stream.time_base)
        if newest is None and self._raw_offset is None:
            self._raw_offset = raw
        at = math.inf if self._raw_offset is None else raw - self._raw_offset
        return at if abs(at - (newest or 0.0)) <= MAX_JUMP_SECONDS else newest or 0.0

    def _survives(self, failure: SourceError) -> bool:
        """Whether a read error ends the source quietly (files) or is raised (cameras)."""
        return False

    def _decode(self, packet: av.Packet[VideoStream]) -> list[Picture]:
        before = self._decoder.errors
        try:
            pictures = self._decoder.decode(packet)
        except RuntimeError as error:
            # PyAV refuses to fall back to software in the middle of a stream.
            problem = f"{self._target}: hwaccel: {self._hardware} cannot decode this stream ({error})"
        else:
            self.decode_errors += self._decoder.errors - before
            return pictures
        raise SourceCodecError(problem, hint="set hwaccel: auto or none")

    def _frame(self, picture: Picture) -> Frame:
        decoded = picture.frame
        ticks, unit = self._best_effort.of(decoded.pts, decoded.dts), decoded.time_base or self._stream.time_base
        raw = None if ticks is None or unit is None else float(ticks * unit)
        pts_seconds, jumped = self._pts.advance(raw)
        self._newest_pts = pts_seconds
        self._raw_offset = None if raw is None else raw - pts_seconds
        pixels = self._shown(decoded)
        self._newest = decoded
        flags = FrameFlags.NONE
        if self._discontinuity or jumped or pixels.shape != self._size:
            flags |= FrameFlags.DISCONTINUITY
        if decoded.key_frame:
            flags |= FrameFlags.KEY
        if picture.is_damaged:
            self.corrupt_frames += 1
            self._quarantine_until = pts_seconds + QUARANTINE_SECONDS
        elif decoded.key_frame or (self._quarantine_until is not None and pts_seconds > self._quarantine_until):
            self._quarantine_until = None
        if self._quarantine_until is not None:
            flags |= FrameFlags.CORRUPT
        self._size, self._discontinuity = pixels.shape, False
        self._before_delivery(pts_seconds)
        frame = Frame(self.camera, self.frames_decoded, pts_seconds, self._clock(), pixels, flags)
        self.frames_decoded += 1
        return frame

    def color(self) -> bytes | None:
        """The newest frame in color as JPEG."""
        return None if self._newest is None else color_jpeg(self._newest)

    def _shown(self, decoded: av.VideoFrame) -> UInt8Image:
        """Luma of a picture, (H, W), rotated and mirrored for display."""
        pixels, orientation = self._luma(decoded), orientation_of(decoded)
        if orientation is None:
            self._report_rotation(decoded.rotation)
            return pixels
        return orientation.apply(pixels)

    def _report_rotation(self, degrees: int) -> None:
        if not self._rotation_reported:
            self._rotation_reported = True
            self.report(f"{self._target}: display rotation of {degrees} degrees is not supported; scored as coded")

    def _before_delivery(self, pts_seconds: float) -> None:
        """Wait until the frame is due in a paced replay."""
