"""FileSource on real files of every container and every kind of damage."""

from __future__ import annotations

import itertools
import shutil
import wave
from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from rtsp_support import frame_number, pictures, write_video

from streamad.errors import ExitCode
from streamad.frame import Frame, FrameFlags
from streamad.sources import (
    FailureReason,
    FileSpec,
    SourceCodecError,
    SourceError,
    SourceInfo,
    SourceNotFoundError,
    open_source,
)

FRAMES = 60


@pytest.fixture(scope="module")
def videos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in ("a.mp4", "a.mkv", "a.ts", "a.avi", "a.mov"):
        write_video(folder / name, frames=FRAMES)
    write_video(folder / "a.h264", frames=FRAMES, container_format="h264")
    write_video(folder / "b.mp4", frames=FRAMES, codec="libx265")
    write_video(folder / "mjpeg.avi", frames=FRAMES, codec="mjpeg", pixel_format="yuvj420p")
    write_video(folder / "mpeg4.avi", frames=FRAMES, codec="mpeg4")
    write_video(folder / "ten_bit.mkv", frames=FRAMES, codec="ffv1", pixel_format="yuv420p10le")
    return folder


def read(path: Path, **options: object) -> tuple[list[Frame], SourceInfo, list[str]]:
    with open_source(FileSpec(path=path, **options), camera="cam") as source:  # type: ignore[arg-type]
        frames = list(source)
        assert source.frames_decoded == len(frames)
        return frames, source.info, source.problems


@pytest.mark.parametrize(
    "name",
    ["a.mp4", "a.mkv", "a.ts", "a.avi", "a.mov", "a.h264", "b.mp4", "mjpeg.avi", "mpeg4.avi", "ten_bit.mkv"],
)
def test_containers_and_codecs(videos: Path, name: str) -> None:
    frames, info, problems = read(videos / name)
    assert [frame_number(f.pixels) for f in frames] == list(range(FRAMES))
    assert [f.index for f in frames] == list(range(FRAMES))
    np.testing.assert_allclose([f.pts_seconds for f in frames], np.arange(FRAMES) / 25, atol=1e-6)
    assert [f.is_discontinuity for f in frames] == [True] + [False] * (FRAMES - 1)
    assert frames[0].flags & FrameFlags.KEY
    assert not any(f.flags & FrameFlags.CORRUPT for f in frames)
    assert {f.shape for f in frames} == {(240, 320)}
    assert (info.width, info.height, info.fps, info.live) == (320, 240, 25.0, False)
    assert info.frames in (None, FRAMES)
    assert info.decoder.startswith("software (")
    assert problems == []


def test_pixels_are_the_pictures_full_range(videos: Path) -> None:
    truth = list(pictures(3))
    for name in ("a.mp4", "ten_bit.mkv", "mjpeg.avi"):
        frames, _, _ = read(videos / name)
        for picture, frame in zip(truth, frames, strict=False):
            assert np.abs(picture.astype(int) - frame.pixels).mean() < 3, name


def test_threads_change_nothing(videos: Path) -> None:
    one, _, _ = read(videos / "a.mp4")
    with open_source(FileSpec(path=videos / "a.mp4"), camera="cam", threads=2) as source:
        for frame, other in zip(one, source, strict=True):
            np.testing.assert_array_equal(frame.pixels, other.pixels)
            assert frame.flags == other.flags


def test_frames_stay_valid_after_the_source_is_closed(videos: Path) -> None:
    frames, _, _ = read(videos / "a.mp4")
    assert frame_number(frames[0].pixels) == 0
    with open_source(FileSpec(path=videos / "a.mp4"), camera="cam") as source:
        first = next(iter(source))
        second = next(iter(source))
        assert (first.index, second.index) == (0, 1), "single pass"
    with pytest.raises(ValueError, match="closed"):
        iter(source)
    source.close()


