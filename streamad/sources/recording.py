"""Clips of a stream from its own packets: a ring of the newest packets, and files that continue it without re-encoding.

It runs in the decoder process, which has the demuxer. Decoding never waits for it: packets are copied into memory, and
files are written by a thread. A disk that is full or too slow costs the clip.
"""

from __future__ import annotations

import math
import os
import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import av
import cv2
import numpy as np
from av.container import OutputContainer
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from streamad.files import write_atomic
from streamad.sources.orientation import orientation_of
from streamad.sources.timing import MAX_JUMP_SECONDS
from streamad.sources.wire import RecordingSpec
from streamad.writing import reason_of

PART = ".part"
"""Suffix of a clip that is being written."""

_MP4_CODECS = frozenset({"h264", "hevc", "av1", "libdav1d", "mpeg4", "vp9", "libvpx-vp9"})
"""Codecs that players expect in MP4; others are written as Matroska, which can hold all of them."""
_LAG_PACKETS = 100
"""An alert is known some frames after its frame was decoded: those in the ring of frames and in the engine, at most 32
and a window. The ring of packets therefore reaches back from the packet that many before the newest."""
_MP4 = {"movflags": "+hybrid_fragmented+frag_keyframe", "frag_duration": "1000000", "flush_packets": "1"}
"""A file that a killed process left plays up to its last second; a finished one is a regular MP4."""
_REORDER_SECONDS = 0.5
"""Pictures are decoded in another order than shown; none is moved by more."""
_MAX_DECODED = 1000
"""Most pictures decoded for one: longer groups of pictures take seconds."""
_JPEG_QUALITY = 95
_MATROSKA = {"cluster_time_limit": "1000", "flush_packets": "1"}


class StoredPacket(NamedTuple):
    """A packet in memory.

    Attributes:
        data: Its bytes.
        pts: Presentation time in the stream's unit; None if it has none.
        dts: Decoding time, likewise.
        duration: Likewise; 0 if unknown.
        is_key: Whether it starts a key frame.
        at: Its position on the frames' clock, seconds.
    """

    data: bytes
    pts: int | None
    dts: int | None
    duration: int
    is_key: bool
    at: float


class PacketRing:
    """The newest packets of a stream, from a key frame on.

    Args:
        keep_seconds: Length to keep before the packet that is `_LAG_PACKETS` older than the newest.
        max_bytes: Largest size; if one group of pictures is larger, nothing is kept until the next key frame.
    """

    def __init__(self, keep_seconds: float, max_bytes: int) -> None:
        self._keep = keep_seconds
        self._max_bytes = max_bytes
        self._packets: deque[StoredPacket] = deque()
        self._keys: deque[int] = deque()  # running numbers of the key frames in the ring
        self._first = 0  # running number of the oldest packet
        self.bytes = 0

    def __len__(self) -> int:
        return len(self._packets)

    def add(self, packet: StoredPacket) -> None:
        """Append the newest packet and drop what is no longer needed."""
        if packet.is_key:
            self._keys.append(self._first + len(self._packets))
        if not self._keys:
            return  # nothing can be decoded before a key frame
        self._packets.append(packet)
        self.bytes += len(packet.data)
        newest = self._packets[max(0, len(self._packets) - 1 - _LAG_PACKETS)].at
        while len(self._keys) > 1 and (
            self.bytes > self._max_bytes or self._packets[self._keys[1] - self._first].at <= newest - self._keep
        ):
            self._drop(self._keys[1] - self._first)
        if self.bytes > self._max_bytes:
            self._drop(len(self._packets))

    def since(self, at: float) -> list[StoredPacket]:
        """The packets from the last key frame at or before `at`, or from the oldest one."""
        start = 0
        for key in self._keys:
            if self._packets[key - self._first].at > at:
                break
            start = key - self._first
        return list(islice(self._packets, start, None))

    def _drop(self, amount: int) -> None:
        for _ in range(amount):
            self.bytes -= len(self._packets.popleft().data)
        self._first += amount
        while self._keys and self._keys[0] < self._first:
            self._keys.popleft()


