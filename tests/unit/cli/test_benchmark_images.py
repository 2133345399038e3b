"""`streamad benchmark-images` as users run it: the table, the record, starting again, and every early refusal."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from cli_support import CliServer, streamad
from image_files_support import digits, write_idx, write_mvtec

from streamad.cli.benchmark_images import _classes, _data_folder, _remaining, benchmark_images
from streamad.cli.common import parse_pairs
from streamad.errors import DatasetError, UsageError
from streamad.evaluation.images.official import CLASSES


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with images/, which holds a small MNIST in the official files."""
    root = tmp_path_factory.mktemp("data")
    write_idx(root / "images" / "mnist", digits(training=20, test=2), zipped=True)
    return root


def call(data_set: str, folder: Path | None, out: Path, **more: Any) -> None:
    """The command in this process, which has torch already."""
    defaults: dict[str, Any] = {
        "seeds": "1,2", "classes": None, "option": ["epochs=1"], "device": "cpu", "threads": 1, "as_json": True,
    }  # fmt: skip
    benchmark_images(data_set, "adacl", folder=folder, out=out, **{**defaults, **more})


def test_a_table_on_standard_output_and_the_same_in_files(
    data: Path, tmp_path: Path, one_torch_thread: None, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("--detector", "adacl", "--seeds", "1,2", "--classes", "3", "--option", "epochs=1", "--threads", "1")
    ran = streamad("benchmark-images", "mnist", *words, cwd=tmp_path, env={"STREAMAD_DATA": str(data)})
    assert ran.code == 0, ran.err
    out = tmp_path / "results" / "mnist-adacl"
    assert ran.out == (out / "table.md").read_text()
    assert "\n| 3 | " in ran.out
    assert "| 97.36 | 2 |" in ran.out
    assert "--seeds 1,2 --classes 3 --option epochs=1 --data DIR`" in ran.out
    assert str(data) not in ran.out
    assert "note: not the official split" in ran.err
    assert "1/2 class 3, seed 1: AUROC" in ran.err
    assert "2/2 class 3, seed 2: AUROC" in ran.err
    names = ["03-3-seed-1.json", "03-3-seed-2.json", "table.json", "table.md"]
    assert sorted(path.name for path in out.iterdir()) == names
    before = (out / names[0]).read_bytes()

    # Again, with another class: what is done is left, the table has both.
    call("mnist", data / "images", out, classes="3,4")
    said = capsys.readouterr()
    document = json.loads(said.out)
    assert document == json.loads((out / "table.json").read_text())
    assert [row["class"] for row in document["classes"]] == ["3", "4"]
    assert "--classes 3,4 " in document["command"]
    assert "class 3" not in said.err
    assert (out / names[0]).read_bytes() == before

    with pytest.raises(UsageError, match=r"options given is \{'epochs': '1'\} there, \{\} here"):
        call("mnist", data / "images", out, option=None)


def test_words_that_are_wrong(quick: CliServer, data: Path, tmp_path: Path) -> None:
    images = ("--data", data / "images")
    for words, message in (
        (("svhn", "--detector", "adacl", *images), "BENCHMARK 'svhn': expected one of mnist"),
        (("mnist", *images), "Missing option '--detector'"),
        (("mnist", "--detector", "adcl", *images), "unknown detector 'adcl'"),
        (("mnist", "--detector", "adacl", *images, "--seeds", "1,x"), "--seeds '1,x'"),
        (("mnist", "--detector", "adacl", *images, "--seeds", "2,2"), "each given once"),
        (("mnist", "--detector", "adacl", *images, "--seeds", "-1"), "at least 0"),
        (("mnist", "--detector", "adacl", *images, "--option", "epochs"), "expected name=value"),
        (("mnist", "--detector", "adacl", *images, "--classes", "ten"), "no class 'ten'"),
        (("mnist", "--detector", "adacl", *images, "--classes", "1,1"), "given twice"),
    ):
        ran = quick("benchmark-images", *words, "--json", cwd=tmp_path)
        assert ran.code == 2, words
        assert message in ran.error()["message"], words
    assert list(tmp_path.iterdir()) == []


def test_without_any_folder_of_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("STREAMAD_DATA", raising=False)
    with pytest.raises(UsageError, match="folder of the data is not known") as caught:
        call("mnist", None, tmp_path)
    assert "STREAMAD_DATA" in (caught.value.hint or "")


def test_files_that_are_bad_end_it_at_once(quick: CliServer, tmp_path: Path) -> None:
    arrays = digits(training=20, test=2)
    write_idx(tmp_path / "truncated", arrays)
    path = tmp_path / "truncated" / "t10k-images-idx3-ubyte"
    path.write_bytes(path.read_bytes()[:-100])
    write_idx(tmp_path / "missing", {**arrays, "y_train": np.where(arrays["y_train"] == 7, 6, arrays["y_train"])})
    (tmp_path / "empty").mkdir()
    for name, message in (
        ("truncated", "is truncated"),
        ("missing", "no images of class 7"),
        ("empty", "looked for mnist.npz"),
        ("nowhere", "does not exist"),
    ):
        ran = quick(
            "benchmark-images", "mnist", "--detector", "adacl", "--data", tmp_path / name, "--json", cwd=tmp_path
        )
        assert ran.code == 5, (name, ran.err)
        assert message in ran.error()["message"], name
    assert not (tmp_path / "results").exists()


def test_images_that_are_bad_end_it_before_any_training(tmp_path: Path, one_torch_thread: None) -> None:
    arrays = digits(training=20, test=2)
    flat = np.where(arrays["y_train"][:, None, None] == 7, 9, arrays["x_train"])
    write_idx(tmp_path / "constant", {**arrays, "x_train": flat})
    with pytest.raises(DatasetError, match="class 7: all 20 training images are the same: every pixel is 9"):
        call("mnist", tmp_path / "constant", tmp_path / "out")
    with pytest.raises(UsageError, match="no option epoch"):
        call("mnist", tmp_path / "constant", tmp_path / "out", option=["epoch=1"])
    write_mvtec(tmp_path / "mvtec", "bottle")
    folder = write_mvtec(tmp_path / "mvtec", "wood")
    cv2.imwrite(str(folder / "train/good/003.png"), np.zeros((30, 40), np.uint8))
    with pytest.raises(DatasetError, match=r"wood.*003\.png is 40×30 pixels"):
        call("mvtec", tmp_path / "mvtec", tmp_path / "out", classes="bottle,wood")
    with pytest.raises(DatasetError, match="category cable is missing"):
        call("mvtec", tmp_path / "mvtec", tmp_path / "out", classes="cable")
    with pytest.raises(DatasetError, match=r"wood.*003\.png is 40×30 pixels"):  # all that are present
        call("mvtec", tmp_path / "mvtec", tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_mvtec_is_found_beside_the_other_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAMAD_DATA", str(tmp_path))
    assert _data_folder(None, "mnist") == tmp_path / "images"
    assert _data_folder(None, "mvtec") == tmp_path
    write_mvtec(tmp_path / "images" / "mvtec")
    assert _data_folder(None, "mvtec") == tmp_path / "images"
    assert _data_folder(tmp_path / "mine", "mvtec") == tmp_path / "mine"


def test_classes_are_names_or_numbers() -> None:
    assert _classes("9, 0", CLASSES["mnist"], "mnist") == [9, 0]
    assert _classes("sandal,Ankle boot,0", CLASSES["fashion-mnist"], "fashion-mnist") == [5, 9, 0]
    assert _classes("metal_nut", CLASSES["mvtec"], "mvtec") == [7]
    with pytest.raises(UsageError, match="no class '10'"):
        _classes("10", CLASSES["cifar10"], "cifar10")


def test_options_keep_what_follows_the_first_equals_sign() -> None:
    assert parse_pairs(["a=1,2", " b = x=y ", "c="]) == {"a": "1,2", "b": "x=y", "c": ""}
    for wrong in (["=1"], ["a"], ["a=1", "a=2"]):
        with pytest.raises(UsageError, match="--option"):
            parse_pairs(wrong)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.0, ""), (12.4, "about 12 s"), (90.0, "about 2 min"), (3600.0, "1 h 0 min"), (9000.0, "2 h 30 min")],
)
def test_what_remains_in_words(seconds: float | None, words: str) -> None:
    assert words in _remaining(seconds)
    assert bool(words) == bool(_remaining(seconds))
