"""Readers of image data sets: official files written byte by byte, read back; and every way they can be damaged."""

from __future__ import annotations

import gzip
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from image_files_support import IDX_NAMES, Arrays, digits, idx_bytes, shuffled, write_idx

from streamad.errors import DatasetError, ExitCode, UsageError
from streamad.evaluation.images import ImageBenchmark, load_images
from streamad.evaluation.images.cifar import RECORD, load_cifar10, read_batch
from streamad.evaluation.images.idx import read_idx
from streamad.evaluation.images.official import COUNTS, MVTEC_COUNTS, count_notes

DIGITS = digits()


def save_npz(path: Path, arrays: Arrays) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path


def require_split(benchmark: ImageBenchmark, k: int, arrays: Arrays) -> None:
    """The split holds exactly the images and labels of class k."""
    split = benchmark.split(k)
    assert np.array_equal(split.train[:, 0], arrays["x_train"][arrays["y_train"] == k])
    assert np.array_equal(split.test[:, 0], arrays["x_test"])
    assert np.array_equal(split.labels, arrays["y_test"] != k)
    assert split.train.dtype == split.test.dtype == split.labels.dtype == np.uint8
    assert split.masks is None


# ── MNIST and Fashion-MNIST ─────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("dotted", [False, True])
@pytest.mark.parametrize("place", [".", "mnist", "MNIST/raw"])
def test_idx_files_are_read_back(tmp_path: Path, zipped: bool, dotted: bool, place: str) -> None:
    write_idx(tmp_path / place, DIGITS, zipped=zipped, dotted=dotted)
    benchmark = load_images("mnist", tmp_path)
    assert benchmark.classes == tuple("0123456789")
    for k in (0, 5, 9):
        require_split(benchmark, k, DIGITS)


@pytest.mark.parametrize("file", ["fashion-mnist.npz", "fashion_mnist.npz"])
def test_npz_files_are_read_back(tmp_path: Path, file: str) -> None:
    save_npz(tmp_path / file, DIGITS)
    benchmark = load_images("fashion-mnist", tmp_path)
    assert benchmark.classes[5] == "Sandal"
    assert file in benchmark.layout
    require_split(benchmark, 5, DIGITS)


def test_the_order_of_the_file_does_not_matter(tmp_path: Path) -> None:
    mixed = shuffled(DIGITS)
    assert not np.array_equal(mixed["y_train"], DIGITS["y_train"])
    save_npz(tmp_path / "a" / "mnist.npz", DIGITS)
    save_npz(tmp_path / "b" / "mnist.npz", mixed)
    write_idx(tmp_path / "c", mixed)
    one, *others = (load_images("mnist", tmp_path / name) for name in "abc")
    for other in others:
        require_split(other, 7, mixed)
        assert np.array_equal(one.split(7).train, other.split(7).train)


@pytest.mark.parametrize(
    "change",
    [
        lambda x: x[..., None],
        lambda x: x[:, None],
        lambda x: x.astype(np.int64),
        lambda x: (x / 255).astype(np.float32),
    ],
)
def test_npz_arrays_in_other_layouts_and_types(tmp_path: Path, change: Any) -> None:
    arrays = {key: change(value) if key[0] == "x" else value[:, None] for key, value in DIGITS.items()}
    save_npz(tmp_path / "mnist.npz", arrays)
    require_split(load_images("mnist", tmp_path), 4, DIGITS)


def test_counts_that_are_not_official_are_noted_and_official_ones_are_not(tmp_path: Path) -> None:
    save_npz(tmp_path / "mnist.npz", DIGITS)
    (note,) = load_images("mnist", tmp_path).notes
    assert "250 training and 30 test images" in note
    assert "60000 and 10000" in note
    for name, counts in COUNTS.items():
        labels = [np.repeat(np.arange(10), count) for count in counts]
        assert count_notes(name, labels[0], labels[1], "here") == ()


def test_mnist_is_not_taken_for_fashion_mnist() -> None:
    labels = [np.repeat(np.arange(10), count) for count in COUNTS["mnist"]]
    with pytest.raises(DatasetError, match="contains mnist, not fashion-mnist"):
        count_notes("fashion-mnist", labels[0], labels[1], "here")


