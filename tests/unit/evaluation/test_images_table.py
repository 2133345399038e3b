"""Results and their table: figures against numpy, published ones against their papers' own means."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from streamad.detectors import BUILT_IN, find_detector
from streamad.errors import DatasetError, OutputError, UsageError
from streamad.evaluation.image_table import image_markdown, image_table
from streamad.evaluation.images.official import CLASSES
from streamad.evaluation.images.results import Hardware, ImageResult, read_result, read_results, run_name, write_result

PUBLISHED = {(name, where): value for name in BUILT_IN for where, value in find_detector(name).published().items()}
RESULT = ImageResult(
    data_set="mnist", layout="official IDX files", notes=(), classes=CLASSES["mnist"], data_sha256="0" * 64,
    detector="alps", class_index=0, seed=1, given={"epochs": "3"}, description={"detector": "alps", "epochs": 3},
    samples=100, validation=10, test=50, auroc={"perturbed": 0.9, "plain": 0.8}, epochs=3, best_epoch=2,
    rule="the last", seconds=60.0, scoring_seconds=2.0, hardware=Hardware("cpu", 2, 1, "x86_64", "2.13"), version="0.1",
)  # fmt: skip


def results(classes: int = 10, seeds: tuple[int, ...] = (1, 2, 3)) -> tuple[list[ImageResult], np.ndarray]:
    """Results and their headline figures as (seeds, classes)."""
    figures = np.random.default_rng(4).uniform(0.5, 1, (len(seeds), classes))
    made = [
        replace(
            RESULT, class_index=k, seed=seed, auroc={"perturbed": float(figures[row, k]), "plain": 0.5}, epochs=3 + row,
            description={**RESULT.description, "of this class": k},
        )
        for row, seed in enumerate(seeds)
        for k in range(classes)
    ]  # fmt: skip
    return made, 100 * figures


def test_means_and_deviations_are_those_of_numpy() -> None:
    made, figures = results()
    table = image_table(made, "a command", PUBLISHED["alps", "mnist"])
    assert [row["auroc"]["mean"] for row in table["classes"]] == pytest.approx(figures.mean(axis=0))
    assert [row["auroc"]["sd"] for row in table["classes"]] == pytest.approx(figures.std(axis=0, ddof=1))
    assert table["mean"]["auroc"]["mean"] == pytest.approx(figures.mean())
    assert table["mean"]["auroc"]["sd"] == pytest.approx(figures.mean(axis=1).std(ddof=1))
    assert table["mean"]["paper"] == 97.65
    assert [row["paper"] for row in table["classes"]] == list(PUBLISHED["alps", "mnist"].classes or ())
    assert table["mean"]["scores"]["plain"] == {"mean": 50.0, "sd": 0.0}
    assert table["options"] == RESULT.description  # what differs between classes is left out
    json.dumps(table, allow_nan=False)


def test_the_page_has_every_figure() -> None:
    made, figures = results()
    page = image_markdown(
        image_table(made, "streamad benchmark-images mnist --detector alps", PUBLISHED["alps", "mnist"])
    )
    for k, line in enumerate(page.splitlines()[6:16]):
        mean, sd, paper = figures[:, k].mean(), figures[:, k].std(ddof=1), (PUBLISHED["alps", "mnist"].classes or ())[k]
        assert line == f"| {k} | {mean:.2f} ± {sd:.2f} | {paper:.2f} | 3 | 3–5 | 60 |"
    for text in (
        "| **97.65** |", "best of three scores", "Seeds: 1, 2, 3.", "2 processors (x86_64), 1 threads, torch 2.13",
        "Checkpoint: the last.", "`streamad benchmark-images mnist --detector alps`", "`epochs=3`",
        "| class | perturbed | plain |", "50 test images", "Time: 1800 s of training",
    ):  # fmt: skip
        assert text in page
    assert page.count("\n| ") == 2 * 12


def test_metrics_by_masks_have_a_table_of_their_own() -> None:
    made = [
        replace(RESULT, data_set="mvtec", detector="igd", classes=CLASSES["mvtec"], class_index=k, seed=seed,
                metrics={"pixel_auroc": 0.5 + k / 10, "pixel_auroc_per_image": 0.6, "mean_accuracy": 0.7 + seed / 100})
        for k in (0, 1) for seed in (1, 2)
    ]  # fmt: skip
    table = image_table(made, "", PUBLISHED["igd", "mvtec"])
    assert table["classes"][1]["metrics"]["pixel_auroc"] == {"mean": pytest.approx(60), "sd": pytest.approx(0)}
    assert table["mean"]["metrics"]["pixel_auroc"]["mean"] == pytest.approx(55)
    accuracy = table["mean"]["metrics"]["mean_accuracy"]
    assert (accuracy["mean"], accuracy["sd"]) == (pytest.approx(71.5), pytest.approx(np.std([71, 72], ddof=1)))
    assert table["paper_metrics"]["mean_accuracy"]["mean"] == pytest.approx((96 + 81) / 2)
    assert table["paper_metrics"]["pixel_auroc_per_image"]["mean"] is None  # not given for each class
    page = image_markdown(table)
    for line in (
        "| class | pixel_auroc | pixel_auroc_per_image | mean_accuracy |",
        "| cable | 60.00 ± 0.00 | 60.00 ± 0.00 | 71.50 ± 0.71 |",
        "| paper, the same classes | – | – | 88.50 |",
        "- Paper's `pixel_auroc_per_image` over all classes: 91.00; ",
    ):
        assert line in page
    assert "by the masks" not in image_markdown(image_table(results()[0], ""))
    partly = [made[0], replace(made[1], metrics={})]
    assert image_table(partly, "")["mean"]["metrics"] == {}


def test_some_classes_are_held_against_the_same_classes_of_the_paper() -> None:
    table = image_table(results(classes=2)[0], "", PUBLISHED["alps", "mnist"])
    assert table["mean"]["paper"] == pytest.approx((99.68 + 99.92) / 2)
    assert "mean of 2 of 10 classes" in image_markdown(table)
    for detector, data_set in (("igd", "mnist"), ("learned_noise", "mnist")):
        rows = [replace(r, detector=detector, data_set=data_set) for r in results(classes=2)[0]]
        assert image_table(rows, "", PUBLISHED.get((detector, data_set)))["mean"]["paper"] is None


def test_a_seed_that_is_not_finished_is_left_out_of_the_mean() -> None:
    made, figures = results()
    table = image_table(made[:-1], "")
    assert table["mean"]["seeds"] == [1, 2]
    assert table["mean"]["auroc"]["mean"] == pytest.approx(figures[:2].mean())
    assert table["classes"][9]["seeds"] == [1, 2]
    assert "over 2 of 3 seeds" in image_markdown(table)


def test_one_seed_has_no_deviation() -> None:
    made, figures = results(seeds=(7,))
    table = image_table(made, "")
    assert table["mean"]["auroc"] == {"mean": pytest.approx(figures.mean()), "sd": None}
    assert "±" not in image_markdown(table).partition("| class |")[2]


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(UsageError, match="no result"):
        image_table([], "")
    with pytest.raises(UsageError, match="twice"):
        image_table([RESULT, RESULT], "")
    for other in ({"detector": "adacl"}, {"data_set": "cifar10"}, {"given": {}}, {"auroc": {"plain": 0.5}}):
        with pytest.raises(UsageError, match="class 1, seed 1 was created with other options") as caught:
            image_table([RESULT, replace(RESULT, class_index=1, **other)], "")  # type: ignore[arg-type]
        assert str(next(iter(other.values()))) in str(caught.value) or "scores is ['plain'] there" in str(caught.value)


def test_results_are_read_back(tmp_path: Path) -> None:
    made, _ = results(classes=3)
    for result in reversed(made):
        write_result(tmp_path, result)
    (tmp_path / "table.json").write_text("{}")
    assert read_results(tmp_path) == made
    assert list(read_results(tmp_path)[0].auroc) == ["perturbed", "plain"]  # the headline stays first
    assert run_name(CLASSES["fashion-mnist"], 0, 12) == "00-t-shirt-top-seed-12"
    assert len({run_name(names, k, 1) for names in CLASSES.values() for k in range(len(names))}) == 45


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: "",
        lambda text: text[: len(text) // 2],
        lambda text: "[]",
        lambda text: text.replace('"format": 1', '"format": 2'),
        lambda text: text.replace('"samples": 100', '"samples": "many"'),
        lambda text: text.replace('"class_index": 0', '"class_index": 12'),
    ],
)
def test_damaged_results_are_named(tmp_path: Path, spoil: Any) -> None:
    path = write_result(tmp_path, RESULT)
    path.write_text(spoil(path.read_text()))
    with pytest.raises(DatasetError, match=path.name) as caught:
        read_result(path)
    assert "--out" in (caught.value.hint or "")


def test_a_result_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "00-0-seed-1.json").mkdir()
    with pytest.raises(OutputError):
        write_result(tmp_path, RESULT)


@pytest.mark.parametrize("key", [key for key, value in PUBLISHED.items() if value.classes])
def test_published_classes_have_the_published_mean(key: tuple[str, str]) -> None:
    published = PUBLISHED[key]
    assert published.classes is not None
    assert len(published.classes) == len(CLASSES[key[1]])
    # Papers round the mean to one or two digits; ALPS cuts its 92.949 to 92.94.
    assert np.mean(published.classes) == pytest.approx(published.mean, abs=0.06 if key[1] == "mvtec" else 0.011)
