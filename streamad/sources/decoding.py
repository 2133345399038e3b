"""PictureDecoder: decodes the packets of one video stream into pictures and flags damaged ones."""

from __future__ import annotations

from typing import NamedTuple

import av
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from streamad.sources.failures import FailureReason, source_error
from streamad.sources.limits import memory_is_short

_STRICT_INTER_CODECS = frozenset({"hevc"})
"""Inter-frame codecs in which FFmpeg conceals damage without flagging it, and whose strict mode loses no picture. The
other codecs flag damage (H.264, MPEG-4, MPEG-2) or cannot detect it (VP8, VP9). Measured in
tests/unit/sources/test_damage.py."""

_MAX_STRICT_FAILURES = 50
"""If this many pictures fail strict decoding before the first one passes, the errors are a quirk of the camera rather
than damage (some USB cameras cut off the last bytes of each JPEG), and the stream is decoded leniently."""


class Picture(NamedTuple):
    """A decoded picture.

    Attributes:
        frame: The picture as coded.
        is_damaged: Whether the decoder found errors in it, or packets before it were lost.
    """

    frame: av.VideoFrame
    is_damaged: bool


_ONE_PICTURE_PER_PACKET = frozenset(
    {"h264", "hevc", "mpeg4", "mjpeg", "vp9", "libvpx-vp9", "av1", "libdav1d", "ffv1", "png", "rawvideo"}
)
_INDEXED = frozenset({"avi", "matroska,webm", "mov,mp4,m4a,3gp,3g2,mj2"})
_PROGRESSIVE = 1
"""FFmpeg's AV_FIELD_PROGRESSIVE; 0 is unknown."""
_PLACEHOLDER_BYTES = 8
"""MPEG-4 in AVI packs two pictures into one packet and leaves a placeholder of a few bytes for the second."""


class PacketCount:
    """Count the pictures in a stream from its packets, without decoding, where that is possible.

    It is possible if the file stores each picture in its own packet, the first packet starts a picture, and all others
    are shown after it. For an intact file the count then equals the number of decoded pictures.

    Args:
        stream: The video stream.
        container_format: FFmpeg's name for the container format.
    """

    def __init__(self, stream: VideoStream, container_format: str) -> None:
        context = stream.codec_context
        interlaced = context.field_order > _PROGRESSIVE
        self._is_mpeg4 = context.name == "mpeg4"
        self._first: int | None = None
        self._shown = 0
        self._is_exact = context.name in _ONE_PICTURE_PER_PACKET and container_format in _INDEXED and not interlaced

    def shown(self) -> int | None:
        """Number of displayed pictures in the packets so far; None if packets do not determine it."""
        return self._shown if self._is_exact else None

    def add(self, packet: av.Packet[VideoStream]) -> None:
        """Count the next packet of the stream."""
        if packet.size == 0:
            return
        self._shown += not packet.is_discard
        if packet.pts is None or packet.is_corrupt or (self._is_mpeg4 and packet.size <= _PLACEHOLDER_BYTES):
            self._is_exact = False
        elif self._first is None:
            self._first = packet.pts
            self._is_exact = self._is_exact and packet.is_keyframe
        elif packet.pts < self._first:
            self._is_exact = False  # predicted from a picture that was cut off before the file's first


class PictureDecoder:
    """Decoder for the packets of one stream.

    By default FFmpeg silently conceals damage in JPEG and H.265. Those streams are decoded strictly so that errors
    surface. For intra-only codecs (JPEG) a failed picture is then decoded again leniently and flagged.

    Args:
        stream: The stream, before its first packet. Its decoder is configured here.
        target: Address or path for messages.
        threads: Number of decoder threads; 0 for FFmpeg's default.
    """

    def __init__(self, stream: VideoStream, *, target: object, threads: int) -> None:
        self._stream = stream
        self._target = target
        self._context: VideoCodecContext = stream.codec_context
        codec = self._context.codec
        self._is_intra = codec.intra_only
        self._lenient: VideoCodecContext | None = None
        """The lenient decoder, created on the first error."""
        self._is_strict = not self._context.is_hwaccel and (self._is_intra or codec.name in _STRICT_INTER_CODECS)
        # With frame threading, an error would surface at a later packet than the one to decode again.
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
        """Decode a packet into the pictures that it completes.

        Raises:
            SourceMemoryError: If the picture exceeds the decoder's memory limit.
            RuntimeError: If hardware decoding cannot continue with this stream.
        """
        if packet.size == 0 and packet.dts is not None:
            return []  # some containers store a repeated picture as an empty packet, which FFmpeg would take as the end
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
                f"{self._target}: its pictures of {width}×{height} exceed the decoder's memory limit",
            )
        self.errors += 1
        return self._decoded_again(packet)

    def _picture_bytes(self) -> int:
        samples = 3 if (self._context.pix_fmt or "").endswith(("le", "be")) else 1.5
        return int(self._context.width * self._context.height * samples)

    def _decoded_again(self, packet: av.Packet[VideoStream]) -> list[Picture]:
        """Decode a packet again, leniently, after the strict decoder failed."""
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
            if self._passed == 0 and self.errors >= _MAX_STRICT_FAILURES:
                self._switch_to(self._lenient)
            return [Picture(f, is_damaged=True) for f in frames]
        if self._passed == 0 and packet.is_keyframe:
            # An error in the very first key frame is more likely an unusual header than damage.
            self._switch_to(self._new_lenient())
            self.errors -= 1
            return self.decode(packet)
        return []

    def _new_lenient(self) -> VideoCodecContext:
        # A new decoder for the same codec, initialized only from the container's stream parameters.
        strict = self._stream.codec_context
        context = av.CodecContext.create(strict.codec.name, "r")
        assert isinstance(context, VideoCodecContext)
        context.extradata = strict.extradata
        context.thread_type = "NONE"
        context.thread_count = 1
        return context

    def _switch_to(self, lenient: VideoCodecContext) -> None:
        self._context, self._is_strict, self._is_damaged = lenient, False, False


def _frames(context: VideoCodecContext, packet: av.Packet[VideoStream]) -> list[av.VideoFrame]:
    return [frame for frame in context.decode(packet) if isinstance(frame, av.VideoFrame)]
