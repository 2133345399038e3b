"""Real videos (encoded here), real images, real arrays."""

import shutil

import av
import numpy as np
import pytest
from dataset_files_support import cut_off, write_images, write_labels, write_video

from streamad.errors import DatasetError
from streamad.evaluation.datasets import image_files, load_dataset
from streamad.evaluation.datasets.files import declared_frames, video_facts


@pytest.fixture
def videos(tmp_path):
    root = tmp_path / "scene"
    write_video(root / "training" / "videos" / "01.mp4", 12)
    for name, frames in (("01", 20), ("02", 15)):
        write_video(root / "testing" / "videos" / f"{name}.mp4", frames)
        write_labels(root / "testing" / "frame_labels" / f"{name}.npy", [0] * (frames - 5) + [1] * 5)
    return root


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "site"
    write_images(root / "training" / "frames" / "a", 4)
    write_images(root / "testing" / "frames" / "01", 12, pattern="{}.png")
    write_images(root / "testing" / "frames" / "02", 5, first=1)
    write_labels(root / "frame_labels_site.npy", np.array([[0] * 12 + [1] * 5]))
    return root


def test_videos(videos):
    (videos / "truth.json").write_text("{}")
    d = load_dataset(videos)
    assert (d.name, d.fps, d.labels) == ("scene", 10.0, "frame_labels")
    assert [(c.name, c.kind, c.frames, c.labels) for c in d.training] == [("01", "video", 12, None)]
    assert [(c.name, c.frames, int(c.labels.sum())) for c in d.testing] == [("01", 20, 5), ("02", 15, 5)]
    assert all(c.labels.dtype == np.uint8 for c in d.testing)
    assert d.truth == videos / "truth.json"


def test_counts_are_those_of_decoding(videos):
    path = videos / "testing" / "videos" / "01.mp4"
    with av.open(str(path)) as container:
        decoded = sum(1 for _ in container.decode(video=0))
    assert video_facts(path) == (decoded, 10.0)


def test_images_with_joined_labels(images):
    d = load_dataset(str(images))
    assert [(c.name, c.kind, c.frames) for c in d.testing] == [("01", "images", 12), ("02", "images", 5)]
    assert [int(c.labels.sum()) for c in d.testing] == [0, 5]
    assert d.fps is None
    assert d.truth is None
    names = [p.name for p in image_files(d.testing[0].path)]
    assert names == [f"{i}.png" for i in range(12)]  # 2 before 10


def test_labels_by_clip_in_one_npz(images):
    (images / "frame_labels_site.npy").unlink()
    np.savez(images / "frame_labels.npz", Test001=np.zeros(12, bool), Test002=np.ones(5))
    assert [int(c.labels.sum()) for c in load_dataset(images).testing] == [0, 5]


def test_training_alone(videos):
    shutil.rmtree(videos / "testing")
    d = load_dataset(videos)
    assert len(d.training) == 1
    assert d.testing == ()
    assert d.labels == "none"


def expect(root, message):
    with pytest.raises(DatasetError, match=message) as caught:
        load_dataset(root)
    assert caught.value.exit_code == 5


def test_missing_labels(videos):
    (videos / "testing" / "frame_labels" / "02.npy").unlink()
    expect(videos, r"02\.npy: No such file")
    shutil.rmtree(videos / "testing" / "frame_labels")
    expect(videos, "no frame labels for the test clips of")


def test_counts_that_disagree(videos, images):
    write_labels(videos / "testing" / "frame_labels" / "02.npy", [0, 1])
    expect(videos, r"02\.mp4: 15 frames, but 2 labels in")
    write_labels(images / "frame_labels_site.npy", [0] * 16)
    expect(images, r"frame_labels_site\.npy: 16 labels for 17 frames in 2 clips")


def test_npz_of_another_set(images):
    (images / "frame_labels_site.npy").unlink()
    np.savez(images / "frame_labels.npz", one=np.zeros(12))
    expect(images, "labels of 1 clips, but .* has 2 test clips")
    np.savez(images / "frame_labels.npz", one=np.zeros(12), two=np.zeros(5))
    expect(images, "no labels for clip '01'")


@pytest.mark.parametrize("labels", [[0.5] * 15, [2] * 15, ["a"] * 15, np.zeros((3, 15))])
def test_labels_of_another_kind(videos, labels):
    write_labels(videos / "testing" / "frame_labels" / "02.npy", labels)
    expect(videos, "frame labels must")


def test_pickles_are_never_loaded(videos):
    path = videos / "testing" / "frame_labels" / "02.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    expect(videos, r"cannot read the labels .*02\.npy")


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", b"PK\x03\x04 damaged", b"text"])
def test_damaged_labels(videos, content):
    (videos / "testing" / "frame_labels" / "02.npy").write_bytes(content)
    expect(videos, r"cannot read the labels .*02\.npy")


