"""PictureDecoder: packets of one video stream in, pictures out, with what was damaged."""

from __future__ import annotations

from typing import NamedTuple

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from streamad.sources.failures import FailureReason, source_error
from streamad.sources.limits import memory_is_short

_STRICT_INTER_CODECS = frozenset({"hevc"})
"""Codecs with references in which FFmpeg hides damage without flagging it, and whose strict mode loses no picture. The
others flag it (H.264, MPEG-4, MPEG-2) or cannot see it (VP8, VP9). Measured; see tests/unit/sources/test_damage.py."""

_DOUBTS = 50
"""If this many pictures fail the strict decoder before the first one passes, the errors are the camera's way of writing
pictures and no damage (USB cameras that cut off the last bytes of each JPEG): the stream is decoded leniently."""


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        frame: the picture as coded.
        is_damaged: whether the decoder met errors in it, or in packets lost before it.
    """

    frame: av.VideoFrame
    is_damaged: bool


_ONE_EACH = frozenset(
    {"h264", "hevc", "mpeg4", "mjpeg", "vp9", "libvpx-vp9", "av1", "libdav1d", "ffv1", "png", "rawvideo"}
)
_INDEXED = frozenset({"avi", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"})
_PROGRESSIVE = 1
"""FFmpeg's AV_FIELD_PROGRESSIVE; 0 is unknown."""
_PLACEHOLDER_BYTES = 8
"""MPEG-4 in AVI packs two pictures into one packet and leaves a packet of a few bytes for the second."""


class PacketCount:
    """Counts the pictures that a stream's packets give, without decoding, where packets tell.

    They do in files that keep each picture in a packet of its own, whose first packet starts a picture and whose other
    ones are shown after it. For an intact file the count is then that of decoding.

    Args:
        stream: the stream.
        container_format: FFmpeg's name of the container.
    """

    def __init__(self, stream: VideoStream, container_format: str) -> None:
        context = stream.codec_context
        interlaced = context.field_order > _PROGRESSIVE
        self._is_mpeg4 = context.name == "mpeg4"
        self._first: int | None = None
        self._shown = 0
        self._is_exact = context.name in _ONE_EACH and container_format in _INDEXED and not interlaced

    def shown(self) -> int | None:
        """Pictures that are shown, by the packets so far; None where packets do not tell."""
        return self._shown if self._is_exact else None

    def add(self, packet: av.Packet[VideoStream]) -> None:
        """Take in the next packet of the stream."""
        if packet.size == 0:
            return
        self._shown += not packet.is_discard
        if packet.pts is None or packet.is_corrupt or (self._is_mpeg4 and packet.size <= _PLACEHOLDER_BYTES):
            self._is_exact = False
        elif self._first is None:
            self._first = packet.pts
            self._is_exact = self._is_exact and packet.is_keyframe
        elif packet.pts < self._first:
            self._is_exact = False  # builds on a picture before the file's first, which was cut off


class PictureDecoder:
    """Decodes the packets of one stream.

    By default FFmpeg conceals damage in JPEG and H.265 without saying so. Such streams are decoded strictly, so that an
    error shows; a picture of a codec without references (JPEG) is then decoded once more, leniently, and comes flagged.

    Args:
        stream: the stream, before its first packet. Its decoder is configured here.
        target: what is decoded, for messages.
        threads: decoder threads, 0 for FFmpeg's choice.
    """

    def __init__(self, stream: VideoStream, *, target: object, threads: int) -> None:
        self._stream = stream
        self._target = target
        self._context: VideoCodecContext = stream.codec_context
        codec = self._context.codec
        self._is_intra = codec.intra_only
        self._lenient: VideoCodecContext | None = None
        """The second decoder, once there is one."""
        self._is_strict = not self._context.is_hwaccel and (self._is_intra or codec.name in _STRICT_INTER_CODECS)
        # With frame threads an error would show at a later packet than the one to decode again.
        one_thread = threads == 1 or (self._is_strict and self._is_intra)
        stream.thread_type = "NONE" if one_thread else "AUTO"
        self._context.thread_count = 1 if one_thread else threads
        if self._is_strict:
            self._context.options = {"err_detect": "crccheck+explode"}
        self._passed = 0
        self._is_damaged = False
        self.errors = 0
        """Packets that could not be decoded without errors."""

    def decode(self, packet: av.Packet[VideoStream]) -> list[Picture]:
        """The pictures that the packet completes.

        Raises:
            SourceMemoryError: the picture takes more memory than a decoder may have.
            RuntimeError: hardware decoding cannot go on with this stream.
        """
        if packet.size == 0 and packet.dts is not None:
            return []  # a repeated picture, which some containers store as an empty packet; FFmpeg takes it for the end
        try:
            frames = _frames(self._context, packet)
        except (MemoryError, av.FFmpegError) as error:
            is_short = isinstance(error, MemoryError) or memory_is_short(self._picture_bytes())
        else:
            self._passed += len(frames)
            damaged, self._is_damaged = self._is_damaged, self._is_damaged and not frames
            return [Picture(f, f.is_corrupt or (damaged and k == 0)) for k, f in enumerate(frames)]
        if is_short:
            width, height = self._context.width, self._context.height
            raise source_error(
                FailureReason.MEMORY,
                f"{self._target}: its pictures of {width}×{height} take more memory than a decoder may have",
            )
        self.errors += 1
        return self._decoded_again(packet)

    def _picture_bytes(self) -> int:
        samples = 3 if (self._context.pix_fmt or "").endswith(("le", "be")) else 1.5
        return int(self._context.width * self._context.height * samples)

    def _decoded_again(self, packet: av.Packet[VideoStream]) -> list[Picture]:
        """What a lenient decoder makes of a packet in which the strict one found an error."""
        self._is_damaged = True
        if not self._is_strict:
            return []
        if self._is_intra:
            self._lenient = self._lenient or self._new_lenient()
            try:
                frames = _frames(self._lenient, packet)
            except av.FFmpegError:
                return []
            self._is_damaged = self._is_damaged and not frames
            if self._passed == 0 and self.errors >= _DOUBTS:
                self._trust(self._lenient)
            return [Picture(f, is_damaged=True) for f in frames]
        if self._passed == 0 and packet.is_keyframe:
            # The very first key frame: rather a camera with its own way of writing headers than damage.
            self._trust(self._new_lenient())
            self.errors -= 1
            return self.decode(packet)
        return []

    def _new_lenient(self) -> VideoCodecContext:
        # A decoder of its own for the same codec, with nothing but what the container says of the stream.
        strict = self._stream.codec_context
        context = av.CodecContext.create(strict.codec.name, "r")
        assert isinstance(context, VideoCodecContext)
        context.extradata = strict.extradata
        context.thread_type = "NONE"
        context.thread_count = 1
        return context

    def _trust(self, lenient: VideoCodecContext) -> None:
        self._context, self._is_strict, self._is_damaged = lenient, False, False


def _frames(context: VideoCodecContext, packet: av.Packet[VideoStream]) -> list[av.VideoFrame]:
    return [frame for frame in context.decode(packet) if isinstance(frame, av.VideoFrame)]
