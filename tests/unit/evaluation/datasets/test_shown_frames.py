"""Loading, validation and scoring count the same frames of a video: those that are shown."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest
from dataset_files_support import write_labels, write_video

from streamad.errors import DatasetError
from streamad.evaluation.datasets import find_dataset, load_dataset
from streamad.evaluation.datasets.validate import ClipCheck, validate_dataset
from streamad.sources import FileSpec, open_source


def cut_at(source: Path, target: Path, first_shown: int) -> Path:
    """Cut without re-encoding: an edit list hides the packets from the key frame to the cut."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        ticks = round(1 / (stream.time_base or old.streams.video[0].time_base) / 10)
        for packet in old.demux(video=0):
            if packet.size:
                packet.pts, packet.dts, packet.stream = (
                    packet.pts - first_shown * ticks,
                    packet.dts - first_shown * ticks,
                    stream,
                )
                new.mux(packet)
    return target


def titled(source: Path, target: Path) -> Path:
    """The same packets under a title in Latin-1."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        new.metadata["title"] = "CamXra"
        stream = new.add_stream_from_template(old.streams.video[0])
        for packet in old.demux(video=0):
            if packet.size:
                packet.stream = stream
                new.mux(packet)
    target.write_bytes(target.read_bytes().replace(b"CamXra", b"Cam\xe9ra"))
    return target


def data_set(root: Path, suffix: str, labels: int) -> Path:
    """A data set to which `testing/videos/c1` is still missing."""
    write_video(root / "training" / "videos" / "t1.mp4", 12)
    (root / "testing" / "videos").mkdir(parents=True)
    write_labels(root / "testing" / "frame_labels" / "c1.npy", [0] * (labels - 5) + [1] * 5)
    return root / "testing" / "videos" / f"c1{suffix}"


def scored(path: Path) -> tuple[int, list[str]]:
    with open_source(FileSpec(path=path), camera="cam") as source:
        return sum(1 for _ in source), source.problems


def checked(root: Path, *, decode: bool = True) -> ClipCheck:
    (_, clip) = validate_dataset(find_dataset(str(root)), decode=decode).clips
    return clip


def test_a_clip_with_an_edit_list(tmp_path: Path) -> None:
    write_video(tmp_path / "whole.mp4", 40)
    path = cut_at(tmp_path / "whole.mp4", data_set(tmp_path / "set", ".mp4", 27), 13)
    assert scored(path) == (27, [])
    (clip,) = load_dataset(tmp_path / "set").testing
    assert clip.frames == 27
    for decode in (True, False):
        check = checked(tmp_path / "set", decode=decode)
        assert (check.frames, check.abnormal, check.problems) == (27, 5, ())
    write_labels(tmp_path / "set" / "testing" / "frame_labels" / "c1.npy", [0] * 35 + [1] * 5)
    with pytest.raises(DatasetError, match="27 frames, but 40 labels"):
        load_dataset(tmp_path / "set")


def test_a_title_that_is_not_utf8(tmp_path: Path) -> None:
    write_video(tmp_path / "plain.avi", 20)
    path = titled(tmp_path / "plain.avi", data_set(tmp_path / "set", ".avi", 20))
    assert scored(path) == (20, [])
    assert load_dataset(tmp_path / "set").testing[0].frames == 20
    assert checked(tmp_path / "set").problems == ()


def test_damage_is_named_by_its_frames(tmp_path: Path) -> None:
    path = data_set(tmp_path / "set", ".avi", 30)
    rng = np.random.default_rng(0)
    with av.open(str(tmp_path / "whole.avi"), "w") as whole:
        stream = whole.add_stream("mjpeg", rate=10)
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuvj420p"
        for _ in range(30):
            picture = rng.integers(0, 256, (120, 160), dtype=np.uint8)
            whole.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray").reformat(format="yuvj420p")))
        whole.mux(stream.encode())
    with av.open(str(tmp_path / "whole.avi")) as old, av.open(str(path), "w") as new:
        stream = new.add_stream_from_template(old.streams.video[0])
        for number, packet in enumerate(old.demux(video=0)):
            if packet.size:
                data = bytes(packet)
                spoiled = av.Packet(data[: len(data) // 2] if number in (7, 8) else data)
                spoiled.pts, spoiled.dts, spoiled.time_base = packet.pts, packet.dts, packet.time_base
                spoiled.stream, spoiled.is_keyframe = stream, True
                new.mux(spoiled)
    assert scored(path) == (30, [f"{path}: 2 packets could not be decoded"])
    assert load_dataset(tmp_path / "set").testing[0].frames == 30
    check = checked(tmp_path / "set")
    assert (check.frames, check.undecodable) == (30, ("7", "8"))
    assert check.problems == (f"{path}: 2 packets could not be decoded", "2 frames are damaged: 7, 8")
