"""Damage that FFmpeg conceals: strict decoding flags it, and clean video is flagged nowhere."""

from __future__ import annotations

from collections.abc import Callable, Collection
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from bundle_support import moving_shapes
from rtsp_support import write_video

from streamad.frame import Frame, FrameFlags
from streamad.sources import FileSpec, ImagesSpec, open_source, read_gray
from streamad.sources.file import FileSource
from streamad.sources.images import is_damaged
from streamad.sources.quality.gate import QualityGate

DAMAGED = range(30, 50)


def lost(data: bytes) -> bytes:
    """40 bytes are missing in the middle."""
    return data[: len(data) // 2] + data[len(data) // 2 + 40 :]


def cut(data: bytes) -> bytes:
    """The second half is missing."""
    return data[: len(data) // 2]


def ends_early(data: bytes) -> bytes:
    """The last bytes are missing, as some USB cameras send every picture."""
    return data[:-12]


Damage = Callable[[bytes], bytes]


def write_jpegs(path: Path, damage: Damage, numbers: Collection[int] = DAMAGED, count: int = 80) -> Path:
    """JPEG pictures put into the container as they are, some of them damaged."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
        for number, picture in enumerate(moving_shapes(count)):
            data = cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 40])[1].tobytes()
            packet = av.Packet(damage(data) if number in numbers else data)
            packet.stream, packet.time_base = stream, Fraction(1, 25)
            packet.pts = packet.dts = number
            packet.is_keyframe = True
            container.mux(packet)
    return path


def read(path: Path) -> tuple[list[Frame], list[str]]:
    with open_source(FileSpec(path=path), camera="cam") as source:
        return list(source), source.problems


def flagged(frames: list[Frame]) -> list[int]:
    return [frame.index for frame in frames if frame.flags & FrameFlags.CORRUPT]


@pytest.mark.parametrize("container", ["avi", "mkv", "mp4"])
@pytest.mark.parametrize("damage", [lost, cut])
def test_damaged_jpegs_are_flagged_and_withheld(tmp_path: Path, damage: Damage, container: str) -> None:
    frames, problems = read(write_jpegs(tmp_path / f"lost.{container}", damage))
    assert len(frames) == 80
    assert flagged(frames) == list(DAMAGED)
    assert problems == [f"{tmp_path}/lost.{container}: 20 packets could not be decoded"]
    gate = QualityGate()
    verdicts = [gate.check(frame).reason for frame in frames]
    assert [k for k, reason in enumerate(verdicts) if reason == "corrupt"] == list(DAMAGED)


def test_clean_jpegs_are_flagged_nowhere(tmp_path: Path) -> None:
    frames, problems = read(write_jpegs(tmp_path / "clean.avi", lost, ()))
    assert (flagged(frames), problems) == ([], [])


def test_damage_from_the_first_picture_on(tmp_path: Path) -> None:
    frames, _ = read(write_jpegs(tmp_path / "first.avi", lost, range(10)))
    assert flagged(frames) == list(range(10))


def test_a_camera_that_ends_each_picture_early_is_scored(tmp_path: Path) -> None:
    frames, problems = read(write_jpegs(tmp_path / "early.avi", ends_early, range(120), count=120))
    assert len(frames) == 120
    assert flagged(frames) == list(range(50))  # then the errors are known to be its way of writing pictures
    assert problems == [f"{tmp_path}/early.avi: 50 packets could not be decoded"]


@pytest.mark.parametrize("codec", ["libx264", "libx265", "mpeg4", "mpeg2video", "mjpeg"])
def test_noise_in_a_picture_is_flagged_until_a_clean_key_frame(tmp_path: Path, codec: str) -> None:
    pixel_format = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    clean = write_video(tmp_path / "clean.mkv", frames=75, codec=codec, pixel_format=pixel_format)
    path, rng = tmp_path / "noise.mkv", np.random.default_rng(5)
    with av.open(str(clean)) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size == 0:
                continue
            if number in (30, 33):
                data = bytearray(bytes(packet))
                if codec == "mjpeg":
                    del data[len(data) // 2 : len(data) // 2 + 40]
                else:
                    middle = len(data) // 3
                    data[middle : middle + 40] = rng.integers(0, 256, 40, dtype=np.uint8).tobytes()
                spoiled = av.Packet(bytes(data))
                spoiled.pts, spoiled.dts, spoiled.time_base = packet.pts, packet.dts, packet.time_base
                spoiled.is_keyframe = packet.is_keyframe
                packet = spoiled
            packet.stream = stream
            new.mux(packet)
    good, _ = read(clean)
    assert flagged(good) == []
    bad, problems = read(path)
    assert problems
    truth = {round(frame.pts_seconds, 3): frame.pixels for frame in good}
    for frame in bad:
        if not frame.flags & FrameFlags.CORRUPT:
            np.testing.assert_array_equal(frame.pixels, truth[round(frame.pts_seconds, 3)])
    assert 2 <= len(flagged(bad)) <= 25
    assert flagged(bad)[-1] < 55


def test_counting_and_reading_agree_on_damaged_video(tmp_path: Path) -> None:
    path = write_jpegs(tmp_path / "lost.avi", lost)
    for decode in (False, True):
        with FileSource(FileSpec(path=path), camera="cam") as source:
            assert source.count(decode=decode) == 80


def write_images(folder: Path, damage: dict[int, Damage], suffix: str = ".jpg") -> Path:
    for number, picture in enumerate(moving_shapes(10)):
        data = cv2.imencode(suffix, picture, [cv2.IMWRITE_JPEG_QUALITY, 40])[1].tobytes()
        (folder / f"{number}{suffix}").write_bytes(damage.get(number, bytes)(data))
    return folder


def noisy(data: bytes) -> bytes:
    """40 bytes in the middle are others."""
    middle = len(data) // 2
    noise = np.random.default_rng(1).integers(0, 256, 40, dtype=np.uint8).tobytes()
    return data[:middle] + noise + data[middle + 40 :]


@pytest.mark.parametrize("damage", [lost, noisy])
def test_a_damaged_jpeg_among_images_is_flagged_and_named(tmp_path: Path, damage: Damage) -> None:
    with open_source(ImagesSpec(path=write_images(tmp_path, {4: damage})), camera="cam") as source:
        frames = list(source)
        assert source.problems == [f"{tmp_path}/4.jpg: damaged"]
        assert source.decode_errors == source.corrupt_frames == 1
    assert [frame.index for frame in frames] == list(range(10))
    assert flagged(frames) == [4]
    assert QualityGate().check(frames[4]).reason == "corrupt"
    assert is_damaged(tmp_path / "4.jpg")
    assert not is_damaged(tmp_path / "5.jpg")


@pytest.mark.parametrize(
    ("suffix", "damage"), [(".jpg", cut), (".png", cut), (".png", lost), (".tif", cut), (".bmp", cut)]
)
def test_an_undecodable_image_is_skipped_and_named(tmp_path: Path, suffix: str, damage: Damage) -> None:
    with open_source(ImagesSpec(path=write_images(tmp_path, {4: damage}, suffix)), camera="cam") as source:
        frames = list(source)
        assert source.problems == [f"{tmp_path}/4{suffix}: cannot be decoded, skipped"]
    assert [frame.index for frame in frames] == [0, 1, 2, 3, 5, 6, 7, 8, 9]
    assert flagged(frames) == []


def test_a_file_too_large_for_a_picture_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "sparse.png").open("wb") as file:
        file.truncate(20 << 30)
    assert read_gray(tmp_path / "sparse.png") is None
