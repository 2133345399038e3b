"""ImageFolderSource on real folders."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from streamad.frame import FrameFlags
from streamad.sources import (
    FailureReason,
    ImagesSpec,
    SourceCodecError,
    SourceNotFoundError,
    list_images,
    open_source,
)


def write(path: Path, value: int, shape: tuple[int, ...] = (12, 16)) -> None:
    assert cv2.imwrite(str(path), np.full(shape, value, np.uint8))


@pytest.mark.parametrize("suffix", ["tif", "TIFF", "jpg", "JPEG", "png", "Bmp"])
def test_formats_and_natural_order(tmp_path: Path, suffix: str) -> None:
    for number in (10, 9, 100, 1):
        picture = tmp_path / f"f{number}.{suffix.lower()}"
        write(picture, number)
        picture.rename(tmp_path / f"f{number}.{suffix}")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / f"._f1.{suffix}").write_bytes(b"x")
    (tmp_path / f"sub.{suffix}").mkdir()
    with open_source(ImagesSpec(path=tmp_path, fps=10), camera="cam") as source:
        frames = list(source)
        assert (source.info.width, source.info.height, source.info.frames) == (16, 12, 4)
        assert (source.info.fps, source.info.decoder, source.problems) == (10, "opencv", [])
    assert [int(f.pixels.mean()) for f in frames] == [1, 9, 10, 100]
    assert [f.pts_seconds for f in frames] == [0.0, 0.1, 0.2, 0.3]
    assert [f.index for f in frames] == [0, 1, 2, 3]
    assert [f.flags for f in frames] == [FrameFlags.KEY | FrameFlags.DISCONTINUITY] + [FrameFlags.KEY] * 3


def test_gray_color_and_depth(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    color = rng.integers(0, 256, (9, 7, 3), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "1.png"), color)
    cv2.imwrite(str(tmp_path / "2.png"), (np.arange(63, dtype=np.uint16) * 1024).reshape(9, 7))
    cv2.imwrite(str(tmp_path / "3.png"), color[:, :, 0])
    with open_source(ImagesSpec(path=tmp_path), camera="cam") as source:
        a, b, c = (f.pixels for f in source)
    luma = color.astype(float) @ (0.114, 0.587, 0.299)  # BT.601, blue first
    np.testing.assert_allclose(a, luma, atol=1)
    np.testing.assert_allclose(b, np.arange(63).reshape(9, 7) * 4, atol=1)
    np.testing.assert_array_equal(c, color[:, :, 0])


def test_the_smallest_picture(tmp_path: Path) -> None:
    write(tmp_path / "1.png", 77, (1, 1))
    with open_source(ImagesSpec(path=tmp_path), camera="cam") as source:
        assert [f.pixels.tolist() for f in source] == [[[77]]]


def test_what_cannot_be_decoded_is_skipped_and_reported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number in range(6):
        write(tmp_path / f"{number}.png", number)
    (tmp_path / "0.png").write_bytes(b"")
    (tmp_path / "3.png").write_text("no image")
    with open_source(ImagesSpec(path=tmp_path), camera="cam") as source:
        frames = list(source)
        assert source.decode_errors == 2
        assert [Path(p.split(":")[0]).name for p in source.problems] == ["0.png", "3.png"]
    assert [f.index for f in frames] == [1, 2, 4, 5], "positions in the folder, which labels refer to"
    assert [f.index for f in frames if f.is_discontinuity] == [1, 4]
    assert capfd.readouterr() == ("", "")


def test_mixed_sizes_are_flagged(tmp_path: Path) -> None:
    for number, height in enumerate([12, 12, 24, 24, 12]):
        write(tmp_path / f"{number}.png", number, (height, 16))
    with open_source(ImagesSpec(path=tmp_path), camera="cam") as source:
        assert [f.index for f in source if f.is_discontinuity] == [0, 2, 4]


def test_loop(tmp_path: Path) -> None:
    for number in range(3):
        write(tmp_path / f"{number}.png", number)
    with open_source(ImagesSpec(path=tmp_path, loop=True), camera="cam") as source:
        frames = [frame for frame, _ in zip(source, range(7), strict=False)]
        assert source.info.frames is None
    assert [int(f.pixels.mean()) for f in frames] == [0, 1, 2, 0, 1, 2, 0]
    assert [f.index for f in frames if f.is_discontinuity] == [0, 3, 6]
    np.testing.assert_allclose([f.pts_seconds for f in frames], np.arange(7) / 25)


def test_folders_without_images(tmp_path: Path) -> None:
    with pytest.raises(SourceNotFoundError, match="no image") as caught:
        open_source(ImagesSpec(path=tmp_path), camera="cam")
    assert caught.value.reason is FailureReason.NOT_FOUND
    (tmp_path / "Test001").mkdir()
    with pytest.raises(SourceNotFoundError) as nested:
        list_images(tmp_path)
    assert "subfolder" in str(nested.value.hint)
    with pytest.raises(SourceNotFoundError, match="no such folder"):
        list_images(tmp_path / "missing")
    (tmp_path / "a.png").write_text("x")
    with pytest.raises(SourceCodecError, match="none of its 1 images"):
        open_source(ImagesSpec(path=tmp_path), camera="cam")
    with pytest.raises(SourceCodecError, match="expected a folder"):
        list_images(tmp_path / "a.png")