@dataclass(slots=True, eq=False)
class _Clip:
    """A clip that is being recorded. The decoding thread feeds it; the writing thread has the container."""

    id: str
    path: Path  # without its suffix
    until: float | None
    since: float
    end: float
    is_ending: bool = False
    cut: str | None = None
    error: BaseException | None = None
    target: Path | None = None
    container: OutputContainer | None = None
    clock: _ClipClock | None = None
    packets: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class _Picture:
    """A picture to decode on the writing thread."""

    id: str
    path: Path
    at: float
    packets: list[StoredPacket]
    codec: str
    extradata: bytes | None
    time_base: Fraction

    def written(self) -> dict[str, Any]:
        """Decode and write it; returns the message about it."""
        message = _Clip(self.id, self.path, self.at, self.at, self.at)
        try:
            write_atomic(self.path, _jpeg(self._decoded()))
        except Exception as error:  # noqa: BLE001 - whatever FFmpeg refuses costs the picture, not the camera
            return _message(message, reason=reason_of(error))
        return _message(message, reason=None, path=str(self.path))

    def _decoded(self) -> av.VideoFrame:
        decoder = av.CodecContext.create(self.codec, "r")
        assert isinstance(decoder, VideoCodecContext)
        if self.extradata:
            decoder.extradata = self.extradata
        decoder.thread_count = 1
        times = {packet.pts: packet.at for packet in self.packets}
        nearest: tuple[float, av.VideoFrame] | None = None
        for frame in _frames(decoder, self.packets, self.time_base):
            distance = abs(times.get(frame.pts, math.inf) - self.at)
            if nearest is None or distance <= nearest[0]:
                nearest = distance, frame
        if nearest is None:
            raise ValueError("no picture could be decoded")
        return nearest[1]


