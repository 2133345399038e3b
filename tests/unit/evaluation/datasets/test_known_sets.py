"""Ped2 and Avenue: layouts built here, and the real ones where STREAMAD_DATA points to them."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from streamad.errors import DatasetError
from streamad.evaluation.datasets import image_files, load_dataset
from streamad.evaluation.datasets.avenue import find_avenue
from streamad.evaluation.datasets.ucsd import read_gt_frames


@pytest.fixture
def data():
    root = os.environ.get("STREAMAD_DATA")
    if not root:
        pytest.skip("STREAMAD_DATA is not set")
    return Path(root)


@pytest.fixture
def official(tmp_path):
    root = tmp_path / "UCSDped2"
    for folder, frames in (
        ("Train/Train001", 3),
        ("Test/Test001", 6),
        ("Test/Test002", 5),
        ("Test/Test002_gt", 5),
    ):
        (root / folder).mkdir(parents=True)
        for i in range(1, frames + 1):
            suffix = "bmp" if folder.endswith("_gt") else "tif"
            cv2.imwrite(str(root / folder / f"{i:03d}.{suffix}"), np.zeros((4, 4), np.uint8))
    write_m(root, "[2:3, 5:6]", "[1:5]")
    return root


def write_m(root, *intervals):
    lines = ["TestVideoFile = {};", *(f"TestVideoFile{{end+1}}.gt_frame = {i};" for i in intervals)]
    (root / "Test" / "UCSDped2.m").write_text("\r\n".join(lines))


def test_official_layout(official, tmp_path):
    for d in (load_dataset("ped2", tmp_path), load_dataset("ped2", official)):
        assert (d.name, d.fps, d.labels) == ("ped2", 10.0, "UCSDped2.m")
        assert [(c.name, c.frames, c.labels) for c in d.training] == [("Train001", 3, None)]
        assert [c.name for c in d.testing] == ["Test001", "Test002"]
        assert d.testing[0].labels.tolist() == [0, 1, 1, 0, 1, 1]
        assert d.testing[1].labels.tolist() == [1] * 5


@pytest.mark.parametrize(
    ("intervals", "message"),
    [
        (("[1:2]",), "labels 1 clips, but .* holds 2"),
        (("[1:7]", "[1:2]"), "interval 1:7 of clip Test001 does not fit the 6 frames"),
        (("[0:2]", "[1:2]"), "interval 0:2"),
        (("[3:2]", "[1:2]"), "interval 3:2"),
        ((), "has no line"),
    ],
)
def test_official_labels_that_disagree(official, intervals, message):
    write_m(official, *intervals)
    with pytest.raises(DatasetError, match=message):
        load_dataset("ped2", official)


def test_official_layout_incomplete(official):
    (official / "Test" / "UCSDped2.m").unlink()
    with pytest.raises(DatasetError, match=r"UCSDped2\.m: No such file"):
        load_dataset("ped2", official)
    (official / "Test").rename(official / "Tset")
    with pytest.raises(DatasetError, match="Test: No such file"):
        load_dataset("ped2", official)


@pytest.mark.data
def test_ped2_has_its_published_counts(data):
    d = load_dataset("ped2", data)
    assert (len(d.training), len(d.testing)) == (16, 12)
    assert sum(c.frames for c in d.training) == 2550
    assert sum(c.frames for c in d.testing) == 2010
    assert sum(int(c.labels.sum()) for c in d.testing) == 1648
    assert image_files(d.testing[0].path)[0].name == "000.jpg"
    assert load_dataset(data / "ped2").testing == d.testing


@pytest.mark.data
def test_ped2_labels_are_those_of_the_official_file(data):
    intervals = read_gt_frames(data / "ucsd_official_sample" / "UCSDped2" / "Test" / "UCSDped2.m")
    for clip, of_clip in zip(load_dataset("ped2", data).testing, intervals, strict=True):
        frames = {f for first, last in of_clip for f in range(first, last + 1)}
        assert set((np.flatnonzero(clip.labels) + 1).tolist()) == frames


@pytest.mark.data
def test_ped2_labels_agree_with_the_pixel_masks(data):
    """An independent truth. Masks may miss a frame at the ends of an event."""
    with np.load(data / "ped2" / "pixel_masks.npz") as masks:
        clip = load_dataset("ped2", data).testing[8]
        by_mask = masks[clip.name].any(axis=(1, 2))
    assert by_mask.shape == clip.labels.shape
    assert np.mean(by_mask == clip.labels) > 0.97


@pytest.mark.data
def test_samples_are_refused_as_incomplete(data):
    with pytest.raises(DatasetError, match=r"labels 12 clips, but .* holds 1"):
        load_dataset("ped2", data / "ucsd_official_sample")
    with pytest.raises(DatasetError, match="lacks 20 of 21 labeled videos"):
        load_dataset("avenue", data / "avenue_official_sample")


@pytest.mark.data
@pytest.mark.parametrize("label_set", ["official", "future_frame_prediction"])
def test_avenue(data, tmp_path, label_set):
    """One real test video, real labels of it."""
    sample = data / "avenue_official_sample"
    for folder in ("training_videos", "testing_videos"):
        (tmp_path / folder).symlink_to(sample / folder)
    file = "avenue.npz" if label_set == "official" else "avenue_future_frame_prediction.npz"
    (tmp_path / "frame_labels").mkdir()
    with np.load(data / "frame_labels" / file) as labels:
        np.savez(tmp_path / "frame_labels" / file, **{"08": labels["08"]})
        expected = labels["08"]
    d = find_avenue(tmp_path, label_set=label_set).dataset()
    assert [(c.name, c.frames, c.fps) for c in d.testing] == [("08", 36, 25.0)]
    np.testing.assert_array_equal(d.testing[0].labels, expected)
    assert len(d.training) == 2
    assert (d.fps, d.labels) == (25.0, label_set)


def test_avenue_without_labels(tmp_path):
    with pytest.raises(DatasetError, match="no frame labels for Avenue: looked for"):
        find_avenue(tmp_path)
