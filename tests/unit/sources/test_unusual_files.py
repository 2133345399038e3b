"""Video files that are whole and out of the ordinary: each is read to its end, and counting agrees with reading."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from rtsp_support import frame_number, pictures, write_video

from streamad.frame import Frame, FrameFlags
from streamad.sources import FileSpec, SourceCodecError, open_source
from streamad.sources.file import FileSource
from streamad.sources.quality.gate import QualityGate

Fill = Callable[[], None]
"""Writes the packets of a stream; all streams of a file are made before the first packet."""


def audio(container: av.container.OutputContainer, seconds: float) -> Fill:
    stream = container.add_stream("aac", rate=8000)
    assert isinstance(stream, av.AudioStream)

    def fill() -> None:
        for _ in range(int(seconds * 8000 / 1024)):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
            frame.sample_rate = 8000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))

    return fill


def video(container: av.container.OutputContainer, count: int, size: tuple[int, int] = (256, 64)) -> Fill:
    stream = container.add_stream("libx264", rate=25)
    stream.width, stream.height = size
    stream.pix_fmt = "yuv420p"

    def fill() -> None:
        for picture in pictures(count, size):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())

    return fill


def cover(container: av.container.OutputContainer) -> Fill:
    stream = container.add_stream("mjpeg", rate=1)
    stream.width, stream.height, stream.pix_fmt = 64, 64, "yuvj420p"
    stream.disposition = av.stream.Disposition.attached_pic

    def fill() -> None:
        packet = av.Packet(cv2.imencode(".jpg", np.zeros((64, 64), np.uint8))[1].tobytes())
        packet.stream, packet.time_base, packet.is_keyframe = stream, Fraction(1, 1), True
        packet.pts = packet.dts = 0
        container.mux(packet)

    return fill


def filled(*fills: Fill) -> None:
    for fill in fills:
        fill()


def one_frame(path: Path) -> int:
    write_video(path.with_suffix(".mp4"), frames=1).rename(path)
    return 1


def audio_first(path: Path) -> int:
    with av.open(str(path), "w", format="matroska") as container:
        filled(audio(container, 2.0), video(container, 30))
    return 30


def in_fragments(path: Path) -> int:
    with av.open(str(path), "w", format="mp4", options={"movflags": "frag_keyframe+empty_moov"}) as container:
        filled(video(container, 30))
    return 30


def ten_bit(path: Path) -> int:
    write_video(path.with_suffix(".mkv"), frames=20, codec="libx265", pixel_format="yuv420p10le").rename(path)
    return 20


def raw_pictures(path: Path) -> int:
    write_video(path.with_suffix(".avi"), frames=20, codec="rawvideo").rename(path)
    return 20


@pytest.mark.parametrize("make", [one_frame, audio_first, in_fragments, ten_bit, raw_pictures])
def test_it_is_read_whole(tmp_path: Path, make: Callable[[Path], int]) -> None:
    path = tmp_path / "file"
    count = make(path)
    with open_source(FileSpec(path=path), camera="cam") as source:
        frames = list(source)
        assert source.problems == []
    assert [frame_number(frame.pixels) for frame in frames] == list(range(count))
    assert not any(frame.flags & FrameFlags.CORRUPT for frame in frames)
    for decode in (False, True):
        with FileSource(FileSpec(path=path), camera="cam") as source:
            assert source.count(decode=decode) == count


def test_of_two_videos_one_is_read_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "two.mkv"
    with av.open(str(path), "w") as container:
        filled(video(container, 10, (64, 64)), video(container, 30, (512, 128)))
    with open_source(FileSpec(path=path), camera="cam") as source:
        frames = list(source)
        assert source.problems == []
        assert {frame.shape for frame in frames} == {(source.info.height, source.info.width)}
    for decode in (False, True):
        with FileSource(FileSpec(path=path), camera="cam") as source:
            assert source.count(decode=decode) == len(frames)


def test_a_cover_picture_is_no_video(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "song.mp4"), "w") as container:
        filled(audio(container, 1.0), cover(container))
    with pytest.raises(SourceCodecError, match="no video track, only a cover picture, audio"):
        open_source(FileSpec(path=tmp_path / "song.mp4"), camera="cam")


@pytest.mark.parametrize("shape", [(60, 8000), (8000, 60), (48, 16000), (49, 49), (1, 1), (2, 4000), (101, 16000)])
def test_the_quality_gate_takes_any_shape(shape: tuple[int, int]) -> None:
    gate, rng = QualityGate(), np.random.default_rng(0)
    base = rng.integers(0, 256, shape, dtype=np.uint8)
    for number in range(14):
        pixels = np.roll(base, number, 1) if number < 10 else np.zeros(shape, np.uint8)
        gate.check(Frame("cam", number, number / 2, number / 2, pixels))
    broken = Frame("cam", 14, 7.0, 7.0, base, FrameFlags.CORRUPT)
    assert gate.check(broken).reason == "corrupt"
