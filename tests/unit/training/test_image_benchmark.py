"""The image benchmarks end to end: real trainings of ADACL on small images, killed, continued, shared, refused."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from image_files_support import digits, write_mvtec

torch = pytest.importorskip("torch", reason="needs torch (the extra `train`)")
sklearn_metrics = pytest.importorskip("sklearn.metrics")
roc_auc_score, balanced_accuracy_score = sklearn_metrics.roc_auc_score, sklearn_metrics.balanced_accuracy_score

import streamad  # noqa: E402
from streamad.detectors import find_detector  # noqa: E402
from streamad.errors import DatasetError, OutputError, UsageError  # noqa: E402
from streamad.evaluation.images import ImageBenchmark, OneClassSplit, labeled_benchmark, load_images  # noqa: E402
from streamad.evaluation.images.mvtec import load_mvtec  # noqa: E402
from streamad.evaluation.images.results import ImageResult, read_result, read_results  # noqa: E402
from streamad.training import image_benchmark as module  # noqa: E402
from streamad.training.image_benchmark import BenchmarkProgress, held_out, run_image_benchmark  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

OPTIONS = {"epochs": "1", "batch": "16"}


def two_classes(training: int = 24, test: int = 8, seed: int = 0) -> ImageBenchmark:
    """Bars that lie and bars that stand."""
    rng = np.random.default_rng(seed)
    parts = []
    for each in (training, test):
        images = rng.integers(0, 60, (2 * each, 1, 28, 28), dtype=np.uint8)
        images[:each, :, 12:16, 4:24] = 230
        images[each:, :, 4:24, 12:16] = 230
        parts.append((images, np.repeat(np.arange(2), each)))
    return labeled_benchmark("mnist", ("lying", "standing"), "made here", parts[0], parts[1])


def run(out: Path, benchmark: ImageBenchmark | None = None, **more: Any) -> list[ImageResult]:
    arguments = {"seeds": [1, 2], "out": out, "options": OPTIONS, **more}
    return run_image_benchmark(benchmark or two_classes(), find_detector("adacl"), **arguments)


def figures(results: list[ImageResult]) -> list[tuple[int, int, dict[str, float], str]]:
    return [(r.seed, r.class_index, r.auroc, r.data_sha256) for r in results]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[ImageResult], list[BenchmarkProgress]]:
    """An uninterrupted benchmark: two classes, two seeds."""
    out = tmp_path_factory.mktemp("whole")
    told: list[BenchmarkProgress] = []
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return out, run(out, progress=told.append), told
    finally:
        torch.set_num_threads(threads)


def test_every_class_and_seed_has_its_result(
    whole: tuple[Path, list[ImageResult], list[BenchmarkProgress]],
) -> None:
    out, results, told = whole
    assert [(r.seed, r.class_index) for r in results] == [(1, 0), (1, 1), (2, 0), (2, 1)]
    names = ["00-lying-seed-1", "00-lying-seed-2", "01-standing-seed-1", "01-standing-seed-2"]
    assert sorted(path.name for path in out.iterdir()) == [f"{name}.json" for name in names]  # no checkpoint is left
    for result in results:
        assert (result.samples, result.validation, result.test) == (22, 2, 16)
        assert (result.epochs, result.given, result.description["epochs"]) == (1, OPTIONS, 1)
        assert result.description["detector"] == "adacl"
        assert result.hardware.torch == torch.__version__
        assert result.hardware.threads == 1
        assert result.rule == "the last of 1 epochs"
        assert result.seconds > 0
    assert read_results(out) == results
    ends = [now for now in told if now.result is not None]
    assert [(now.run, now.runs, now.share) for now in ends] == [(k, 4, 1.0) for k in range(4)]
    assert [now.remaining_seconds == 0 for now in ends] == [False, False, False, True]
    assert sum(now.epoch is not None for now in told) == 4
    assert all(0 < now.share <= 1 for now in told)


def test_the_auroc_is_that_of_scikit_learn(
    whole: tuple[Path, list[ImageResult], list[BenchmarkProgress]], tmp_path: Path
) -> None:
    split, result = two_classes().split(1), whole[1][3]
    rows, validation = held_out(24, 2)
    task = find_detector("adacl").image_task(
        split.train[rows], split.train[validation], data_set="mnist", seed=2, device="cpu", options=OPTIONS
    )
    module.run_loop(task, samples=22, epochs=1, patience=5, seed=2, folder=tmp_path)
    scores = task.score_images(split.test)
    assert list(scores) == list(result.auroc)
    for name, values in scores.items():
        assert result.auroc[name] == pytest.approx(roc_auc_score(split.labels, values))


def test_masks_give_metrics_of_pixels_and_pictures(tmp_path: Path) -> None:
    """Category by category that is there, from the masks, by the maps of a detector that has some."""
    write_mvtec(tmp_path, "capsule", train=20)
    benchmark = load_mvtec(tmp_path, side=64)
    options = {"epochs": "1", "batch": "4", "width": "4", "descriptor": "4"}
    out = tmp_path / "out"
    (result,) = run_image_benchmark(benchmark, find_detector("igd"), seeds=[1], out=out, options=options)
    assert result.classes[result.class_index] == "capsule"
    split = benchmark.split(2)
    rows, validation = held_out(20, 1)
    task = find_detector("igd").image_task(
        split.train[rows], split.train[validation], data_set="mvtec", seed=1, device="cpu", options=options
    )
    module.run_loop(task, samples=18, epochs=1, patience=6, seed=1, folder=tmp_path / "training")
    maps = task.anomaly_maps(split.test)
    assert maps is not None
    assert maps.shape == (6, 32, 32)
    assert split.masks is not None
    scores, normal = task.score_images(split.test)["combined"], task.score_images(split.train[validation])["combined"]
    large = np.stack([cv2.resize(one, (64, 64)) for one in maps])
    assert result.metrics == {
        "mean_accuracy": pytest.approx(balanced_accuracy_score(split.labels, scores > normal.max())),
        "pixel_auroc": pytest.approx(roc_auc_score(split.masks.ravel(), large.ravel()), abs=1e-6),
        "pixel_auroc_per_image": pytest.approx(
            np.mean([roc_auc_score(split.masks[k].ravel(), large[k].ravel()) for k in range(4)]), abs=1e-6
        ),
    }
    assert read_results(out) == [result]
    pictures = sorted(path.name for path in (out / "pictures" / "02-capsule-seed-1").iterdir())
    assert pictures == [*(f"broken-00{k}.png" for k in range(3)), "dirty-000.png", "good-000.png", "good-001.png"]
    assert cv2.imread(str(out / "pictures" / "02-capsule-seed-1" / pictures[0])).shape == (64, 128, 3)


def test_held_out_images_depend_on_the_seed_alone() -> None:
    for count, expected in ((5421, 150), (1500, 150), (209, 20), (60, 6), (24, 2), (2, 1)):
        rows, validation = held_out(count, 3)
        assert len(validation) == expected
        assert sorted([*rows, *validation]) == list(range(count))
        assert np.array_equal(validation, held_out(count, 3)[1])
    assert not np.array_equal(held_out(5421, 3)[1], held_out(5421, 4)[1])


def test_started_again_nothing_is_trained_twice(
    whole: tuple[Path, list[ImageResult], list[BenchmarkProgress]], monkeypatch: pytest.MonkeyPatch
) -> None:
    out, results, _ = whole
    before = {path: path.stat().st_mtime_ns for path in out.iterdir()}

    def never(*_: Any, **__: Any) -> None:
        raise AssertionError("trained again")

    monkeypatch.setattr(module, "run_loop", never)
    assert run(out) == results
    assert run(out, seeds=[2], classes=[1]) == [results[3]]
    assert {path: path.stat().st_mtime_ns for path in out.iterdir()} == before


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"options": {**OPTIONS, "epochs": "2"}}, r"options given is .*'1'.* there, .*'2'.* here"),
        ({"options": {}}, "options given"),
        ({"benchmark": two_classes(seed=5)}, "data_sha256 is"),
        ({"benchmark": replace(two_classes(), name="cifar10")}, "data set is mnist there, cifar10 here"),
    ],
)
def test_results_of_other_choices_are_refused_and_left(
    whole: tuple[Path, list[ImageResult], list[BenchmarkProgress]], other: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        run(whole[0], **other)
    assert "--out" in (caught.value.hint or "")
    assert read_results(whole[0]) == whole[1]


def test_defaults_that_have_changed_since_are_noticed(tmp_path: Path) -> None:
    (result,) = run(tmp_path, seeds=[1], classes=[0])
    path = tmp_path / "00-lying-seed-1.json"
    document = json.loads(path.read_text())
    document["description"]["patience"] = 99
    path.write_text(json.dumps(document))
    with pytest.raises(
        UsageError, match=rf"00-lying-seed-1\.json .*patience is 99 there, {result.description['patience']} here"
    ):
        run(tmp_path, seeds=[1], classes=[0])


FOUR_EPOCHS: dict[str, Any] = {"options": {"epochs": "4", "batch": "16"}, "seeds": [1]}
_PROCESS = """
import sys
sys.path[:0] = sys.argv[2:]
import torch
torch.set_num_threads(1)
from pathlib import Path
from test_image_benchmark import FOUR_EPOCHS, run
def tell(now):
    if now.epoch is not None:
        print(now.run, now.epoch.epoch, flush=True)