def test_loop_goes_on(videos: Path) -> None:
    with open_source(FileSpec(path=videos / "a.ts", loop=True), camera="cam") as source:
        frames = [frame for frame, _ in zip(source, range(2 * FRAMES + 5), strict=False)]
        assert source.info.frames is None
    assert [frame_number(f.pixels) for f in frames] == [i % FRAMES for i in range(2 * FRAMES + 5)]
    assert [f.index for f in frames if f.is_discontinuity] == [0, FRAMES, 2 * FRAMES]
    np.testing.assert_allclose([f.pts_seconds for f in frames], np.arange(len(frames)) / 25, atol=1e-6)


def test_realtime_waits_for_each_frame(videos: Path) -> None:
    now = [50.0]

    def sleep(seconds: float) -> None:
        now[0] += seconds

    spec = FileSpec(path=videos / "a.mp4", realtime=True, speed=2.0)
    with open_source(spec, camera="cam", clock=lambda: now[0], sleep=sleep) as source:
        received = [frame.received_at for frame in source]
    np.testing.assert_allclose(received, 50.0 + np.arange(FRAMES) / 50, atol=1e-6)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (3, 5), (33, 17), (322, 242)])
def test_odd_sizes(tmp_path: Path, width: int, height: int) -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, height, width), dtype=np.uint8)
    path = tmp_path / "odd.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("ffv1", rate=25)
        stream.width, stream.height, stream.pix_fmt = width, height, "gray"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="gray")))
        container.mux(stream.encode())
    frames, _, _ = read(path)
    np.testing.assert_array_equal([f.pixels for f in frames], images)


def test_a_change_of_size_is_flagged(tmp_path: Path) -> None:
    small = write_video(tmp_path / "small.ts", frames=30)
    large = write_video(tmp_path / "large.ts", frames=30, size=(400, 300), first=30)
    both = tmp_path / "both.ts"
    both.write_bytes(small.read_bytes() + large.read_bytes())
    frames, _, _ = read(both)
    assert [frame_number(f.pixels) for f in frames] == list(range(60))
    assert [f.shape for f in frames] == [(240, 320)] * 30 + [(300, 400)] * 30
    flagged = [i for i, f in enumerate(frames) if f.is_discontinuity]
    assert flagged == [0, 30]
    assert all(a.pts_seconds < b.pts_seconds for a, b in itertools.pairwise(frames))


def test_a_jump_of_the_clock_is_closed_and_flagged(tmp_path: Path) -> None:
    path = tmp_path / "jump.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = 320, 240, "yuvj420p"
        for number, picture in enumerate(pictures(20)):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuvj420p")
            frame.pts = number if number < 10 else number + 25 * 3600
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    frames, _, _ = read(path)
    assert [f.index for f in frames if f.is_discontinuity] == [0, 10]
    np.testing.assert_allclose(np.diff([f.pts_seconds for f in frames]), 0.04, atol=2e-3)


def cut(path: Path, share: float) -> Path:
    data = path.read_bytes()
    result = path.with_name(f"cut_{path.name}")
    result.write_bytes(data[: int(len(data) * share)])
    return result


@pytest.mark.parametrize("name", ["a.ts", "a.mkv", "front.mp4"])
def test_a_truncated_file_yields_what_is_there_and_says_so(videos: Path, tmp_path: Path, name: str) -> None:
    if name == "front.mp4":
        front = tmp_path / name
        with av.open(str(videos / "a.mp4")) as old, av.open(str(front), "w", options={"movflags": "faststart"}) as new:
            stream = new.add_stream_from_template(old.streams.video[0])
            for packet in old.demux(video=0):
                if packet.dts is not None:
                    packet.stream = stream
                    new.mux(packet)
    else:
        front = tmp_path / name
        shutil.copy(videos / name, front)
    frames, _, problems = read(cut(front, 0.6))
    numbers = [frame_number(f.pixels) for f in frames if not f.flags & FrameFlags.CORRUPT]
    assert 20 < len(numbers) < FRAMES
    assert numbers[:20] == list(range(20))
    assert problems
    assert all(name in problem for problem in problems)


