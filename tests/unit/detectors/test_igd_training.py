"""IGD's training: the E and the M step, resumption, options, and that it learns."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from streamad.detectors.igd.options import PRESETS, IgdOptions  # noqa: E402
from streamad.detectors.igd.training import IgdTask, image_task  # noqa: E402
from streamad.errors import EngineError, UsageError  # noqa: E402
from streamad.training.loop import run_loop  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

TINY: dict[str, Any] = {"width": 4, "descriptor": 8, "batch": 16, "epochs": 2}


def bars(count: int, side: int = 32, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Pictures of one vertical bar, in one of three places."""
    rng = np.random.default_rng(seed)
    images = np.full((count, channels, side, side), 40, np.uint8)
    for image, at in zip(images, rng.integers(2, 5, count) * (side // 8), strict=True):
        image[:, :, at : at + side // 8] = 200
    return images


def task(images: np.ndarray | None = None, **options: Any) -> IgdTask:
    images = bars(48) if images is None else images
    return IgdTask(images, images[:8], IgdOptions(**{**TINY, **options}), seed=2)


def train(trained: IgdTask, folder: Path, epochs: int | None = None) -> None:
    run_loop(
        trained, samples=len(trained.images), epochs=epochs or trained.epochs, patience=trained.patience, seed=2,
        folder=folder,
    )  # fmt: skip


@pytest.mark.parametrize("side", [28, 64])
def test_a_training_that_goes_on_ends_with_the_same_bits(tmp_path: Path, side: int) -> None:
    whole, parted = (task(bars(32, side)) for _ in range(2))
    train(whole, tmp_path / "whole")
    train(task(bars(32, side)), tmp_path / "parts", epochs=1)
    train(parted, tmp_path / "parts")
    for name, network in whole.networks.items():
        other = parted.networks[name].state_dict()
        assert all(torch.equal(value, other[key]) for key, value in network.state_dict().items())


@pytest.mark.parametrize("change", [{"width": 8}, {"rho": 0.2}, {"pooling": "peak"}])
def test_the_checkpoint_of_another_network_is_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    train(task(), tmp_path, epochs=1)
    with pytest.raises(UsageError, match=f"another training: {next(iter(change))} is"):
        train(task(**change), tmp_path)
    assert task().description()["detector"] == "igd"


def test_the_e_step_takes_all_images_as_they_are_scored(tmp_path: Path) -> None:
    trained = task()
    train(trained, tmp_path)
    net: Any = trained.network.eval()
    with torch.no_grad():
        z = net.whole.encoder(torch.from_numpy(trained.images / np.float32(255))).double().numpy()
    gaussian = net.whole.gaussian
    np.testing.assert_allclose(gaussian.mu.numpy(), z.mean(axis=0), atol=1e-5)
    squared = max(1.0, 0.5 * ((z - z.mean(axis=0)) ** 2).sum(axis=1).mean())
    assert gaussian.sigma.item() == pytest.approx(np.sqrt(squared), rel=1e-4)


def test_the_local_e_step_takes_the_same_patches_again() -> None:
    trained = task(bars(20, 64), patches=2)
    trained.estimate()
    net: Any = trained.network
    first = net.patch.gaussian.mu.clone()
    trained.estimate()
    assert torch.equal(net.patch.gaussian.mu, first)
    assert first.abs().sum() > 0


@pytest.mark.slow
def test_it_learns_and_says_where_the_defect_is() -> None:
    images = bars(96)
    trained = task(images, epochs=20, learning_rate=4e-3, batch=24)
    rng = np.random.default_rng(0)
    steps = trained.epochs * trained.steps_per_epoch
    losses = [trained.training_step(step, rng.integers(0, 96, 24), rng) for step in range(steps)]
    trained.validate()
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:10])
    normal = bars(24, seed=9)
    defect = normal.copy()
    defect[:, :, 24:28, 22:28] = 255
    good, bad = trained.score_images(normal), trained.score_images(defect)
    assert list(good) == ["combined", "reconstruction", "svdd"]
    assert all(values.shape == (24,) and values.dtype == np.float64 for values in good.values())
    assert bad["reconstruction"].min() > good["reconstruction"].max()
    assert bad["combined"].mean() > good["combined"].mean()
    with torch.no_grad():
        heat = trained._net.parts(torch.from_numpy(defect / np.float32(255))).anomaly_map.mean(dim=0).numpy()
    row, col = np.unravel_index(heat.argmax(), heat.shape)
    assert 22 <= row < 30
    assert 20 <= col < 30
    sigma = float(trained._net.whole.gaussian.sigma)
    assert 1.0 <= sigma < 20


def test_the_parts_of_the_score_are_in_units_of_held_out_normal_images() -> None:
    """Each part by its own spread, whatever the two losses' sizes; the other way it is the losses' mixture."""
    for balance in ("normal", "loss"):
        trained = task(balance=balance, xi=0.3)
        rng = np.random.default_rng(0)
        for step in range(12):  # untrained, the descriptors of all images are the same
            trained.training_step(step, np.arange(16), rng)
        trained.validate()
        scores = trained.score_images(trained.validation)
        if balance == "normal":
            expected = sum(
                share * scores[name] / scores[name].std() for share, name in ((0.3, "reconstruction"), (0.7, "svdd"))
            )
        else:
            expected = 0.3 * scores["reconstruction"] + 0.7 * trained.options.svdd * scores["svdd"]
        np.testing.assert_allclose(scores["combined"], expected, rtol=1e-4)
        assert ("units" in trained.network.state_dict()) == (balance == "normal")


def test_the_critic_learns_and_takes_no_part_in_what_is_exported() -> None:
    trained = task()
    before = {name: value.clone() for name, value in trained.networks["critic"].named_parameters()}
    rng = np.random.default_rng(0)
    trained.training_step(0, np.arange(16), rng)
    assert any(not torch.equal(before[name], value) for name, value in trained.networks["critic"].named_parameters())
    assert all(parameter.requires_grad for parameter in trained.networks["critic"].parameters())
    without = task(interpolated=0.0)
    kept = {name: value.clone() for name, value in without.networks["critic"].named_parameters()}
    without.training_step(0, np.arange(16), rng)
    assert all(torch.equal(kept[name], value) for name, value in without.networks["critic"].named_parameters())
    assert not any("critic" in name for name in trained.network.state_dict())


def test_what_suits_the_size_is_filled_in() -> None:
    small, large = IgdOptions().for_side(28), IgdOptions().for_side(256)
    assert (small.batch, small.width, small.scales, small.window) == (32, 16, 3, 5)
    assert (large.batch, large.width, large.scales, large.window) == (16, 8, 5, 11)
    assert IgdOptions(width=7).for_side(256).width == 7
    assert task().options.scales == 3


def test_the_papers_schedule_falls_to_zero() -> None:
    trained = task(schedule="polynomial", learning_rate=1e-3)
    steps = trained.epochs * trained.steps_per_epoch
    rates = [trained._rate(step, steps) for step in range(steps + 1)]
    assert rates[0] == 1e-3
    assert rates[-1] == 0
    assert all(late < early for early, late in pairwise(rates))


@pytest.mark.parametrize("data_set", [*PRESETS, "another"])
def test_image_tasks_take_text_and_presets(data_set: str) -> None:
    trained = image_task(
        bars(8, 28), bars(4, 28), data_set=data_set, seed=1, options={"width": "4", "descriptor": "8", "batch": "4"}
    )
    assert (trained.options.width, trained.steps_per_epoch) == (4, 2)
    assert trained.epochs == trained.options.epochs


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"color": 1}, "no option color"),
        ({"width": "wide"}, "option width"),
        ({"rho": 2}, r"rho must be in \[0, 1\], got 2"),
        ({"epochs": 0}, "epochs must be at least 1, got 0"),
        ({"kappa": 0}, "kappa must be above 0"),
        ({"noise": -1}, "noise must not be negative"),
        ({"pooling": "median"}, "option pooling"),
        ({"window": 9}, "7 px at scale 3"),
        ({"teacher": "keras:resnet"}, "no teacher"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        image_task(bars(4, 28), bars(4, 28), data_set="mnist", seed=1, options=options)


def test_wrong_images_and_devices_are_named() -> None:
    with pytest.raises(UsageError, match=r"images must be \(n, channels, side, side\) uint8"):
        IgdTask(bars(4)[:, :, :20], bars(4))
    with pytest.raises(UsageError, match="float64"):
        IgdTask(bars(4) / 255, bars(4))
    with pytest.raises(UsageError, match="shape"):
        IgdTask(bars(4), bars(4, 28))
    with pytest.raises(EngineError, match="tpu"):
        IgdTask(bars(4), bars(4), device="tpu")
