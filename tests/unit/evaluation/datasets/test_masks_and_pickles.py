"""Pixel masks in every form, the layouts of Avenue and ShanghaiTech, and pickled labels that would run code."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import scipy.io
from dataset_files_support import write_images, write_labels, write_video

from streamad.errors import DatasetError
from streamad.evaluation.datasets import load_dataset
from streamad.evaluation.datasets.files import load_arrays
from streamad.evaluation.datasets.masks import array_masks, bitmap_masks, matlab_masks


def masks(frames: int, first: int = 2, height: int = 8, width: int = 12) -> np.ndarray:
    picture = np.zeros((frames, height, width), np.uint8)
    picture[first:, 2:4, 3:7] = 255
    return picture


@pytest.mark.parametrize("pattern", ["{:03d}.bmp", "frame{:03d}.bmp", "Test003_gt_{}.png"])
def test_bitmaps_of_any_naming(tmp_path: Path, pattern: str) -> None:
    expected = masks(12)
    for k, mask in enumerate(expected, 1):
        cv2.imwrite(str(tmp_path / pattern.format(k)), mask)
    (tmp_path / ".DS_Store").write_bytes(b"")
    np.testing.assert_array_equal(np.stack(list(bitmap_masks(tmp_path))), expected > 0)


def test_bitmaps_whose_names_are_no_text(tmp_path: Path) -> None:
    """cv2.imread ends the process on such a name."""
    folder = tmp_path / os.fsdecode(b"caf\xe9")
    folder.mkdir()
    expected = masks(3)
    for k, mask in enumerate(expected, 1):
        (folder / f"{os.fsdecode(bytes([0xE9]))}{k}.bmp").write_bytes(cv2.imencode(".bmp", mask)[1].tobytes())
    np.testing.assert_array_equal(np.stack(list(bitmap_masks(folder))), expected > 0)


def write_volume(path: Path, volume: np.ndarray) -> None:
    cells = np.empty((1, len(volume)), dtype=object)
    for k, mask in enumerate(volume):
        cells[0, k] = (mask > 0).astype(np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    scipy.io.savemat(path, {"volLabel": cells})


def test_avenue_in_the_official_layout_has_labels_and_masks_of_its_mat_files(tmp_path: Path) -> None:
    write_video(tmp_path / "training_videos" / "01.avi", 5)
    write_video(tmp_path / "testing_videos" / "01.avi", 9)
    expected = masks(9, first=4, height=48, width=64)
    write_volume(tmp_path / "ground_truth_demo" / "testing_label_mask" / "1_label.mat", expected)
    data = load_dataset("avenue", tmp_path)
    (clip,) = data.testing
    assert data.labels == "official"
    assert clip.labels is not None
    assert clip.labels.tolist() == [0] * 4 + [1] * 5
    assert clip.masks is not None
    np.testing.assert_array_equal(list(clip.masks()), expected > 0)
    with pytest.raises(DatasetError, match="no label set 'mine'"):
        load_dataset("avenue", tmp_path, label_set="mine")
    with pytest.raises(DatasetError, match="no frame labels for Avenue"):
        load_dataset("avenue", tmp_path, label_set="future_frame_prediction")


@pytest.mark.data
def test_the_masks_of_a_real_avenue_video() -> None:
    root = os.environ.get("STREAMAD_DATA")
    if not root:
        pytest.skip("STREAMAD_DATA is not set")
    folder = Path(root) / "avenue_official_sample" / "ground_truth_demo" / "testing_label_mask"
    volume = np.stack(list(matlab_masks(folder / "8_label.mat")))
    assert volume.shape == (36, 360, 640)
    with np.load(Path(root) / "frame_labels" / "avenue.npz") as labels:
        np.testing.assert_array_equal(volume.any(axis=(1, 2)), labels["08"] > 0)


def test_avenue_in_the_common_layout_names_the_labels_it_found(tmp_path: Path) -> None:
    write_images(tmp_path / "training" / "frames" / "01", 3)
    write_images(tmp_path / "testing" / "frames" / "01", 4)
    write_labels(tmp_path / "frame_labels_avenue.npy", [[0, 1, 1, 0]])
    assert load_dataset("avenue", tmp_path).labels == "frame_labels_avenue.npy"
    (tmp_path / "frame_labels").mkdir()
    np.savez(tmp_path / "frame_labels" / "avenue_future_frame_prediction.npz", **{"01": np.array([1, 1, 1, 0])})
    data = load_dataset("avenue", tmp_path, label_set="future_frame_prediction")
    assert data.labels == "future_frame_prediction"
    assert data.testing[0].labels is not None
    assert data.testing[0].labels.sum() == 3


def test_shanghaitech_in_the_official_layout(tmp_path: Path) -> None:
    write_video(tmp_path / "training" / "videos" / "01_001.avi", 5)
    testing = tmp_path / "testing"
    write_images(testing / "frames" / "01_0014", 6)
    write_labels(testing / "test_frame_mask" / "01_0014.npy", [0, 0, 1, 1, 1, 1])
    (testing / "test_pixel_mask").mkdir()
    np.save(testing / "test_pixel_mask" / "01_0014.npy", masks(6) > 0)
    data = load_dataset("shanghaitech", tmp_path)
    (clip,) = data.testing
    assert (data.labels, clip.fps) == ("test_frame_mask", 24.0)
    assert clip.labels is not None
    assert clip.masks is not None
    np.testing.assert_array_equal([mask.any() for mask in clip.masks()], clip.labels > 0)


def test_masks_that_are_none(tmp_path: Path) -> None:
    np.savez(tmp_path / "pixel_masks.npz", **{"01": np.zeros((3, 4))})
    with pytest.raises(DatasetError, match="no masks of clip '02'"):
        list(array_masks(tmp_path / "pixel_masks.npz", "02"))
    with pytest.raises(DatasetError, match=r"must be \(frames, height, width\)"):
        list(array_masks(tmp_path / "pixel_masks.npz", "01"))
    (tmp_path / "1_label.mat").write_bytes(b"no matlab at all")
    with pytest.raises(DatasetError, match="cannot read the masks"):
        list(matlab_masks(tmp_path / "1_label.mat"))
    scipy.io.savemat(tmp_path / "2_label.mat", {"gt": np.zeros(3)})
    with pytest.raises(DatasetError, match="no cell array volLabel"):
        list(matlab_masks(tmp_path / "2_label.mat"))
    (tmp_path / "001.bmp").write_bytes(b"no picture")
    with pytest.raises(DatasetError, match="does not decode"):
        list(bitmap_masks(tmp_path))


@pytest.mark.parametrize("form", ["npy", "npz", "compressed", "Fortran order", "float"])
def test_arrays_are_read_frame_by_frame(tmp_path: Path, form: str) -> None:
    expected = masks(7)
    stored = {"Fortran order": np.asfortranarray(expected), "float": expected / 255}.get(form, expected)
    path = tmp_path / "01.npz"
    if form == "npz":
        np.savez(path, **{"00": expected[:2], "01": stored})
    elif form == "compressed":
        np.savez_compressed(path, **{"01": stored})
    else:
        path = tmp_path / "01.npy"
        np.save(path, stored)
    np.testing.assert_array_equal(list(array_masks(path, "01")), expected > 0)
    content = path.read_bytes()
    if form != "Fortran order":
        path.write_bytes(content[: len(content) * 2 // 3])  # cut off: an .npy gives the first frames, and says so
        with pytest.raises(DatasetError, match=f"cannot read the masks .*{path.name}"):
            list(array_masks(path, "01"))


@pytest.mark.parametrize("protocol", range(2, 6))
@pytest.mark.parametrize("form", ["dict", "list", "object array"])
def test_pickled_labels_are_read_when_asked_for(tmp_path: Path, protocol: int, form: str) -> None:
    parts = [np.array([0, 1, 1]), np.array([1, 0, 0, 0])]
    path = tmp_path / "labels.pkl"
    if form == "object array":
        joined = np.empty(2, dtype=object)
        joined[:] = parts
        path = tmp_path / "labels.npy"
        np.save(path, joined, allow_pickle=True)
    else:
        content = {"0": parts[0], "1": parts[1]} if form == "dict" else parts
        path.write_bytes(pickle.dumps(content, protocol=protocol))
    with pytest.raises(DatasetError, match="cannot read the labels"):
        load_arrays(path)
    read = load_arrays(path, allow_pickle=True)
    assert list(read) == ["0", "1"]
    for ours, expected in zip(read.values(), parts, strict=True):
        np.testing.assert_array_equal(ours, expected)


class _Attack:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, ...]:
        return os.system, (f"touch {self.path}",)


@pytest.mark.parametrize("suffix", [".pkl", ".npy"])
def test_a_pickle_that_would_run_a_command_is_refused_unrun(tmp_path: Path, suffix: str) -> None:
    mark, path = tmp_path / "it-ran", tmp_path / f"labels{suffix}"
    if suffix == ".npy":
        np.save(path, np.array([_Attack(mark)], dtype=object), allow_pickle=True)
    else:
        path.write_bytes(pickle.dumps({"a": _Attack(mark)}))
    with pytest.raises(DatasetError, match=r"refers to \w+\.system"):
        load_arrays(path, allow_pickle=True)
    assert not mark.exists()


@pytest.mark.parametrize("content", [b"", b"text", b"\x80\x04damaged", pickle.dumps({"a": "words"}), pickle.dumps([])])
def test_damaged_and_foreign_pickles(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "labels.pkl"
    path.write_bytes(content)
    with pytest.raises(DatasetError, match=r"labels\.pkl"):
        load_arrays(path, allow_pickle=True)


def test_a_data_set_with_pickled_labels(tmp_path: Path) -> None:
    """As some papers' code ships them: one array of arrays for all test clips."""
    write_images(tmp_path / "testing" / "frames" / "01", 3)
    write_images(tmp_path / "testing" / "frames" / "02", 4)
    joined = np.empty(2, dtype=object)
    joined[:] = [np.array([0, 1, 1]), np.array([1, 0, 0, 0])]
    np.save(tmp_path / "frame_labels_site.npy", joined, allow_pickle=True)
    with pytest.raises(DatasetError, match="Object arrays cannot be loaded") as caught:
        load_dataset(tmp_path)
    assert "--allow-pickle" in str(caught.value.hint)
    data = load_dataset(tmp_path, allow_pickle=True)
    assert [int(c.labels.sum()) for c in data.testing if c.labels is not None] == [2, 1]