class ClipRecorder:
    """Keeps a ring of a stream's packets and writes clips of it.

    `add`, `request` and `finish` are for the decoding thread. A clip is written to NAME.part and renamed when it is
    complete.

    Args:
        spec: What to keep.
        on_done: Called on the writing thread with the message about a clip that was written or failed: `id`, `path`
            (None if there is no clip), `reason` (why there is none, or why it ends early), `since` and `until` (seconds
            on the frames' clock), `packets` and `bytes`.
    """

    def __init__(self, spec: RecordingSpec, on_done: Callable[[dict[str, Any]], None]) -> None:
        self._spec = spec
        self._on_done = on_done
        self._ring = PacketRing(spec.keep_seconds, spec.max_bytes)
        self._template: VideoStream | None = None
        self._time_base = Fraction(1, 90_000)
        self._codec = ""
        self._extradata: bytes | None = None
        self._suffix = ".mp4"
        self._refusal = "no_packets"
        self._clips: dict[str, _Clip] = {}
        self._queue: queue.SimpleQueue[tuple[_Clip, StoredPacket | None] | _Picture] = queue.SimpleQueue()
        self._changed = threading.Condition()
        self._waiting_bytes = 0
        self._unfinished = 0
        self._is_over = False
        self._thread: threading.Thread | None = None

    def add(self, packet: av.Packet[VideoStream], at: float) -> None:
        """Take the next packet of the stream.

        Args:
            packet: As demuxed.
            at: Its position on the frames' clock, seconds.
        """
        if packet.size == 0:
            return
        if self._template is None and not self._begin(packet.stream):
            return
        stored = StoredPacket(bytes(packet), packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, at)
        self._ring.add(stored)
        for clip in list(self._clips.values()):
            self._feed(clip, stored)

    def request(self, id: str, path: str, since: float, until: float | None) -> None:
        """Begin a clip, or change the end of the one with this id.

        Args:
            id: Of the clip.
            path: Its path, without a suffix.
            since: Where it starts, seconds on the frames' clock; the file begins with the key frame before.
            until: Where it ends; None if that is not known yet.
        """
        clip = self._clips.get(id)
        if clip is not None:
            clip.until = until
        else:
            packets = self._ring.since(since)
            clip = _Clip(id, Path(path), until, since, since)
            if not packets:
                self._on_done(_message(clip, reason=self._refusal if self._template is None else "no_key_frame"))
                return
            clip.since = packets[0].at
            self._clips[id] = clip
            with self._changed:
                self._unfinished += 1
            self._start_thread()
            for packet in packets:
                self._feed(clip, packet)
        if id in self._clips and (self._is_over or (until is not None and clip.end >= until)):
            self._end(clip, "stream_ended" if until is None or clip.end < until else None)

    def picture(self, id: str, path: str, at: float) -> None:
        """Decode the picture at a time, in color, to a JPEG file; the message about it is that of a clip.

        Args:
            id: Of the picture.
            path: The file.
            at: Its time, seconds on the frames' clock.
        """
        # A picture that is shown later may be needed to decode this one.
        packets = [packet for packet in self._ring.since(at) if packet.at <= at + _REORDER_SECONDS]
        if not packets or len(packets) > _MAX_DECODED:
            reason = "too_far" if packets else self._refusal if self._template is None else "no_key_frame"
            self._on_done(_message(_Clip(id, Path(path), at, at, at), reason=reason))
            return
        with self._changed:
            self._unfinished += 1
        self._start_thread()
        self._queue.put(_Picture(id, Path(path), at, packets, self._codec, self._extradata, self._time_base))

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to make a clip of."""
        return not len(self._ring)

    def stream_ended(self) -> None:
        """No more packets will come: end all clips. Later requests are served from the ring."""
        self._is_over = True
        for clip in list(self._clips.values()):
            self._end(clip, "stream_ended")

    def finish(self, seconds: float) -> bool:
        """End all clips and wait for the writing thread.

        Returns:
            Whether everything was written within `seconds`.
        """
        self.stream_ended()
        with self._changed:
            return self._changed.wait_for(lambda: self._unfinished == 0, seconds)

    def _begin(self, stream: VideoStream) -> bool:
        codec = stream.codec_context.name
        if codec == "rawvideo":
            self._refusal = "uncompressed"
            return False
        self._codec, self._extradata = codec, stream.codec_context.extradata
        # The container is closed while clips may still begin, and its stream with it: keep a copy of the parameters.
        self._template = av.open("/dev/null", "w", format="matroska").add_stream_from_template(stream, opaque=True)
        self._time_base = stream.time_base or self._time_base
        self._suffix = ".mp4" if codec in _MP4_CODECS else ".mkv"
        return True

    def _feed(self, clip: _Clip, packet: StoredPacket) -> None:
        if clip.is_ending:
            return
        with self._changed:
            self._waiting_bytes += len(packet.data)
            is_slow = self._waiting_bytes > 2 * self._spec.max_bytes
        clip.end = max(clip.end, packet.at)
        self._queue.put((clip, packet))
        if clip.error is not None:
            self._end(clip, None)
        elif is_slow:
            self._end(clip, "slow_disk")
        elif clip.until is not None and clip.end >= clip.until:
            self._end(clip, None)
        elif clip.end - clip.since >= self._spec.max_clip_seconds:
            self._end(clip, "max_clip_seconds")

    def _end(self, clip: _Clip, cut: str | None) -> None:
        if not clip.is_ending:
            clip.is_ending, clip.cut = True, cut
            del self._clips[clip.id]
            self._queue.put((clip, None))

    def _start_thread(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="clips", daemon=True)
            self._thread.start()

    # The methods below run on the writing thread.

    def _run(self) -> None:
        while True:
            task = self._queue.get()
            if isinstance(task, _Picture):
                self._on_done(task.written())
            else:
                clip, packet = task
                if packet is not None:
                    self._write(clip, packet)
                    continue
                self._close(clip)
            with self._changed:
                self._unfinished -= 1
                self._changed.notify_all()

    def _write(self, clip: _Clip, packet: StoredPacket) -> None:
        try:
            if clip.error is None:
                if clip.container is None:
                    clip.target = Path(f"{clip.path}{self._suffix}")
                    clip.clock = _ClipClock(self._time_base)
                    clip.container = self._opened(Path(f"{clip.target}{PART}"))
                assert clip.clock is not None
                clip.container.mux(clip.clock.timed(packet, clip.container.streams.video[0]))
                clip.packets += 1
                clip.bytes += len(packet.data)
        except Exception as error:  # noqa: BLE001 - whatever FFmpeg refuses costs the clip, not the camera
            clip.error = error
            self._discard(clip)
        finally:
            with self._changed:
                self._waiting_bytes -= len(packet.data)

    def _opened(self, path: Path) -> OutputContainer:
        assert self._template is not None
        path.parent.mkdir(parents=True, exist_ok=True)
        is_mp4 = self._suffix == ".mp4"
        container = av.open(
            str(path), "w", format="mp4" if is_mp4 else "matroska", options=dict(_MP4 if is_mp4 else _MATROSKA)
        )
        container.add_stream_from_template(self._template, opaque=True).time_base = self._time_base
        return container

    def _close(self, clip: _Clip) -> None:
        if clip.error is None and clip.container is not None and clip.target is not None:
            part = Path(f"{clip.target}{PART}")
            try:
                clip.container.close()
                _sync(part)
                os.replace(part, clip.target)
            except Exception as error:  # noqa: BLE001 - as above
                clip.error = error
                self._discard(clip)
        if clip.error is None and clip.packets:
            self._on_done(_message(clip, reason=clip.cut, path=str(clip.target)))
        else:
            self._on_done(_message(clip, reason=reason_of(clip.error) if clip.error else "no_packets"))

    def _discard(self, clip: _Clip) -> None:
        container, clip.container = clip.container, None
        if container is not None:
            with suppress(Exception):  # it writes its end to the disk that has just failed
                container.close()
        if clip.target is not None:
            with suppress(OSError):
                os.unlink(f"{clip.target}{PART}")


class _ClipClock:
    """Timestamps of a clip: from 0, increasing, whatever the stream's clock does."""

    def __init__(self, time_base: Fraction) -> None:
        self._time_base = time_base
        self._max_step = max(1, round(MAX_JUMP_SECONDS / time_base))
        self._period = max(1, round(Fraction(1, 25) / time_base))
        self._last: int | None = None
        self._base: int | None = None

    def timed(self, packet: StoredPacket, stream: VideoStream) -> av.Packet[Any]:
        """The packet for the muxer."""
        dts, pts = packet.dts, packet.pts
        dts = pts if dts is None else dts
        following = 0 if self._last is None else self._last + self._period
        if dts is None:
            shown = decoded = following
        else:
            self._base = dts if self._base is None else self._base
            decoded = dts - self._base
            if self._last is not None and not 0 < decoded - self._last <= self._max_step:
                decoded = following  # the stream's clock was set, or a file begins again
                self._base = dts - decoded
            elif self._last is not None:
                self._period = decoded - self._last
            # A picture predicted from one that is shown later is never shown before it is decoded.
            shown = decoded if pts is None else max(decoded, pts - self._base)
        self._last = decoded
        result = av.Packet(packet.data)
        result.pts, result.dts, result.time_base = shown, decoded, self._time_base
        result.is_keyframe = packet.is_key
        if packet.duration:
            result.duration = packet.duration
        result.stream = stream
        return result