def test_flipped_bits_end_nothing(videos: Path, tmp_path: Path) -> None:
    data = bytearray((videos / "a.ts").read_bytes())
    rng = np.random.default_rng(3)
    for position in rng.integers(188 * 20, len(data), 300):
        data[position] ^= 1 << int(rng.integers(8))
    damaged = tmp_path / "damaged.ts"
    damaged.write_bytes(data)
    frames, _, _ = read(damaged)
    assert len(frames) > FRAMES // 2
    assert any(f.flags & FrameFlags.CORRUPT for f in frames)


def _text(path: Path) -> None:
    path.write_text("this is no film\n" * 100)


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _noise(path: Path) -> None:
    path.write_bytes(np.random.default_rng(0).bytes(20000))


def _audio(path: Path) -> None:
    with wave.open(str(path), "wb") as file:
        file.setnchannels(1)
        file.setsampwidth(2)
        file.setframerate(8000)
        file.writeframes(bytes(16000))


def _no_moov(path: Path) -> None:
    whole = write_video(path.with_suffix(".whole.mp4"), frames=10)
    path.write_bytes(whole.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("name", "make", "message"),
    [
        ("text.mp4", _text, "not a video"),
        ("notes.txt", _text, "unknown video codec"),
        ("empty.mp4", _empty, "0 bytes"),
        ("noise.mkv", _noise, "not a video"),
        ("sound.wav", _audio, "only audio"),
        ("cut.mp4", _no_moov, "not a video"),
        ("folder.mp4", Path.mkdir, "is a folder"),
    ],
)
def test_what_is_no_video(tmp_path: Path, name: str, make: Callable[[Path], None], message: str) -> None:
    path = tmp_path / name
    make(path)
    with pytest.raises(SourceCodecError, match=message) as caught:
        read(path)
    assert str(path) in str(caught.value)
    assert caught.value.hint
    assert caught.value.reason is FailureReason.CODEC
    assert isinstance(caught.value, ValueError)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="no such file") as caught:
        read(tmp_path / "missing.mp4")
    assert isinstance(caught.value, FileNotFoundError)
    assert caught.value.exit_code is ExitCode.SOURCE


def test_names_that_look_like_protocols(videos: Path, tmp_path: Path) -> None:
    for name in ("a:b.mp4", "http:x.mp4", "50%03d.mp4", "ä ö.mp4"):
        shutil.copy(videos / "a.mp4", tmp_path / name)
        assert len(read(tmp_path / name)[0]) == FRAMES


def test_a_single_image_is_a_short_video(tmp_path: Path) -> None:
    cv2.imwrite(str(tmp_path / "one.png"), np.full((5, 7), 100, np.uint8))
    frames, _, _ = read(tmp_path / "one.png")
    assert [f.pixels.tolist() for f in frames] == [[[100] * 7] * 5]


@pytest.mark.parametrize("mode", ["cuda", "vaapi"])
def test_hardware_asked_for_never_falls_back(videos: Path, mode: str) -> None:
    try:
        assert read(videos / "a.mp4", hwaccel=mode)[1].decoder == f"{mode} (h264)"
        return
    except SourceError as error:
        failure = error
    assert failure.reason is FailureReason.CODEC
    assert f"hwaccel: {mode} was requested, but" in str(failure)
    assert failure.hint
    if mode == "vaapi":
        assert "built without vaapi" in str(failure)


def test_automatic_hardware_says_what_it_took(videos: Path, caplog: pytest.LogCaptureFixture) -> None:
    frames, info, _ = read(videos / "a.mp4", hwaccel="auto")
    assert [frame_number(f.pixels) for f in frames] == list(range(FRAMES))
    if info.decoder == "software (h264)":
        assert "decoding in software" in caplog.text
    else:
        assert info.decoder in ("cuda (h264)", "vaapi (h264)")
