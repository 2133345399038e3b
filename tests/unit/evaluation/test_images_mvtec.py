"""MVTec AD: official folders written here and read back; and every way they can be damaged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from image_files_support import write_mvtec

from streamad.errors import DatasetError, UsageError
from streamad.evaluation.images import load_images
from streamad.evaluation.images.mvtec import load_mvtec


@pytest.mark.parametrize("place", [".", "mvtec", "mvtec_anomaly_detection"])
def test_mvtec_folders_are_read_back(tmp_path: Path, place: str) -> None:
    folder = write_mvtec(tmp_path / place, "capsule", sides=(64, 48))
    benchmark = load_images("mvtec", tmp_path)
    assert benchmark.classes[2] == "capsule"
    assert len(benchmark.classes) == 15
    split = benchmark.split(2)
    assert split.train.shape == (6, 3, 256, 256)
    assert split.test.shape == (6, 3, 256, 256)
    assert split.masks is not None
    # In the order of the folders' names: broken, dirty, good.
    assert split.labels.tolist() == [1, 1, 1, 1, 0, 0]
    assert (split.masks.reshape(6, -1).any(axis=1) == split.labels).all()
    assert split.masks[0].mean() == pytest.approx(1 / 8)
    assert split.masks[0, 10, 10] == 1
    assert split.masks[0, 250, 10] == 0
    blue, green, red = cv2.split(cv2.imread(str(folder / "test/dirty/000.png")))
    for channel, plane in zip(split.test[3], (red, green, blue), strict=True):
        assert np.array_equal(channel, cv2.resize(plane, (256, 256), interpolation=cv2.INTER_AREA))
    assert "6 training, 2 good and 4 defective" in benchmark.notes[0]
    assert benchmark.notes[1] == "capsule: files of 48 pixels; the official ones have 700 to 1024"
    assert benchmark.present == (2,)
    assert split.names is not None
    assert (split.names[0], split.names[3], split.names[-1]) == ("broken/000", "dirty/000", "good/001")


def test_the_side_of_mvtec_images_and_gray_files(tmp_path: Path) -> None:
    folder = write_mvtec(tmp_path, sides=(32, 32))
    gray = np.arange(1024, dtype=np.uint8).reshape(32, 32)
    cv2.imwrite(str(folder / "train/good/000.png"), gray)
    split = load_mvtec(tmp_path, side=16).split(0)
    # Shrinking by two is the mean of four pixels.
    mean = gray.reshape(16, 2, 16, 2).astype(float).mean(axis=(1, 3))
    assert np.abs(split.train[0] - mean).max() <= 0.5
    assert (split.train[0, 0] == split.train[0, 2]).all()
    with pytest.raises(UsageError, match="resized to 4 pixels"):
        load_mvtec(tmp_path, side=4)


def test_mvtec_categories_are_read_when_asked_for(tmp_path: Path) -> None:
    write_mvtec(tmp_path, "bottle")
    write_mvtec(tmp_path, "zipper")
    (tmp_path / "zipper/train/good/000.png").write_bytes(b"")
    benchmark = load_images("mvtec", tmp_path)
    assert len(benchmark.split(0).train) == 6
    with pytest.raises(DatasetError, match=r"zipper.*000\.png is empty"):
        benchmark.split(14)
    with pytest.raises(DatasetError, match="the category cable is missing") as caught:
        benchmark.split(1)
    assert "--classes" in (caught.value.hint or "")


def test_mvtec_without_any_mask_has_none(tmp_path: Path) -> None:
    folder = write_mvtec(tmp_path)
    for path in sorted((folder / "ground_truth").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    (folder / "ground_truth").rmdir()
    assert load_images("mvtec", tmp_path).split(0).masks is None


def _flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(bytes(content))


MVTEC_DAMAGES: dict[str, tuple[str, Any, str]] = {
    "empty": ("train/good/000.png", lambda p: p.write_bytes(b""), "is empty"),
    "truncated": ("test/broken/001.png", lambda p: p.write_bytes(p.read_bytes()[:-30]), "not a complete PNG"),
    "without an end": ("test/broken/001.png", lambda p: p.write_bytes(p.read_bytes()[:-12]), "not a complete PNG"),
    "a flipped byte": ("train/good/002.png", _flip, "not a complete PNG file: .*checksum"),
    "no png": ("test/good/000.png", lambda p: p.write_bytes(b"<html>"), "not a complete PNG"),
    "another size": (
        "test/good/001.png",
        lambda p: cv2.imwrite(str(p), np.zeros((40, 50, 3), np.uint8)),
        "50×40 pixels, but .* 40×40",
    ),
    "a mask missing": ("ground_truth/dirty/000_mask.png", lambda p: p.unlink(), "cannot read"),
    "a defect empty": ("test/dirty/000.png", lambda p: p.unlink(), "contains no .png"),
}  # fmt: skip


@pytest.mark.parametrize("damage", MVTEC_DAMAGES)
def test_damaged_mvtec_files_are_named(tmp_path: Path, damage: str) -> None:
    name, spoil, message = MVTEC_DAMAGES[damage]
    path = write_mvtec(tmp_path) / name
    spoil(path)
    with pytest.raises(DatasetError, match=message) as caught:
        load_images("mvtec", tmp_path).split(0)
    assert str(path.parent if damage == "a defect empty" else path) in str(caught.value)


def test_mvtec_with_one_kind_of_test_images(tmp_path: Path) -> None:
    folder = write_mvtec(tmp_path)
    for path in (folder / "test/good").iterdir():
        path.unlink()
    (folder / "test/good").rmdir()
    with pytest.raises(DatasetError, match="contains broken, dirty; expected good"):
        load_images("mvtec", tmp_path).split(0)