def _frames(decoder: VideoCodecContext, packets: list[StoredPacket], time_base: Fraction) -> Iterator[av.VideoFrame]:
    for stored in packets:
        packet: av.Packet[Any] = av.Packet(stored.data)
        packet.pts, packet.dts, packet.time_base = stored.pts, stored.dts, time_base
        with suppress(av.error.InvalidDataError):  # a damaged packet is not a damaged picture
            yield from decoder.decode(packet)
    yield from decoder.decode(None)


def _jpeg(frame: av.VideoFrame) -> bytes:
    pixels = np.asarray(frame.to_ndarray(format="bgr24"), np.uint8)
    orientation = orientation_of(frame)
    pixels = pixels if orientation is None else orientation.apply(pixels)
    ok, data = cv2.imencode(".jpg", pixels, (cv2.IMWRITE_JPEG_QUALITY, _JPEG_QUALITY))
    if not ok:
        raise ValueError("the picture could not be encoded")
    return data.tobytes()


def complete_part(part: Path) -> Path | None:
    """Make a clip of the file that a killed process left, which has all but about its last second.

    Returns:
        The clip; None if the file contained no picture and was removed.

    Raises:
        OSError: The disk is full or not writable.
    """
    target = part.with_name(part.name.removesuffix(PART))
    if not _has_packets(part):
        part.unlink(missing_ok=True)
        return None
    os.replace(part, target)
    return target


def clip_packets(path: Path) -> Iterator[StoredPacket]:
    """The packets of a clip, without decoding them; `at` counts from its first."""
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        for packet in container.demux(stream):
            if packet.size:
                at = float((packet.pts or 0) * (stream.time_base or 0))
                yield StoredPacket(bytes(packet), packet.pts, packet.dts, packet.duration or 0, packet.is_keyframe, at)


def _has_packets(path: Path) -> bool:
    try:
        return next(clip_packets(path), None) is not None
    except (av.FFmpegError, IndexError, ValueError):
        return False


def _message(clip: _Clip, *, reason: str | None, path: str | None = None) -> dict[str, Any]:
    return {
        "type": "clip",
        "id": clip.id,
        "path": path,
        "reason": reason,
        "since": clip.since,
        "until": clip.end,
        "packets": clip.packets,
        "bytes": clip.bytes,
    }


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
