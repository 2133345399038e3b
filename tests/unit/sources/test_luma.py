"""Luma against FFmpeg's own conversion (swscale), for every pixel format that cameras send."""

from __future__ import annotations

import av
import numpy as np
import numpy.typing as npt
import pytest

from streamad.sources.luma import LumaConverter, luma

RANGES = (0, 1, 2)


def random_frame(name: str, width: int, height: int, color_range: int) -> av.VideoFrame:
    rng = np.random.default_rng(7)
    frame = av.VideoFrame(width, height, name)
    for plane in frame.planes:
        plane.update(rng.integers(0, 256, plane.buffer_size, dtype=np.uint8).tobytes())
    frame.color_range = color_range
    return frame


def by_ffmpeg(frame: av.VideoFrame) -> npt.NDArray[np.uint8]:
    gray = frame.reformat(format="gray", threads=1)
    plane = gray.planes[0]
    return np.frombuffer(plane, np.uint8).reshape(-1, plane.line_size)[: frame.height, : frame.width]


@pytest.mark.parametrize("size", [(33, 17), (64, 48), (2, 2), (1, 1)])
@pytest.mark.parametrize(
    "name",
    [
        "yuv420p",
        "yuvj420p",
        "yuv422p",
        "yuvj422p",
        "yuv444p",
        "yuv411p",
        "yuv410p",
        "yuva420p",
        "nv12",
        "nv21",
        "nv16",
        "yuyv422",
        "uyvy422",
        "yuv420p10le",
        "yuv422p10le",
        "p010le",
        "rgb24",
        "bgr24",
        "bgr0",
        "gbrp",
        "gray10le",
    ],
)
def test_equals_ffmpeg(name: str, size: tuple[int, int]) -> None:
    convert = LumaConverter()
    # A yuvj format is full range by its name: a declaration that says otherwise is FFmpeg's to resolve.
    for color_range in RANGES:
        frame = random_frame(name, *size, color_range)
        pixels = convert(frame)
        assert pixels.shape == (size[1], size[0])
        assert pixels.dtype == np.uint8
        if name.startswith("yuvj"):
            frame.color_range = 2
        np.testing.assert_array_equal(pixels, by_ffmpeg(frame))


def test_gray_is_full_unless_declared_limited() -> None:
    for color_range in (0, 2):
        frame = random_frame("gray", 33, 17, color_range)
        np.testing.assert_array_equal(luma(frame), by_ffmpeg(frame))
    limited = luma(random_frame("gray", 33, 17, 1))
    np.testing.assert_array_equal(limited, luma(random_frame("yuv420p", 33, 17, 1)))


def test_limited_range_is_expanded() -> None:
    frame = av.VideoFrame.from_ndarray(np.array([[16, 235], [0, 255]], np.uint8), "gray").reformat(format="gray")
    frame.color_range = 1
    assert luma(frame).tolist() == [[0, 255], [0, 255]]


def test_the_array_owns_its_memory() -> None:
    frame = random_frame("yuvj420p", 64, 48, 0)
    pixels = luma(frame)
    before = pixels.copy()
    frame.planes[0].update(bytes(frame.planes[0].buffer_size))
    np.testing.assert_array_equal(pixels, before)
    assert pixels.base is None or pixels.base.base is None
    assert pixels.flags.writeable
