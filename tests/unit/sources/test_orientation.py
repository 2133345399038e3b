"""Pictures are turned and mirrored as players show them: a video's display matrix and a JPEG's EXIF, by one rule."""

from __future__ import annotations

import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import numpy.typing as npt
import pytest

from streamad.frame import Frame
from streamad.sources import FileSpec, ImagesSpec, SourceInfo, SupervisedSource, open_source

Picture = npt.NDArray[np.uint8]

SHOWN = {
    1: lambda p: p,
    2: np.fliplr,
    3: lambda p: np.rot90(p, 2),
    4: np.flipud,
    5: lambda p: p.T,
    6: lambda p: np.rot90(p, -1),
    7: lambda p: np.rot90(p, 2).T,
    8: lambda p: np.rot90(p, 1),
}
"""EXIF's orientations, by the standard: 6 is shown turned clockwise."""

MATRICES = {
    1: (1, 0, 0, 1),
    2: (-1, 0, 0, 1),
    3: (-1, 0, 0, -1),
    4: (1, 0, 0, -1),
    5: (0, 1, 1, 0),
    6: (0, 1, -1, 0),
    7: (0, -1, -1, 0),
    8: (0, -1, 1, 0),
}
"""The same as display matrices (a, b, c, d): (x, y) is shown at (a x + c y, b x + d y)."""


def corners() -> Picture:
    """48×64, another gray in each corner."""
    picture = np.zeros((48, 64), np.uint8)
    picture[:24, :32], picture[:24, 32:], picture[24:, :32], picture[24:, 32:] = 50, 100, 150, 200
    return picture


def write_turned(path: Path, matrix: tuple[float, ...] | None, count: int = 5) -> Path:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"crf": "4"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        if matrix is not None:
            a, b, c, d = (round(value * 65536) for value in matrix)
            stream.set_display_matrix([a, b, 0, c, d, 0, 0, 0, 1 << 30])
        for number in range(count):
            frame = av.VideoFrame.from_ndarray(corners(), format="gray")
            frame.pts, frame.time_base = number, Fraction(1, 25)
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
    return path


def jpeg(orientation: int) -> bytes:
    """A JPEG with an EXIF segment that holds nothing but the orientation."""
    data = cv2.imencode(".jpg", corners(), [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    tiff = b"II*\0" + struct.pack("<IHHHIHHI", 8, 1, 0x0112, 3, 1, orientation, 0, 0)
    exif = b"Exif\0\0" + tiff
    return data[:2] + b"\xff\xe1" + struct.pack(">H", len(exif) + 2) + exif + data[2:]


def read(path: Path) -> tuple[list[Frame], SourceInfo, list[str]]:
    spec = ImagesSpec(path=path) if path.is_dir() else FileSpec(path=path)
    with open_source(spec, camera="cam") as source:
        return list(source), source.info, source.problems


def assert_shown(frames: list[Frame], info: SourceInfo, orientation: int) -> None:
    expected = SHOWN[orientation](corners())
    assert (info.height, info.width) == expected.shape
    for frame in frames:
        assert frame.shape == expected.shape
        assert np.abs(frame.pixels.astype(int) - expected).mean() < 3


@pytest.mark.parametrize("orientation", SHOWN)
def test_a_display_matrix(tmp_path: Path, orientation: int) -> None:
    frames, info, problems = read(write_turned(tmp_path / "turned.mp4", MATRICES[orientation]))
    assert_shown(frames, info, orientation)
    assert problems == []
    assert [frame.index for frame in frames if frame.is_discontinuity] == [0]


@pytest.mark.parametrize("orientation", SHOWN)
def test_exif_in_a_folder_and_as_a_file(tmp_path: Path, orientation: int) -> None:
    path = tmp_path / "one.jpg"
    path.write_bytes(jpeg(orientation))
    assert_shown(*read(tmp_path)[:2], orientation)
    if orientation in (1, 3, 6, 8):  # PyAV gives a JPEG's angle, and not whether it is mirrored
        assert_shown(*read(path)[:2], orientation)


def test_another_angle_is_named_and_not_applied(tmp_path: Path) -> None:
    matrix = (np.cos(0.5), np.sin(0.5), -np.sin(0.5), np.cos(0.5))
    frames, info, problems = read(write_turned(tmp_path / "slanted.mp4", matrix))
    assert_shown(frames, info, 1)
    assert problems == [f"{tmp_path}/slanted.mp4: display rotation of -28 degrees is not supported; scored as coded"]


def test_a_matrix_that_is_nearly_right_is_taken_as_right(tmp_path: Path) -> None:
    frames, info, problems = read(write_turned(tmp_path / "nearly.mp4", (0.001, 0.999, -1.001, -0.001)))
    assert_shown(frames, info, 6)
    assert problems == []


def test_frames_of_a_decoder_process_are_turned(tmp_path: Path) -> None:
    frames = []
    with SupervisedSource("cam", FileSpec(path=write_turned(tmp_path / "turned.mp4", MATRICES[6]))) as source:
        while not source.over:
            if (frame := source.poll(1.0)) is not None:
                frames.append(frame)
    assert len(frames) == 5
    assert source.status.info is not None
    assert_shown(frames, source.status.info, 6)
