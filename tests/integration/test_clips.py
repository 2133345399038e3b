"""Clips of a stream from its own packets, written by the decoder process."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from clip_support import decoded, is_red_and_blue, packets_of, slices_of, write_color_video
from disk_support import fill, small_disk_or_skip
from rtsp_support import RtspServer, frame_number, require_rtsp_server, write_video

from streamad.frame import Frame
from streamad.sources import FileSpec, ImagesSpec, RtspSpec, SourceSpec, SupervisedSource, Url
from streamad.sources.recording import PART, complete_part
from streamad.sources.wire import RecordingSpec

pytestmark = pytest.mark.alone  # depends on wall-clock timing
FPS = 25
RECORDING = RecordingSpec(keep_seconds=4.0, max_clip_seconds=30.0, max_bytes=8 << 20)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_color_video(tmp_path_factory.mktemp("clips") / "color.mp4", frames=20 * FPS)


def follow(
    source: SupervisedSource, on_frame: Callable[[Frame], None], *, stop: Callable[[], bool], seconds: float = 25
) -> list[dict[str, Any]]:
    """Read frames until `stop`; returns the messages about clips."""
    messages, end = [], time.monotonic() + seconds
    while not stop():
        assert time.monotonic() < end, (source.status, messages)
        frame = source.poll(0.1)
        messages += source.clips()
        if frame is not None:
            on_frame(frame)
    return messages


def recorded(
    spec: SourceSpec, folder: Path, windows: dict[str, tuple[float, float, float]]
) -> dict[str, dict[str, Any]]:
    """Record clips: id -> (when it is asked for, since, until), seconds."""
    asked: set[str] = set()
    done: dict[str, dict[str, Any]] = {}
    with SupervisedSource("cam", spec, recording=RECORDING) as source:

        def on_frame(frame: Frame) -> None:
            for name, (at, since, until) in windows.items():
                if frame.pts_seconds >= at and name not in asked:
                    asked.add(name)
                    assert source.record(name, folder / name, since, None)
                    assert source.record(name, folder / name, since, until)

        end = time.monotonic() + 25
        while len(done) < len(windows):
            assert time.monotonic() < end, source.status
            frame = source.poll(0.1)
            if frame is not None:
                on_frame(frame)
            done.update({message["id"]: message for message in source.clips()})
    return done


def test_a_clip_of_a_file_has_its_packets_from_the_key_frame_before(video: Path, tmp_path: Path) -> None:
    done = recorded(
        FileSpec(path=video), tmp_path / "new",
        {"one": (6.2, 3.6, 8.0), "two": (7.0, 5.1, 9.3)},
    )  # fmt: skip
    source = packets_of(video)
    for name, (first, last) in {"one": (3.0, 8.0), "two": (5.0, 9.3)}.items():
        assert done[name]["reason"] is None
        path = Path(done[name]["path"])
        assert path == tmp_path / "new" / f"{name}.mp4"
        packets = packets_of(path)
        start = source.index(packets[0])
        assert start == round(first * FPS), "the last key frame at or before the start"
        assert packets == source[start : start + len(packets)], "the camera's own packets"
        frames = decoded(path)
        assert [frame_number(f.to_ndarray(format="gray")) for f in frames[:20]] == list(range(start, start + 20))
        assert last * FPS <= start + len(frames) - 1 <= last * FPS + 4
        assert all(map(is_red_and_blue, frames))
        assert frames[0].key_frame
        assert frames[0].time is not None
        assert frames[0].time < 0.2
        assert not list(path.parent.glob(f"*{PART}"))


def test_a_clip_is_asked_for_after_the_end_of_the_file(video: Path, tmp_path: Path) -> None:
    with SupervisedSource("cam", FileSpec(path=video), recording=RECORDING) as source:
        follow(source, lambda _: None, stop=lambda: source.over)
        assert source.record("late", tmp_path / "late", 18.5, 24.0)
        end = time.monotonic() + 25
        while not (messages := source.clips()):  # the file is there a moment before the message
            assert time.monotonic() < end
            time.sleep(0.02)
    (message,) = messages
    assert message["reason"] == "stream_ended"
    assert packets_of(tmp_path / "late.mp4") == packets_of(video)[18 * FPS :]


def test_clips_end_in_good_order_when_the_source_is_stopped(video: Path, tmp_path: Path) -> None:
    spec = FileSpec(path=video, realtime=True)
    seen: list[Frame] = []
    with SupervisedSource("cam", spec, recording=RECORDING) as source:
        follow(source, seen.append, stop=lambda: len(seen) > 30)
        assert source.record("open", tmp_path / "open", 0.0, None)
        follow(source, seen.append, stop=lambda: len(seen) > 60)
    (message,) = source.clips()
    assert message["reason"] == "stream_ended"
    frames = decoded(tmp_path / "open.mp4")
    assert len(frames) >= 55
    assert is_red_and_blue(frames[-1])


def test_the_longest_clip(video: Path, tmp_path: Path) -> None:
    recording = RecordingSpec(keep_seconds=2.0, max_clip_seconds=3.0, max_bytes=8 << 20)
    messages: list[dict[str, Any]] = []
    with SupervisedSource("cam", FileSpec(path=video), recording=recording) as source:

        def on_frame(frame: Frame) -> None:
            if frame.index == 100:
                assert source.record("long", tmp_path / "long", 3.0, None)

        messages = follow(source, on_frame, stop=lambda: source.over)
    assert [m["reason"] for m in messages] == ["max_clip_seconds"]
    assert 3.0 <= len(decoded(tmp_path / "long.mp4")) / FPS <= 3.2


def test_motion_jpeg_becomes_matroska(tmp_path: Path) -> None:
    video = write_color_video(tmp_path / "a.avi", frames=100, codec="mjpeg")
    done = recorded(FileSpec(path=video), tmp_path, {"clip": (2.0, 1.0, 3.0)})
    assert done["clip"]["path"] == str(tmp_path / "clip.mkv")
    packets = packets_of(tmp_path / "clip.mkv")
    assert packets == packets_of(video)[25 : 25 + len(packets)]
    assert is_red_and_blue(decoded(tmp_path / "clip.mkv")[0])


def test_a_looping_file_continues_in_the_clip(tmp_path: Path) -> None:
    video = write_video(tmp_path / "short.mp4", frames=2 * FPS)
    done = recorded(FileSpec(path=video, loop=True), tmp_path, {"clip": (5.0, 3.5, 6.5)})
    frames = decoded(Path(done["clip"]["path"]))
    numbers = [frame_number(f.to_ndarray(format="gray")) for f in frames]
    assert numbers[:26] == [*range(25, 50), 0]
    times = np.array([float(f.pts * f.time_base) for f in frames if f.pts is not None])
    assert np.allclose(np.diff(times), 1 / FPS, atol=0.002)


def test_image_folders_have_no_packets(tmp_path: Path) -> None:
    source = SupervisedSource("cam", ImagesSpec(path=tmp_path), recording=RECORDING)
    assert not source.record("clip", tmp_path / "clip", 0.0, None)


def test_a_full_disk_costs_the_clip_alone(video: Path, tmp_path: Path) -> None:
    with small_disk_or_skip(tmp_path / "disk", "300k") as disk:
        ballast = fill(disk)
        done = recorded(FileSpec(path=video), disk, {"full": (2.0, 0.0, 4.0)})
        assert done["full"]["path"] is None
        assert done["full"]["reason"] == "ENOSPC"
        ballast.unlink()
        assert not list(disk.iterdir())
        assert recorded(FileSpec(path=video), disk, {"free": (2.0, 0.0, 4.0)})["free"]["reason"] is None
        assert len(decoded(disk / "free.mp4")) >= 100


def test_a_killed_decoder_leaves_a_file_that_plays(video: Path, tmp_path: Path) -> None:
    seen: list[Frame] = []
    with SupervisedSource("cam", FileSpec(path=video, realtime=True, loop=True), recording=RECORDING) as source:
        follow(source, seen.append, stop=lambda: len(seen) > 30)
        assert source.record("cut", tmp_path / "cut", 0.0, None)
        follow(source, seen.append, stop=lambda: len(seen) > 120)
        assert source._process is not None
        os.kill(source._process.pid, signal.SIGKILL)
        (message,) = follow(source, seen.append, stop=lambda: source.status.state != "up")
    assert (message["path"], message["reason"]) == (None, "decoder_died")
    (part,) = tmp_path.glob(f"*{PART}")
    assert complete_part(part) == tmp_path / "cut.mp4"
    frames = decoded(tmp_path / "cut.mp4")
    assert len(frames) >= 120 - 2 * FPS
    assert is_red_and_blue(frames[0])
    (tmp_path / "empty.mp4.part").write_bytes(b"")
    assert complete_part(tmp_path / "empty.mp4.part") is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["cut.mp4"]


@pytest.mark.rtsp
def test_a_camera_s_clip_and_a_broken_stream(video: Path, tmp_path: Path) -> None:
    require_rtsp_server()
    messages: list[dict[str, Any]] = []
    with RtspServer({"cam": video}) as server:
        spec = RtspSpec(url=Url(server.url("cam")), read_timeout_seconds=2, stall_timeout_seconds=8)
        with SupervisedSource("cam", spec, recording=RECORDING) as source:
            asked: list[float] = []

            def on_frame(frame: Frame) -> None:
                if frame.pts_seconds >= 4.0 and not asked:
                    asked.append(frame.pts_seconds)
                    assert source.record("done", tmp_path / "done", 2.5, 5.5)
                    assert source.record("broken", tmp_path / "broken", 3.5, None)

            messages += follow(source, on_frame, stop=lambda: (tmp_path / "done.mp4").exists())
            server.kill()
            messages += follow(source, on_frame, stop=lambda: (tmp_path / "broken.mp4").exists())
            messages += follow(source, on_frame, stop=lambda: source.status.state == "backoff")
            assert source.record("after", tmp_path / "after", 4.5, 20.0), "an alert is known after the last frame"
            messages += follow(source, on_frame, stop=lambda: (tmp_path / "after.mp4").exists())
    by_id = {m["id"]: m for m in [*messages, *source.clips()]}
    assert {name: m["reason"] for name, m in by_id.items()} == {
        "done": None, "broken": "stream_ended", "after": "stream_ended",
    }  # fmt: skip
    frames = decoded(tmp_path / "done.mp4")
    first = frame_number(frames[0].to_ndarray(format="gray"))
    assert frames[0].key_frame
    assert all(map(is_red_and_blue, frames))
    assert 1.0 <= first / FPS <= 2.6, "a key frame at most a second before"
    assert 5.4 <= (first + len(frames) - 1) / FPS <= 6.0
    original, clip = slices_of(video), slices_of(tmp_path / "done.mp4")
    start = original.index(clip[0])
    assert clip == original[start : start + len(clip)], "the camera's own coded pictures"
    assert is_red_and_blue(decoded(tmp_path / "broken.mp4")[0])
    assert is_red_and_blue(decoded(tmp_path / "after.mp4")[0])


@pytest.mark.parametrize(("codec", "suffix"), [("libx264", "mp4"), ("libx265", "mp4"), ("mjpeg", "mkv")])
def test_the_picture_of_a_frame_in_color_is_that_frame(tmp_path: Path, codec: str, suffix: str) -> None:
    video = write_color_video(tmp_path / f"color.{suffix}", frames=5 * FPS, codec=codec)
    asked: dict[str, int] = {}
    answers: list[dict[str, Any]] = []
    with SupervisedSource("cam", FileSpec(path=video, realtime=True), recording=RECORDING, slots=20) as source:

        def ask(frame: Frame) -> None:
            if frame.index in (0, 24, 38, 61, 100):
                name = f"p-{frame.index}"
                assert source.picture(name, tmp_path / f"{name}.jpg", frame.pts_seconds)
                asked[name] = frame_number(frame.pixels)
            answers.extend(source.clips())

        answers += follow(source, ask, stop=lambda: len(asked) == 5)
        answers += follow(source, ask, stop=lambda: len(answers) + len(source._clips) <= 5 and not source._clips)
        answers += source.clips()
    assert {answer["id"]: answer["reason"] for answer in answers} == dict.fromkeys(asked)
    for name, number in asked.items():
        picture = cv2.imread(str(tmp_path / f"{name}.jpg"))
        assert picture is not None
        assert frame_number(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY)) == number
        left, right = picture[70:110, :100].mean(axis=(0, 1)), picture[70:110, 220:].mean(axis=(0, 1))
        assert left[2] > left[0] + 30
        assert right[0] > right[2] + 30


def test_a_picture_of_a_time_without_packets_is_refused(video: Path, tmp_path: Path) -> None:
    seen: list[int] = []
    with SupervisedSource("cam", FileSpec(path=video, realtime=True), recording=RECORDING) as source:

        def ask(frame: Frame) -> None:
            seen.append(frame.index)
            if frame.index == 5:
                assert source.picture("p", tmp_path / "p.jpg", -1000.0)

        answers = follow(source, ask, stop=lambda: len(seen) > 40)
    assert [answer["path"] for answer in answers] == [None]
    assert not (tmp_path / "p.jpg").exists()
