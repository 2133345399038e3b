"""Times and numbers of frames in real containers, against ffprobe's `best_effort_timestamp_time` and the truth."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from program_support import program
from rtsp_support import frame_number, pictures

from streamad.frame import Frame
from streamad.sources import FileSpec, SourceInfo, open_source
from streamad.sources.file import FileSource

COUNT = 50
B_FRAMES = {
    "libx264": {"preset": "medium", "bf": "3", "g": "20", "crf": "20"},
    "libx265": {"preset": "fast", "x265-params": "log-level=none:bframes=3:keyint=20"},
    "mpeg4": {"bf": "2", "g": "20"},
    "mpeg2video": {"bf": "2", "g": "20"},
}
IN_ORDER = {
    "libx264": {"preset": "ultrafast", "bf": "0"},
    "libx265": {"preset": "ultrafast", "x265-params": "log-level=none:bframes=0"},
    "mpeg4": {},
    "mjpeg": {},
    "libvpx": {"deadline": "realtime", "cpu-used": "8", "lag-in-frames": "16", "auto-alt-ref": "1"},
}
HOLDS = {
    "avi": ("libx264", "mpeg4", "mpeg2video", "mjpeg", "libvpx"),
    "mp4": ("libx264", "libx265", "mpeg4", "mjpeg"),
    "mkv": ("libx264", "libx265", "mpeg4", "mpeg2video", "mjpeg", "libvpx"),
    "ts": ("libx264", "libx265", "mpeg2video"),
    "flv": ("libx264",),
    "h264": ("libx264",),
}
EVERY = [
    (container, codec, has_b_frames)
    for container, codecs in HOLDS.items()
    for codec in codecs
    for has_b_frames in (False, True)
    if codec in (B_FRAMES if has_b_frames else IN_ORDER)
]


def encode(
    path: Path,
    codec: str,
    options: dict[str, str],
    *,
    ticks: Iterable[int] = range(COUNT),
    container_options: dict[str, str] | None = None,
) -> Path:
    """Numbered pictures of 256×64 at these ticks of 1/25 s."""
    with av.open(str(path), "w", options=container_options or {}) as container:
        stream = container.add_stream(codec, rate=25, options=options)
        stream.width, stream.height = 256, 64
        stream.pix_fmt = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        stream.codec_context.time_base = Fraction(1, 25)
        ticks = list(ticks)
        for tick, picture in zip(ticks, pictures(len(ticks), (256, 64)), strict=True):
            frame = av.VideoFrame.from_ndarray(picture, format="gray").reformat(format=stream.pix_fmt)
            frame.pts, frame.time_base = tick, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def read(path: Path) -> tuple[list[Frame], SourceInfo, list[str]]:
    with open_source(FileSpec(path=path), camera="cam") as source:
        return list(source), source.info, source.problems


def counts(path: Path) -> tuple[int, int]:
    """What counting gives, where packets tell and by decoding."""
    answers = []
    for decode in (False, True):
        with FileSource(FileSpec(path=path), camera="cam") as source:
            answers.append(source.count(decode=decode))
    return answers[0], answers[1]


def best_effort(path: Path) -> list[float | None]:
    """Seconds since the first frame by ffprobe, None where it knows none."""
    program("ffprobe")
    run = subprocess.run(
        f"ffprobe -v error -select_streams v:0 -of json -show_entries frame=best_effort_timestamp_time {path}".split(),
        capture_output=True,
        check=True,
        timeout=60,
    )
    times = [frame.get("best_effort_timestamp_time") for frame in json.loads(run.stdout)["frames"]]
    first = next((float(t) for t in times if t is not None), 0.0)
    return [None if t is None else float(t) - first for t in times]


def assert_as_ffprobe(path: Path, frames: list[Frame]) -> None:
    truth = best_effort(path)
    assert len(frames) == len(truth)
    known = [(frame.pts_seconds, t) for frame, t in zip(frames, truth, strict=True) if t is not None]
    np.testing.assert_allclose([a for a, _ in known], [b for _, b in known], atol=2e-3)


@pytest.mark.parametrize(("container", "codec", "has_b_frames"), EVERY)
def test_every_container_and_codec(tmp_path: Path, container: str, codec: str, has_b_frames: bool) -> None:
    path = encode(tmp_path / f"clip.{container}", codec, (B_FRAMES if has_b_frames else IN_ORDER)[codec])
    frames, info, problems = read(path)
    assert [frame_number(f.pixels) for f in frames] == list(range(COUNT))
    np.testing.assert_allclose([f.pts_seconds for f in frames], np.arange(COUNT) / 25, atol=2e-3)
    assert [f.index for f in frames if f.is_discontinuity] == [0]
    assert problems == []
    assert info.frames in (None, COUNT)
    assert info.fps == pytest.approx(25.0)
    assert counts(path) == (COUNT, COUNT)
    assert_as_ffprobe(path, frames)


@pytest.mark.parametrize(("container", "codec"), [("mp4", "libx264"), ("mkv", "libx264"), ("ts", "libx264")])
def test_variable_rate(tmp_path: Path, container: str, codec: str) -> None:
    ticks = np.cumsum(np.tile([1, 3, 1, 2, 7], 8))
    path = encode(tmp_path / f"vfr.{container}", codec, B_FRAMES[codec], ticks=ticks.tolist())
    frames, _, problems = read(path)
    np.testing.assert_allclose([f.pts_seconds for f in frames], (ticks - ticks[0]) / 25, atol=2e-3)
    assert problems == []
    assert counts(path) == (len(ticks), len(ticks))
    assert_as_ffprobe(path, frames)


def test_a_variable_rate_in_avi_is_no_damage(tmp_path: Path) -> None:
    """AVI knows one rate: where no picture is due it has an empty packet, which its header counts as a frame."""
    path = encode(tmp_path / "gaps.avi", "libx264", IN_ORDER["libx264"], ticks=range(0, 100, 2))
    frames, info, problems = read(path)
    np.testing.assert_allclose([f.pts_seconds for f in frames], np.arange(50) * 2 / 25, atol=1e-6)
    assert problems == []
    assert info.frames == 50
    assert counts(path) == (50, 50)
    assert_as_ffprobe(path, frames)


def copied(source: Path, target: Path, *, first: int = 0, shift: int = 0) -> Path:
    """Copy the packets, from number `first` on, with their times moved by `shift` ticks, without decoding."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size == 0 or number < first:
                continue
            packet.pts, packet.dts = packet.pts + shift, packet.dts + shift
            packet.stream = stream
            new.mux(packet)
    return target


