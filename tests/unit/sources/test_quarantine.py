"""Damage byte by byte in real H.264: what may build on a damaged picture is flagged until a clean key frame."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from bundle_support import moving_shapes, write_mp4

from streamad.frame import Frame, FrameFlags
from streamad.sources import FileSpec, open_source
from streamad.sources.container import QUARANTINE_SECONDS

FRAMES, PER_KEY = 150, 25


def frames_of(path: Path) -> list[Frame]:
    with open_source(FileSpec(path=path), camera="cam") as source:
        return list(source)


def damage(source: Path, target: Path, numbers: set[int]) -> None:
    """Copy a stream with the middle of some packets overwritten."""
    with av.open(str(source)) as read, av.open(str(target), "w", format="matroska") as written:
        stream = written.add_stream_from_template(read.streams.video[0])
        rng = np.random.default_rng(7)
        for number, packet in enumerate(read.demux(read.streams.video[0])):
            if packet.dts is None:
                continue
            if number in numbers:
                data = bytearray(bytes(packet))
                middle = len(data) // 3
                data[middle : middle + 40] = rng.integers(0, 256, 40, dtype=np.uint8).tobytes()
                spoiled = av.Packet(bytes(data))
                spoiled.pts, spoiled.dts, spoiled.time_base = packet.pts, packet.dts, packet.time_base
                spoiled.is_keyframe = packet.is_keyframe
                packet = spoiled
            packet.stream = stream
            written.mux(packet)


@pytest.fixture(scope="module")
def clean(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_mp4(tmp_path_factory.mktemp("clean") / "clean.mp4", moving_shapes(FRAMES, (320, 240), shapes=5))


def test_a_clean_stream_is_flagged_nowhere(clean: Path) -> None:
    assert not any(frame.flags & FrameFlags.CORRUPT for frame in frames_of(clean))


def test_every_damaged_picture_is_flagged_and_the_next_key_frame_ends_it(clean: Path, tmp_path: Path) -> None:
    damage(clean, tmp_path / "damaged.mkv", {30, 81, 84, 100})
    good, bad = frames_of(clean), frames_of(tmp_path / "damaged.mkv")
    assert len(good) == len(bad) == FRAMES
    wrong = {a.index for a, b in zip(good, bad, strict=True) if not np.array_equal(a.pixels, b.pixels)}
    flagged = {frame.index for frame in bad if frame.flags & FrameFlags.CORRUPT}
    assert len(wrong) > 40
    assert wrong <= flagged
    # Each time until the end of the group; packet 100 is a key frame, whose damage lasts until the next.
    assert flagged == set(range(30, 50)) | set(range(81, 125))


def test_a_stream_without_key_frames_is_trusted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streamad.sources.container.QUARANTINE_SECONDS", 1.0)
    assert QUARANTINE_SECONDS == 30.0
    with av.open(str(tmp_path / "long.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast", "crf": "18"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        stream.codec_context.gop_size = 1000
        for picture in moving_shapes(100):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray")))
        container.mux(stream.encode())
    damage(tmp_path / "long.mp4", tmp_path / "damaged.mkv", {20})
    flagged = {frame.index for frame in frames_of(tmp_path / "damaged.mkv") if frame.flags & FrameFlags.CORRUPT}
    assert flagged == set(range(20, 46))