@pytest.mark.parametrize("content", [b"", b"no video at all"])
def test_damaged_videos(videos, content):
    (videos / "testing" / "videos" / "02.mp4").write_bytes(content)
    expect(videos, r"cannot read the video .*02\.mp4")


@pytest.mark.parametrize("joined", [False, True])
def test_damaged_videos_keep_the_frames_that_their_labels_count(tmp_path, joined):
    root = tmp_path / "scene"
    labels = {}
    for k, name in enumerate(("01", "02", "03")):
        write_video(root / "testing" / "videos" / f"{name}.avi", 20 + k)
        labels[name] = np.arange(20 + k) > 14
        write_labels(root / "testing" / "frame_labels" / f"{name}.npy", labels[name])
    write_video(root / "training" / "videos" / "a.avi", 12)
    if joined:
        shutil.rmtree(root / "testing" / "frame_labels")
        write_labels(root / "frame_labels_scene.npy", np.concatenate(list(labels.values())))
    whole = load_dataset(root)
    cut = root / "testing" / "videos" / "01.avi"
    cut_off(cut)
    frames = video_facts(cut)[0]
    assert 0 < frames < 20 == declared_frames(cut)
    expect(root, "01.avi: .* frames, but 20 labels")
    (root / "testing" / "videos" / "02.avi").write_bytes(b"damaged")
    (root / "training" / "videos" / "a.avi").write_bytes(b"damaged")
    kept = load_dataset(root, keep_damaged=True)
    assert [c.frames for c in kept.testing] == [20, 21, 22]
    for ours, clip in zip(kept.testing, whole.testing, strict=True):
        np.testing.assert_array_equal(ours.labels, clip.labels)
    assert kept.training == ()
    assert len(kept.problems) == 3
    assert f"{frames} of 20 frames" in kept.problems[0]
    if joined:  # of two unknown lengths none can be told
        (root / "testing" / "videos" / "03.avi").write_bytes(b"damaged")
        with pytest.raises(DatasetError, match=r"cannot read the video .*03\.avi"):
            load_dataset(root, keep_damaged=True)


def test_labels_that_do_not_fit_are_refused_whatever_is_kept(videos, images):
    write_labels(videos / "testing" / "frame_labels" / "02.npy", [0, 1])
    with pytest.raises(DatasetError, match="15 frames, but 2 labels"):
        load_dataset(videos, keep_damaged=True)
    write_labels(images / "frame_labels_site.npy", [0] * 18)
    with pytest.raises(DatasetError, match="18 labels for 17 frames"):
        load_dataset(images, keep_damaged=True)


def test_folders_that_are_no_data_set(tmp_path, videos, images):
    expect(tmp_path / "absent", "it is not a folder")
    empty = tmp_path / "empty"
    empty.mkdir()
    expect(empty, "has neither training/videos")
    (empty / "training").mkdir()
    expect(empty, "training has neither videos/ nor frames/")
    (empty / "training" / "videos").mkdir()
    expect(empty, "videos contains no clips")
    (images / "testing" / "frames" / "03").mkdir()
    expect(images, "03 contains no image")
    (videos / "testing" / "frames").mkdir()
    expect(videos, "has both videos/ and frames/")


def test_two_videos_of_one_name(videos):
    shutil.copy(videos / "testing" / "videos" / "01.mp4", videos / "testing" / "videos" / "01.mkv")
    expect(videos, "several videos named '01'")


def test_hidden_files_are_passed_over(videos, images):
    (videos / "testing" / "videos" / ".DS_Store").write_bytes(b"")
    (images / "testing" / "frames" / "01" / ".hidden.png").write_bytes(b"")
    assert len(load_dataset(videos).testing) == 2
    assert load_dataset(images).testing[0].frames == 12


def test_names(tmp_path):
    with pytest.raises(DatasetError, match="unknown data set 'ped3'"):
        load_dataset("ped3", tmp_path)
    with pytest.raises(DatasetError, match="does not exist"):
        load_dataset("ped2", tmp_path / "absent")


def test_pictures_beside_videos_are_noted_and_videos_beside_frames_refused(videos, images):
    write_images(videos / "testing" / "videos", 3)
    (videos / "testing" / "videos" / "._01.mp4").write_bytes(b"\0")
    d = load_dataset(videos)
    assert [c.name for c in d.testing] == ["01", "02"]
    assert d.notes == (f"{videos / 'testing' / 'videos'}: 3 images beside the videos left out",)
    write_video(images / "testing" / "frames" / "01" / "preview.mp4", 5)
    expect(images, "01 contains 1 video beside 12 images")


def test_the_order_of_joined_labels_is_said(images):
    (images / "testing" / "frames" / "02").rename(images / "testing" / "frames" / "10")
    (images / "testing" / "frames" / "01").rename(images / "testing" / "frames" / "9")
    d = load_dataset(images)
    assert [(c.name, c.frames) for c in d.testing] == [("9", 12), ("10", 5)]
    assert d.notes == ("the concatenated labels were assigned to the clips in the order 9, 10",)