run(Path(sys.argv[1]), progress=tell, **FOUR_EPOCHS)
"""


def command(out: Path) -> list[str]:
    """Runs the benchmark in a process of its own, which prints a line after each epoch."""
    paths = [Path(__file__).parent, Path(__file__).parents[2], Path(streamad.__file__).parents[1]]
    return [sys.executable, "-c", _PROCESS, str(out), *map(str, paths)]


@pytest.mark.slow
def test_a_killed_benchmark_goes_on_and_ends_with_the_same_figures(tmp_path: Path) -> None:
    out = tmp_path / "killed"
    with subprocess.Popen(command(out), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line.split() == ["1", "2"]:  # within the second training
                os.kill(process.pid, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    assert (out / "00-lying-seed-1.json").exists()
    assert (out / "01-standing-seed-1.training" / "checkpoint.pt").exists()
    # With the finished one aside, the unfinished one is what differs.
    finished = (out / "00-lying-seed-1.json").rename(tmp_path / "aside.json")
    with pytest.raises(
        UsageError, match=r"01-standing-seed-1\.training was created with other options: batch is 16 there, 8 here"
    ):
        run(out, options={"epochs": "4", "batch": "8"}, seeds=[1], classes=[1])
    finished.rename(out / "00-lying-seed-1.json")
    told: list[BenchmarkProgress] = []
    results = run(out, progress=told.append, **FOUR_EPOCHS)
    epochs = [now.epoch.epoch for now in told if now.epoch is not None]
    assert epochs in ([3, 4], [4], [])  # the kill may come an epoch or two late
    assert {now.class_name for now in told} == {"standing"}
    assert figures(results) == figures(run(tmp_path / "whole", **FOUR_EPOCHS))
    assert [r.epochs for r in results] == [4, 4]
    assert sorted(path.name for path in out.iterdir()) == ["00-lying-seed-1.json", "01-standing-seed-1.json"]


def test_a_training_that_another_process_is_at_is_left_to_it(tmp_path: Path) -> None:
    folder = tmp_path / "00-lying-seed-1.training"
    folder.mkdir()
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        results = run(tmp_path, seeds=[1])
        assert [r.class_index for r in results] == [1]
        assert folder.is_dir()
    assert [r.class_index for r in run(tmp_path, seeds=[1])] == [0, 1]
    assert not folder.exists()


def test_two_that_write_to_one_folder_share_the_work(tmp_path: Path) -> None:
    mine: list[str] = []
    theirs: list[str] = []

    def meanwhile(now: BenchmarkProgress) -> None:
        if now.epoch is not None:
            mine.append(now.class_name)
            if len(mine) == 2:  # within the first training another one is started
                run(tmp_path, progress=tell, **FOUR_EPOCHS)

    def tell(now: BenchmarkProgress) -> None:
        if now.epoch is not None:
            theirs.append(now.class_name)

    results = run(tmp_path, progress=meanwhile, **FOUR_EPOCHS)
    assert (mine, theirs) == (["lying"] * 4, ["standing"] * 4)
    assert [r.class_index for r in results] == [0, 1]
    assert read_results(tmp_path) == results
    assert len(list(tmp_path.iterdir())) == 2


def test_nothing_is_trained_where_any_data_are_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "run_loop", lambda *_, **__: pytest.fail("trained"))
    good = two_classes()

    def second(**parts: Any) -> ImageBenchmark:
        return replace(good, read=lambda k: replace(good.split(k), **parts) if k == 1 else good.split(k))

    pixels = np.zeros((0, 1, 28, 28), np.uint8)
    for bad, message in (
        (second(train=pixels), "mnist, class standing: there are no training images"),
        (second(train=good.split(1).train[:1]), "class standing: 1 training image is not enough"),
        (second(train=np.zeros((9, 1, 28, 28), np.uint8)), "class standing: all 9 training images are the same"),
        (second(labels=np.ones(16, np.uint8)), "class standing: the test images are all anomalies"),
        (second(labels=np.zeros(16, np.uint8)), "class standing: the test images are all normal"),
        (second(train=good.split(1).train / 255), "class standing: the images are float64"),
    ):
        with pytest.raises(DatasetError, match=message):
            run(tmp_path, bad)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"seeds": []}, "no seed"),
        ({"seeds": [1, 1]}, "given twice: 1, 1"),
        ({"seeds": [-1]}, "negative"),
        ({"classes": []}, "no class"),
        ({"classes": [0, 2]}, "no class 2"),
        ({"options": {"epoch": "1"}}, "no option epoch"),
        ({"options": {"epochs": "one"}}, "epochs"),
    ],
)
def test_wrong_arguments(tmp_path: Path, wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(tmp_path, **wrong)
    with pytest.raises(UsageError, match="motion cannot be trained on images"):
        run_image_benchmark(two_classes(), find_detector("motion"), seeds=[1], out=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_damaged_results_and_folders_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "00-lying-seed-1.json").write_text('{"format": 1')
    with pytest.raises(DatasetError, match="00-lying-seed-1"):
        run(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="file"):
        run(tmp_path / "file" / "out")


def test_scores_that_are_not_finite_end_the_benchmark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    adacl = find_detector("adacl")
    make = adacl.image_task

    def broken(*arguments: Any, **more: Any) -> Any:
        task = make(*arguments, **more)
        monkeypatch.setattr(task, "score_images", lambda images: {"regressed": np.full(len(images), np.nan)})
        return task

    monkeypatch.setattr(type(adacl), "image_task", staticmethod(broken))
    with pytest.raises(UsageError, match="16 of 16 test images have no finite regressed"):
        run(tmp_path, seeds=[1], classes=[0])
    assert not list(tmp_path.glob("*.json"))


def test_color_images_in_folders(tmp_path: Path) -> None:
    write_mvtec(tmp_path / "data", "cable", train=12)
    benchmark = load_mvtec(tmp_path / "data", side=32)
    (result,) = run(tmp_path / "out", benchmark, seeds=[1], classes=[1])
    assert (result.samples, result.validation, result.test) == (11, 1, 6)
    assert result.classes[result.class_index] == "cable"
    assert read_result(tmp_path / "out" / "01-cable-seed-1.json") == result


def test_a_real_set_of_ten_classes(tmp_path: Path) -> None:
    arrays = digits(training=20, test=2)
    np.savez(tmp_path / "mnist.npz", **arrays)  # type: ignore[arg-type]
    benchmark = load_images("mnist", tmp_path)
    split = benchmark.split(9)
    assert isinstance(split, OneClassSplit)
    results = run(tmp_path / "out", benchmark, seeds=[1], classes=[9])
    assert results[0].test == 20