def test_official_counts_add_up() -> None:
    # The totals that the data sets' papers state.
    assert [sum(counts) for counts in COUNTS["mnist"]] == [60_000, 10_000]
    assert tuple(np.sum(list(MVTEC_COUNTS.values()), axis=0)) == (3629, 467, 1258)


@pytest.mark.data
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist"])
def test_the_real_files_are_the_official_split(name: str) -> None:
    root = os.environ.get("STREAMAD_DATA")
    if not root:
        pytest.skip("STREAMAD_DATA is not set")
    if not (Path(root) / "images").is_dir():
        pytest.skip("STREAMAD_DATA has no images/")
    benchmark = load_images(name, Path(root) / "images")
    assert benchmark.notes == ()
    split = benchmark.split(5)
    assert len(split.train) == COUNTS[name][0][5]
    assert split.test.shape == (10_000, 1, 28, 28)
    assert (split.labels == 0).sum() == COUNTS[name][1][5]


IDX_DAMAGES: dict[str, tuple[str, Any, str]] = {
    "missing": ("y_test", lambda path: path.unlink(), "has no t10k-labels"),
    "empty": ("x_train", lambda path: path.write_bytes(b""), "0 bytes"),
    "in the header": ("x_train", lambda path: path.write_bytes(path.read_bytes()[:9]), "within its header"),
    "truncated": ("x_train", lambda path: path.write_bytes(path.read_bytes()[:-1]), "is truncated"),
    "too long": ("x_test", lambda path: path.write_bytes(path.read_bytes() + b"x"), "is too long"),
    "a web page": ("x_test", lambda path: path.write_bytes(b"<html>not found</html>"), "0x3c68746d"),
    "labels as images": ("x_train", lambda path: path.write_bytes(idx_bytes(DIGITS["y_train"])), "file of labels"),
    "images as labels": ("y_train", lambda path: path.write_bytes(idx_bytes(DIGITS["x_train"])), "file of images"),
    "wrong count": ("y_train", lambda path: path.write_bytes(idx_bytes(DIGITS["y_train"][:-2])), "248 labels for 250"),
    "a class missing": (
        "y_train",
        lambda path: path.write_bytes(idx_bytes(DIGITS["y_train"] % 9)),
        "no images of class 9",
    ),
    "an odd label": ("y_test", lambda path: path.write_bytes(idx_bytes(DIGITS["y_test"] + 1)), r"got \[10\]"),
    "other sizes": ("x_test", lambda path: path.write_bytes(idx_bytes(DIGITS["x_test"][:, :20])), "1×20×28"),
}


@pytest.mark.parametrize("damage", IDX_DAMAGES)
def test_damaged_idx_files_are_named(tmp_path: Path, damage: str) -> None:
    key, spoil, message = IDX_DAMAGES[damage]
    write_idx(tmp_path, DIGITS)
    spoil(tmp_path / IDX_NAMES[key])
    with pytest.raises(DatasetError, match=message) as caught:
        load_images("mnist", tmp_path).split(0)
    assert caught.value.exit_code == ExitCode.DATASET
    if damage not in ("missing", "other sizes"):
        assert IDX_NAMES[key] in str(caught.value)


