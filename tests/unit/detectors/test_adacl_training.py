"""ADACL's training step: labels, loss, learning rate and the validation figure."""

from __future__ import annotations

from math import comb
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from sklearn.metrics import roc_auc_score  # noqa: E402

from streamad.detectors.adacl.training import AdaclOptions, AdaclTask, _auroc, image_task  # noqa: E402
from streamad.errors import UsageError  # noqa: E402
from streamad.training.loop import EpochReport, run_loop  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def cells(n: int, channels: int = 1, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, channels, 30, 30), dtype=np.uint8)


def small_task(options: AdaclOptions | None = None, n: int = 64) -> AdaclTask:
    return AdaclTask(cells(n), cells(40, seed=1), (0,), options or AdaclOptions(batch=16), seed=3)


class Recording:
    """A generator that keeps what `uniform` gave."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.drawn: list[np.ndarray] = []

    def uniform(self, *arguments: Any) -> Any:
        self.drawn.append(np.asarray(self._rng.uniform(*arguments)))
        return self.drawn[-1]

    def __getattr__(self, name: str) -> Any:
        return getattr(self._rng, name)


def test_labels_lie_in_their_intervals_and_the_loss_is_their_squared_error() -> None:
    task = small_task(AdaclOptions(kinds=("rotate",), flip=False))  # rotate draws nothing by `uniform`
    outputs: list[Any] = []
    task.network.register_forward_hook(lambda *args: outputs.append(args[2].detach().numpy()))
    rng: Any = Recording(5)
    loss = task.training_step(0, np.arange(64), rng)
    normal, anomaly = rng.drawn
    assert normal.shape == anomaly.shape == (64,)
    assert 0 <= normal.min() < 0.03 < 0.27 < normal.max() <= 0.3
    assert 0.7 <= anomaly.min() < 0.73 < 0.97 < anomaly.max() <= 1
    labels = np.concatenate([normal, anomaly])
    assert loss == pytest.approx(float(((outputs[0] - labels) ** 2).mean()), rel=1e-5)


def test_labels_are_drawn_anew_for_every_batch() -> None:
    task = small_task(AdaclOptions(kinds=("rotate",), flip=False))
    rng: Any = Recording(5)
    task.training_step(0, np.arange(64), rng)
    task.training_step(1, np.arange(64), rng)
    assert not np.intersect1d(rng.drawn[0], rng.drawn[2]).size


def test_network_sees_normal_cells_first_in_its_range() -> None:
    task = small_task(AdaclOptions(kinds=("rotate",), flip=False))
    seen: list[np.ndarray] = []
    task.network.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].numpy().copy()))
    task.training_step(0, np.array([5, 9]), np.random.default_rng(0))
    assert seen[0].shape == (4, 1, 30, 30)
    np.testing.assert_allclose(seen[0][:2], task.stacks[[5, 9]] / 127.5 - 1, atol=1e-6)
    for k in range(2):
        ways = [np.rot90(seen[0][k], q, axes=(-2, -1)) for q in (1, 3)]
        assert any(np.allclose(seen[0][2 + k], way) for way in ways)


def test_the_learning_rate_is_a_triangle_of_two_epochs_each_way() -> None:
    task = small_task(AdaclOptions(batch=16, learning_rates=(1e-4, 1e-3), half_cycle_epochs=2))
    assert task.steps_per_epoch == 4
    rates = []
    for step in range(34):
        task.training_step(step, np.arange(4), np.random.default_rng(step))
        rates.append(task.optimizer.param_groups[0]["lr"])
    corners = {0: 1e-4, 4: 5.5e-4, 8: 1e-3, 12: 5.5e-4, 16: 1e-4, 24: 1e-3, 32: 1e-4}
    for step, rate in corners.items():
        assert rates[step] == pytest.approx(rate)
    np.testing.assert_allclose(rates, np.interp(np.arange(34), [0, 8, 16, 24, 32, 40], [1e-4, 1e-3] * 3))


@pytest.mark.parametrize("ties", [False, True])
def test_auroc_equals_scikit_learn(ties: bool) -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        normal = rng.normal(0, 1, rng.integers(1, 50)).astype(np.float32)
        anomaly = rng.normal(0.5, 1, rng.integers(1, 50)).astype(np.float32)
        if ties:
            normal, anomaly = np.round(normal), np.round(anomaly)
        labels = [0] * len(normal) + [1] * len(anomaly)
        assert _auroc(normal, anomaly) == pytest.approx(roc_auc_score(labels, np.concatenate([normal, anomaly])))


def test_validation_is_the_auroc_of_held_out_cells_against_anomalies_made_of_them() -> None:
    task = small_task()
    normal, created = task._validation
    np.testing.assert_allclose(  # held-out cells, in some order
        np.sort(normal.reshape(40, -1), axis=0), np.sort(cells(40, seed=1).reshape(40, -1), axis=0)
    )
    both = torch.from_numpy(np.concatenate([normal, created]) / 127.5 - 1).float()
    with torch.no_grad():
        outputs = task.network.eval()(both).numpy()
    assert task.validate() == pytest.approx(roc_auc_score([0] * 40 + [1] * 40, outputs))
    assert task.validate() == task.validate()  # a fixed set


def test_still_score_is_a_low_quantile_of_normal_cells() -> None:
    task = small_task()
    with torch.no_grad():
        outputs = task.network.eval()(torch.from_numpy(task._validation[0] / 127.5 - 1).float()).numpy()
    assert task.lowest_normal() == pytest.approx(float(np.percentile(outputs, 1)), abs=1e-6)


@pytest.mark.slow
def test_a_few_steps_learn_to_tell_rotated_stripes() -> None:
    rows = np.zeros((256, 1, 30, 30), np.uint8)
    rows[:, :, ::3] = 200
    noise = np.random.default_rng(0).integers(0, 40, rows.shape, dtype=np.uint8)
    stacks = rows + noise
    options = AdaclOptions(kinds=("rotate",), batch=64, learning_rates=(1e-3, 1e-3))
    task = AdaclTask(stacks[:200], stacks[200:], (0,), options, seed=1)
    rng = np.random.default_rng(0)
    losses = [task.training_step(step, rng.integers(0, 200, 32), rng) for step in range(25)]
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
    assert task.validate() > 0.99


def test_labels_and_loss_of_the_ablations() -> None:
    task = small_task(AdaclOptions(kinds=("rotate",), flip=False, labels="discrete", loss="bce"))
    outputs: list[Any] = []
    task.network.register_forward_hook(lambda *args: outputs.append(args[2].detach().numpy().astype(np.float64)))
    loss = task.training_step(0, np.arange(64), np.random.default_rng(0))
    normal, anomaly = outputs[0][:64], outputs[0][64:]
    # −log(1 − σ(o)) for label 0 and −log σ(o) for label 1, by the definition
    expected = np.concatenate([np.log1p(np.exp(normal)), np.log1p(np.exp(-anomaly))]).mean()
    assert loss == pytest.approx(expected, rel=1e-5)
    narrow = small_task(AdaclOptions(kinds=("rotate",), flip=False, normal=(0.0, 0.1), anomaly=(0.9, 1.0)))
    rng: Any = Recording(5)
    narrow.training_step(0, np.arange(64), rng)
    assert rng.drawn[0].max() <= 0.1
    assert rng.drawn[1].min() >= 0.9


def test_images_become_a_task_with_its_kinds_and_scores() -> None:
    images = np.random.default_rng(0).integers(0, 256, (60, 3, 32, 32), dtype=np.uint8)
    task = image_task(images[:50], images[50:], data_set="cifar10", seed=1, options={"epochs": 2, "kinds": "rotate"})
    assert (task.epochs, task.keep, task.options.kinds) == (2, "last", ("rotate",))
    task.training_step(0, np.arange(16), np.random.default_rng(0))
    scores = task.score_images(images)
    assert list(scores) == ["regressed"]
    with torch.no_grad():
        expected = task.network.eval()(torch.from_numpy(images / 127.5 - 1).float()).numpy()
    np.testing.assert_allclose(scores["regressed"], expected, atol=1e-5)
    assert task.description()["detector"] == "adacl"
    with pytest.raises(UsageError, match="adacl has no option color"):
        image_task(images, images, data_set="mnist", seed=1, options={"color": "red"})


def test_averaged_weights_are_polynomial_means_of_all_steps() -> None:
    """With η the weights after step t count C(t + η − 1, η), which the running formula is the recursion of."""
    task = small_task(AdaclOptions(batch=16, averaging=3))
    seen = []
    for step in range(6):
        task.training_step(step, np.arange(16), np.random.default_rng(step))
        seen.append({name: value.clone().double() for name, value in task.networks["adacl"].state_dict().items()})
    counts = np.array([comb(t + 3 - 1, 3) for t in range(1, 7)], float)
    for name, mean in task.network.state_dict().items():
        if mean.is_floating_point():
            expected = sum(c * w[name] for c, w in zip(counts / counts.sum(), seen, strict=True))
            torch.testing.assert_close(mean.double(), expected, rtol=1e-4, atol=1e-6)
    assert not torch.equal(task.network.head[0].weight, task.networks["adacl"].head[0].weight)


def test_a_training_with_averaged_weights_that_was_stopped_ends_the_same(tmp_path: Path) -> None:
    def run(folder: Path, stop: bool) -> AdaclTask:
        task = small_task(AdaclOptions(batch=16, averaging=8, keep="last", epochs=2))

        def progress(report: EpochReport) -> None:
            if stop and report.epoch == 1:
                raise KeyboardInterrupt

        run_loop(task, samples=64, epochs=2, patience=2, seed=3, folder=folder, progress=progress)
        return task

    whole = run(tmp_path / "whole", stop=False)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", stop=True)
    resumed = run(tmp_path / "parts", stop=False)
    for one, other in zip(whole.network.state_dict().values(), resumed.network.state_dict().values(), strict=True):
        assert torch.equal(one, other)