def test_pictures_before_an_edit_are_not_shown(tmp_path: Path) -> None:
    """A clip cut without re-encoding: an edit list hides the packets from the key frame to the cut."""
    whole = encode(tmp_path / "whole.mp4", "libx264", B_FRAMES["libx264"])
    with av.open(str(whole)) as old:
        ticks = old.streams.video[0].time_base.denominator // 25
    path = copied(whole, tmp_path / "cut.mp4", first=20, shift=-33 * ticks)
    with av.open(str(path)) as cut:
        packets = [packet for packet in cut.demux(video=0) if packet.size]
        assert sum(packet.is_discard for packet in packets) == 13
    frames, info, problems = read(path)
    assert [frame_number(f.pixels) for f in frames] == list(range(33, 50))
    np.testing.assert_allclose([f.pts_seconds for f in frames], np.arange(17) / 25, atol=1e-6)
    assert problems == []
    assert info.frames == 17
    assert counts(path) == (17, 17)
    assert_as_ffprobe(path, frames)


def test_a_stream_that_starts_between_key_frames(tmp_path: Path) -> None:
    """What builds on pictures that were cut off is not counted: only decoding tells."""
    whole = encode(tmp_path / "whole.mkv", "libx264", B_FRAMES["libx264"])
    path = copied(whole, tmp_path / "late.mkv", first=5)
    frames, _, _ = read(path)
    assert counts(path) == (len(frames), len(frames))


@pytest.mark.parametrize("offset_seconds", [95440.0, -3.0, 5000.0])
def test_the_first_time_is_any(tmp_path: Path, offset_seconds: float) -> None:
    """33 bits of 1/90000 s wrap at 95443.7 s, in the middle of the first clip."""
    path = encode(
        tmp_path / "clip.ts",
        "libx264",
        {**B_FRAMES["libx264"], "bf": "0" if offset_seconds < 0 else "3"},
        ticks=range(150),
        container_options={"output_ts_offset": str(offset_seconds), "avoid_negative_ts": "disabled"},
    )
    frames, _, _ = read(path)
    np.testing.assert_allclose([f.pts_seconds for f in frames], np.arange(150) / 25, atol=2e-3)
    assert [f.index for f in frames if f.is_discontinuity] == [0]
    assert_as_ffprobe(path, frames)


def test_a_clock_that_is_set_back_goes_on(tmp_path: Path) -> None:
    """Two recordings of two seconds in one file: the second one's times start over."""
    one = encode(tmp_path / "one.ts", "libx264", B_FRAMES["libx264"]).read_bytes()
    path = tmp_path / "twice.ts"
    path.write_bytes(one + one)
    frames, _, _ = read(path)
    np.testing.assert_allclose([f.pts_seconds for f in frames], np.arange(2 * COUNT) / 25, atol=2e-3)


def test_metadata_that_is_not_utf8(tmp_path: Path) -> None:
    plain = encode(tmp_path / "plain.avi", "libx264", IN_ORDER["libx264"])
    path = tmp_path / "titled.avi"
    with av.open(str(plain)) as old, av.open(str(path), "w") as new:
        new.metadata["title"] = "CamXra"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    path.write_bytes(path.read_bytes().replace(b"CamXra", b"Cam\xe9ra"))
    with pytest.raises(UnicodeDecodeError):
        av.open(str(path))
    frames, info, problems = read(path)
    assert (len(frames), info.frames, problems) == (COUNT, COUNT, [])
    assert counts(path) == (COUNT, COUNT)


@pytest.mark.data
def test_a_real_recording_in_avi_with_b_frames() -> None:
    root = os.environ.get("STREAMAD_DATA")
    if root is None:
        pytest.skip("STREAMAD_DATA is not set")
    path = Path(root) / "videos" / "vtest_480x360.avi"
    if not path.is_file():
        pytest.skip(f"no {path}")
    frames, _, problems = read(path)
    np.testing.assert_allclose([f.pts_seconds for f in frames], np.arange(795) / 10, atol=1e-6)
    assert problems == []
    assert_as_ffprobe(path, frames)
