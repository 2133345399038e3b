"""The training loop: resumption after a kill, early stopping, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from bundle_support import single_torch_thread

torch = pytest.importorskip("torch")

import streamad  # noqa: E402
from streamad.detectors.adacl.training import AdaclOptions, AdaclTask  # noqa: E402
from streamad.errors import OutputError, UsageError  # noqa: E402
from streamad.training.compute import Compute  # noqa: E402
from streamad.training.loop import EpochReport, LoopResult, run_loop  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

EPOCHS = 4


def make_task() -> AdaclTask:
    rng = np.random.default_rng(0)
    stacks = rng.integers(0, 256, (48, 3, 30, 30), dtype=np.uint8)
    validation = rng.integers(0, 256, (16, 3, 30, 30), dtype=np.uint8)
    kinds = ("cut_paste", "puzzle", "rotate", "mix_up", "reverse")
    options = AdaclOptions(lags=(0, 2, 4), kinds=kinds, noise=1.0, batch=16)
    return AdaclTask(stacks, validation, (0, 2, 4), options, seed=3)


def train(folder: Path, epochs: int = EPOCHS, task: AdaclTask | None = None, **options: Any) -> LoopResult:
    arguments: dict[str, Any] = {"samples": 48, "patience": 99, "seed": 3, **options}
    return run_loop(task or make_task(), epochs=epochs, folder=folder, **arguments)


def same_state(first: dict[str, Any], second: dict[str, Any]) -> bool:
    return first.keys() == second.keys() and all(torch.equal(first[k], second[k]) for k in first)


def checkpoint(folder: Path) -> dict[str, Any]:
    return dict(torch.load(folder / "checkpoint.pt", weights_only=True))


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any], LoopResult]:
    with single_torch_thread():
        folder, task = tmp_path_factory.mktemp("whole"), make_task()
        result = train(folder, task=task)
    return folder, task.network.state_dict(), result


_KILLED = """
import sys
sys.path[:0] = sys.argv[2:]
import torch
torch.set_num_threads(1)
from test_training_loop import train
from pathlib import Path
train(Path(sys.argv[1]), progress=lambda report: print(report.epoch, flush=True))
"""


@pytest.mark.parametrize("epochs_before", [2])
def test_a_killed_training_ends_with_the_same_weights(
    tmp_path: Path, uninterrupted: tuple[Path, dict[str, Any], LoopResult], epochs_before: int
) -> None:
    tests = Path(__file__).parents[2]
    paths = [str(Path(__file__).parent), str(tests), str(Path(streamad.__file__).parents[1])]
    command = [sys.executable, "-c", _KILLED, str(tmp_path), *paths]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == epochs_before:
                os.kill(process.pid, signal.SIGKILL)
                break
    assert process.returncode == -signal.SIGKILL
    already = len(checkpoint(tmp_path)["history"])
    assert epochs_before <= already < EPOCHS

    task = make_task()
    reports: list[EpochReport] = []
    result = train(tmp_path, task=task, progress=reports.append)
    folder, weights, whole = uninterrupted
    assert [r.epoch for r in reports] == list(range(already + 1, EPOCHS + 1))  # went on, did not start anew
    assert same_state(task.network.state_dict(), weights)
    assert same_state(checkpoint(tmp_path)["networks"]["adacl"], checkpoint(folder)["networks"]["adacl"])
    assert (result.best_epoch, result.best_validation) == (whole.best_epoch, whole.best_validation)
    mine, theirs = (
        [{k: v for k, v in epoch.items() if k != "seconds"} for epoch in r.history] for r in (result, whole)
    )
    assert mine == theirs


def test_epochs_added_later_equal_epochs_planned_at_once(
    tmp_path: Path, uninterrupted: tuple[Path, dict[str, Any], LoopResult]
) -> None:
    train(tmp_path, epochs=1)
    train(tmp_path, epochs=3)
    task = make_task()
    train(tmp_path, epochs=EPOCHS, task=task)
    assert same_state(task.network.state_dict(), uninterrupted[1])


def test_a_finished_training_started_again_only_loads_its_best(
    uninterrupted: tuple[Path, dict[str, Any], LoopResult],
) -> None:
    task = make_task()
    reports: list[EpochReport] = []
    result = train(uninterrupted[0], task=task, progress=reports.append)
    assert reports == []
    assert result.epochs_run == EPOCHS
    assert same_state(task.network.state_dict(), uninterrupted[1])


@pytest.mark.parametrize("other", [{"seed": 4}, {"samples": 47}])
def test_the_checkpoint_of_another_training_is_refused_and_left_alone(
    uninterrupted: tuple[Path, dict[str, Any], LoopResult], other: dict[str, int]
) -> None:
    path = uninterrupted[0] / "checkpoint.pt"
    before = path.read_bytes()
    with pytest.raises(UsageError, match="another training") as caught:
        train(uninterrupted[0], **other)
    assert str(path) in str(caught.value)
    assert "--out" in (caught.value.hint or "")
    assert path.read_bytes() == before


def test_other_options_are_another_training(uninterrupted: tuple[Path, dict[str, Any], LoopResult]) -> None:
    task = make_task()
    task.options = AdaclOptions(lags=(0, 2, 4), kinds=("rotate",), batch=16)
    with pytest.raises(UsageError, match="another training"):
        train(uninterrupted[0], task=task)


@pytest.mark.parametrize("damage", ["empty", "truncated", "text", "list"])
def test_a_damaged_checkpoint_is_named(
    tmp_path: Path, uninterrupted: tuple[Path, dict[str, Any], LoopResult], damage: str
) -> None:
    content = (uninterrupted[0] / "checkpoint.pt").read_bytes()
    path = tmp_path / "checkpoint.pt"
    path.write_bytes({"empty": b"", "truncated": content[:5000], "text": b"hello", "list": b""}[damage])
    if damage == "list":
        torch.save([1, 2], path)
    with pytest.raises(UsageError, match=r"checkpoint\.pt"):
        train(tmp_path)


class Scripted:
    """A task whose validation follows a script; its one weight counts the steps."""

    def __init__(
        self,
        validations: list[float],
        losses: Callable[[int], float] = lambda step: 1.0,
        keep: Literal["best", "last"] = "best",
    ) -> None:
        self.keep = keep
        self.network: Any = torch.nn.Linear(1, 1, bias=False)
        self.networks = {"one": self.network}
        self.optimizers = {"sgd": torch.optim.SGD(self.network.parameters(), lr=0.1)}
        self.compute = Compute()
        with torch.no_grad():
            self.network.weight.zero_()
        self._validations = validations
        self._losses = losses
        self.validated = 0
        self.visited: list[list[int]] = []

    steps_per_epoch = 3

    def training_step(self, step: int, rows: np.ndarray, rng: np.random.Generator) -> float:
        with torch.no_grad():
            self.network.weight.add_(1)
        self.visited.append(rows.tolist())
        return self._losses(step)

    def validate(self) -> float:
        self.validated += 1
        return self._validations[self.validated - 1]

    def description(self) -> dict[str, Any]:
        return {"task": "scripted"}


def run_script(folder: Path, validations: list[float], patience: int, **options: Any) -> tuple[Scripted, LoopResult]:
    task = Scripted(validations, **options)
    result = run_loop(task, samples=10, epochs=len(validations), patience=patience, seed=1, folder=folder)
    return task, result


def test_the_last_weights_are_kept_where_the_task_says_so(tmp_path: Path) -> None:
    task, result = run_script(tmp_path, [0.5, 0.9, 0.1, 0.1, 0.1], 1, keep="last")
    assert (result.epochs_run, result.best_epoch) == (5, 2)  # patience stops nothing
    assert task.network.weight.item() == 3 * 5
    assert checkpoint(tmp_path)["best_network"] is None
    again, _ = run_script(tmp_path, [0.5, 0.9, 0.1, 0.1, 0.1], 1, keep="last")
    assert again.network.weight.item() == 3 * 5


def test_a_validation_that_is_no_number_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="validation is nan after epoch 2"):
        run_script(tmp_path, [0.5, float("nan"), 0.1], 9)


@pytest.mark.parametrize(
    ("validations", "patience", "epochs", "best"),
    [
        ([0.5, 0.6, 0.55, 0.6, 0.9], 2, 4, 2),  # equal is no improvement; the 0.9 is never seen
        ([0.5, 0.6, 0.55, 0.7, 0.6], 2, 5, 4),
        ([0.9, 0.1, 0.1, 0.1], 1, 2, 1),
        ([0.1, 0.2, 0.3], 1, 3, 3),
        ([0.5, 0.4, 0.3], 99, 3, 1),
    ],
)
def test_training_stops_when_patience_is_over_and_keeps_the_best(
    tmp_path: Path, validations: list[float], patience: int, epochs: int, best: int
) -> None:
    task, result = run_script(tmp_path, validations, patience)
    assert (result.epochs_run, result.best_epoch, result.best_validation) == (epochs, best, validations[best - 1])
    assert task.validated == epochs
    assert task.network.weight.item() == 3 * best  # the weights of the best epoch, not of the last
    log = json.loads((tmp_path / "log.json").read_text())
    assert [h["validation"] for h in log["history"]] == validations[:epochs]


def test_a_stopped_training_stays_stopped(tmp_path: Path) -> None:
    run_script(tmp_path, [0.5, 0.4, 0.9], 1)
    task, result = run_script(tmp_path, [0.5, 0.4, 0.9], 1)
    assert task.validated == 0
    assert result.epochs_run == 2


def test_each_epoch_visits_every_sample_once_in_a_new_order(tmp_path: Path) -> None:
    task, _ = run_script(tmp_path, [0.1, 0.2, 0.3], 9)
    epochs = [[row for rows in task.visited[3 * k : 3 * k + 3] for row in rows] for k in range(3)]
    assert all(sorted(order) == list(range(10)) for order in epochs)
    assert len({tuple(order) for order in epochs}) == 3


def test_progress_tells_losses_and_the_time_that_remains(tmp_path: Path) -> None:
    reports: list[EpochReport] = []
    steps: list[tuple[int, int]] = []
    task = Scripted([0.1, 0.3, 0.2], losses=float)
    run_loop(
        task, samples=10, epochs=3, patience=9, seed=1, folder=tmp_path,
        progress=reports.append, step_progress=lambda done, total: steps.append((done, total)),
    )  # fmt: skip
    assert [(r.epoch, r.loss, r.validation, r.best) for r in reports] == [
        (1, 1.0, 0.1, 0.1),
        (2, 4.0, 0.3, 0.3),
        (3, 7.0, 0.2, 0.3),
    ]
    assert steps == [(k + 1, 9) for k in range(9)]
    assert reports[-1].remaining_seconds == 0
    assert reports[0].remaining_seconds >= reports[0].seconds


def test_a_loss_that_is_not_finite_ends_the_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="loss is nan after epoch 2"):
        run_script(tmp_path, [0.1, 0.2, 0.3], 9, losses=lambda step: float("nan") if step > 3 else 1.0)
    assert len(checkpoint(tmp_path)["history"]) == 1  # the good epoch is kept


def test_nothing_to_train_on(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="nothing to train on"):
        train(tmp_path, samples=0)


def test_a_log_that_cannot_be_written_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "log.json").mkdir()
    with pytest.raises(OutputError, match=r"log\.json"):
        run_script(tmp_path, [0.1], 9)