@pytest.mark.parametrize("keep", [0, 5, 100, -4])
def test_interrupted_downloads_of_gzip_files_are_named(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    path.write_bytes(gzip.compress(idx_bytes(DIGITS["x_train"]))[:keep])
    with pytest.raises(DatasetError, match="train-images") as caught:
        read_idx(path, axes=3)
    assert "interrupted" in (caught.value.hint or "")


def test_a_gzip_file_that_is_none_and_one_with_a_flipped_bit(tmp_path: Path) -> None:
    path = tmp_path / "train-images-idx3-ubyte.gz"
    content = bytearray(gzip.compress(idx_bytes(DIGITS["x_train"])))
    content[len(content) // 2] ^= 1
    for damaged in (idx_bytes(DIGITS["x_train"]), bytes(content)):
        path.write_bytes(damaged)
        with pytest.raises(DatasetError, match=r"train-images.*gz"):
            read_idx(path, axes=3)


NPZ_DAMAGES: dict[str, tuple[Any, str]] = {
    "no labels": (lambda a: {k: v for k, v in a.items() if k != "y_test"}, "has no y_test"),
    "labels for images": (lambda a: {**a, "x_train": a["y_train"]}, "look like labels"),
    "images for labels": (lambda a: {**a, "y_train": a["x_train"]}, "look like images"),
    "counts": (lambda a: {**a, "y_train": a["y_train"][1:]}, "249 labels for 250 images"),
    "nan": (lambda a: {**a, "x_test": np.where(a["x_test"] > 200, np.nan, 0.5)}, "NaN or infinite"),
    "inf": (lambda a: {**a, "x_train": np.where(a["x_train"] > 200, np.inf, 0.5)}, "NaN or infinite"),
    "range": (
        lambda a: {**a, "x_train": a["x_train"].astype(np.float32)},
        "from 0 to 220; expected floats from 0 to 1",
    ),
    "negative": (lambda a: {**a, "x_train": a["x_train"].astype(np.int16) - 9}, "expected integers from 0 to 255"),
    "channels": (lambda a: {**a, "x_train": np.zeros((250, 5, 28, 28), np.uint8)}, r"has shape \(250, 5, 28, 28\)"),
    "text": (lambda a: {**a, "x_train": np.full((250, 28, 28), "x")}, "has type <U1"),
    "float labels": (lambda a: {**a, "y_train": a["y_train"] + 0.5}, r"integers from 0 to 9"),
    "nan labels": (lambda a: {**a, "y_train": np.where(a["y_train"] == 3, np.nan, a["y_train"])}, r"got \[nan\]"),
    "a missing class": (lambda a: {**a, "y_test": np.minimum(a["y_test"], 7)}, "no images of class 8, 9"),
    "empty": (lambda a: {k: v[:0] for k, v in a.items()}, "no images of class 0"),
    "pickles": (lambda a: {**a, "x_train": np.array([a["x_train"][0], None], object)}, "cannot read"),
}


@pytest.mark.parametrize("damage", NPZ_DAMAGES)
def test_bad_npz_files_say_what_is_wrong(tmp_path: Path, damage: str) -> None:
    spoil, message = NPZ_DAMAGES[damage]
    path = tmp_path / "mnist.npz"
    np.savez(path, **spoil(DIGITS))
    with pytest.raises(DatasetError, match=message) as caught:
        load_images("mnist", tmp_path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_truncated_npz_files_are_named(tmp_path: Path, share: float) -> None:
    path = save_npz(tmp_path / "mnist.npz", DIGITS)
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(DatasetError, match=r"mnist\.npz") as caught:
        load_images("mnist", tmp_path)
    assert "interrupted" in (caught.value.hint or "")


def test_a_damaged_byte_within_an_npz_file_is_found(tmp_path: Path) -> None:
    path = save_npz(tmp_path / "mnist.npz", DIGITS)
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=r"mnist\.npz"):
        load_images("mnist", tmp_path)


# ── CIFAR-10 ────────────────────────────────────────────────────────────────────────────────────────────────────────


def write_cifar(folder: Path, records: int = 20) -> list[tuple[np.ndarray, np.ndarray]]:
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(3)
    batches = []
    for name in (*(f"data_batch_{k}.bin" for k in range(1, 6)), "test_batch.bin"):
        images = rng.integers(0, 256, (records, 3, 32, 32), dtype=np.uint8)
        labels = rng.permutation(np.arange(records) % 10).astype(np.uint8)
        with (folder / name).open("wb") as file:
            for image, label in zip(images, labels, strict=True):
                file.write(bytes([label]) + image[0].tobytes() + image[1].tobytes() + image[2].tobytes())
        batches.append((images, labels))
    return batches


def test_cifar_batches_are_read_back(tmp_path: Path) -> None:
    batches = write_cifar(tmp_path)
    benchmark = load_cifar10(tmp_path, records=20)
    split = benchmark.split(3)
    assert benchmark.classes[3] == "cat"
    assert np.array_equal(split.train, np.concatenate([x[y == 3] for x, y in batches[:5]]))
    assert np.array_equal(split.test, batches[5][0])
    assert np.array_equal(split.labels, batches[5][1] != 3)
    assert "100 training and 20 test images" in benchmark.notes[0]


def test_a_batch_of_the_official_size(tmp_path: Path) -> None:
    labels = np.arange(10_000) % 10
    records = np.zeros((10_000, RECORD), np.uint8)
    records[:, 0], records[:, 1] = labels, labels + 7
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(records.tobytes())
    images, found = read_batch(path)
    assert images.shape == (10_000, 3, 32, 32)
    assert np.array_equal(found, labels)
    assert np.array_equal(images[:, 0, 0, 0], labels + 7)


@pytest.mark.parametrize("size", [0, 20 * RECORD - 1, 10 * RECORD, 20 * RECORD + 5])
def test_cifar_files_of_another_size_are_named(tmp_path: Path, size: int) -> None:
    write_cifar(tmp_path)
    path = tmp_path / "data_batch_4.bin"
    path.write_bytes((path.read_bytes() + b"12345")[:size])
    with pytest.raises(DatasetError, match=rf"data_batch_4.bin.* {size} bytes, expected {20 * RECORD}"):
        load_cifar10(tmp_path, records=20)


def test_cifar_with_a_batch_missing_or_odd_labels(tmp_path: Path) -> None:
    write_cifar(tmp_path)
    path = tmp_path / "test_batch.bin"
    content = bytearray(path.read_bytes())
    content[0] = 77
    path.write_bytes(bytes(content))
    with pytest.raises(DatasetError, match=r"test_batch\.bin.*got \[77\]"):
        load_cifar10(tmp_path, records=20)
    path.unlink()
    with pytest.raises(DatasetError, match=r"has no test_batch\.bin"):
        load_images("cifar10", tmp_path)


@pytest.mark.parametrize("place", [".", "cifar-10-batches-py"])
def test_the_pickled_version_is_refused_unread(tmp_path: Path, place: str) -> None:
    class Trap:
        def __reduce__(self) -> tuple[Any, ...]:
            return (os.mkdir, (str(tmp_path / "sprung"),))

    (tmp_path / place).mkdir(exist_ok=True)
    (tmp_path / place / "data_batch_1").write_bytes(pickle.dumps(Trap()))
    with pytest.raises(DatasetError, match="Python version") as caught:
        load_images("cifar10", tmp_path)
    assert "binary version" in (caught.value.hint or "")
    assert not (tmp_path / "sprung").exists()


# ── Finding ─────────────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "looked_for"),
    [
        ("mnist", ["mnist.npz", "train-images-idx3-ubyte[.gz]", "MNIST/raw/"]),
        ("fashion-mnist", ["fashion_mnist.npz", "FashionMNIST/raw/"]),
        ("cifar10", ["cifar10.npz", "data_batch_1.bin", "cifar-10-batches-bin/"]),
        ("mvtec", ["bottle/train/good", "mvtec_anomaly_detection/"]),
    ],
)
def test_nothing_found_says_what_was_looked_for(tmp_path: Path, name: str, looked_for: list[str]) -> None:
    with pytest.raises(DatasetError) as caught:
        load_images(name, tmp_path)
    assert [word for word in (str(tmp_path), *looked_for) if word not in str(caught.value)] == []
    (tmp_path / "archive.tar.gz").write_bytes(b"")
    with pytest.raises(DatasetError) as caught:
        load_images(name, tmp_path)
    assert caught.value.hint == "unpack archive.tar.gz"


def test_unknown_names_folders_and_classes(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="'svhn'; known: mnist, fashion-mnist, cifar10, mvtec"):
        load_images("svhn", tmp_path)
    with pytest.raises(DatasetError, match="nowhere does not exist"):
        load_images("mnist", tmp_path / "nowhere")
    path = save_npz(tmp_path / "mnist.npz", DIGITS)
    with pytest.raises(DatasetError, match=r"mnist\.npz is a file"):
        load_images("mnist", path)
    for k in (-1, 10):
        with pytest.raises(UsageError, match=f"no class {k}"):
            load_images("mnist", tmp_path).split(k)
