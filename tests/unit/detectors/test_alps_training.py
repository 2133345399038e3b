"""ALPS's training: who learns in which step, the losses, the scores, resumption, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from streamad.detectors.alps.network import squared_error  # noqa: E402
from streamad.detectors.alps.training import AlpsOptions, AlpsTask, image_task  # noqa: E402
from streamad.errors import UsageError  # noqa: E402
from streamad.training.loop import run_loop  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

MODES = ("alps", "ae", "noise")


def bars(n: int, seed: int = 0, side: int = 28, channels: int = 1) -> np.ndarray:
    """Images of a bright bar at a random height."""
    rng = np.random.default_rng(seed)
    out = rng.integers(0, 30, (n, channels, side, side), dtype=np.uint8)
    for k, top in enumerate(rng.integers(4, side - 8, n)):
        out[k, :, top : top + 4, 4:-4] = 200
    return out


def task(n: int = 64, **options: Any) -> AlpsTask:
    chosen = {"width": 8, "latent": 6, "batch": 16, "epochs": 2, **options}
    return AlpsTask(bars(n), bars(20, 1), AlpsOptions(**chosen), seed=3)


def state(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in module.state_dict().items()}


def changed(before: dict[str, torch.Tensor], module: torch.nn.Module) -> list[str]:
    return [name for name, value in module.state_dict().items() if not torch.equal(value, before[name])]


def prepared(t: AlpsTask) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Images, their latents and scale, as both steps take them."""
    x = t._input(t.images)
    t.network.train()
    with torch.no_grad():
        latents = t._net.encoder(x)
        return x, latents, t._net.scale(latents)


def perturbed_error(t: AlpsTask, x: torch.Tensor, latents: torch.Tensor, scale: torch.Tensor) -> float:
    with torch.no_grad():
        return float(squared_error(x, t._net.decoder(latents + t._net.perturb(x, scale))).mean())


def test_the_distorters_step_raises_the_perturbed_error_and_leaves_the_autoencoder_alone() -> None:
    t = task(noise=0.0, epsilon=20.0, distorter_rate=3e-3)  # far, so that even a fresh decoder's answer depends on it
    rng = np.random.default_rng(0)
    x, latents, scale = prepared(t)
    assert t._net.distorter is not None
    assert t._net.distorter.training
    before = {name: state(part) for name, part in t._net.named_children()}
    error = perturbed_error(t, x, latents, scale)
    before["distorter"] = state(t._net.distorter)
    for _ in range(10):
        t._distorter_step(x, latents, scale, rng)
    assert perturbed_error(t, x, latents, scale) > error * 1.02
    for part in ("encoder", "decoder", "scale"):
        assert changed(before[part], getattr(t._net, part)) == []
    assert all(p.grad is None or not p.grad.abs().sum() for p in t._net.encoder.parameters())
    assert all(p.requires_grad for p in t._net.parameters())
    weights = {name for name, _ in t._net.distorter.named_parameters()}
    assert weights <= set(changed(before["distorter"], t._net.distorter))


@pytest.mark.parametrize("plain_term", [True, False])
def test_the_autoencoders_step_lowers_its_loss_and_leaves_the_distorter_alone(plain_term: bool) -> None:
    t = task(noise=0.0, plain_term=plain_term, distorter_every=3)
    assert t._net.distorter is not None
    rng = np.random.default_rng(0)
    losses = [t.training_step(0, np.arange(64), rng)]
    distorter, decoder, encoder = (state(part) for part in (t._net.distorter, t._net.decoder, t._net.encoder))
    losses += [t.training_step(step, np.arange(64), rng) for step in (1, 2)]
    assert changed(distorter, t._net.distorter) == []  # statistics of BatchNorm included
    assert {name for name, _ in t._net.decoder.named_parameters()} == set(changed(decoder, t._net.decoder))
    assert {name for name, _ in t._net.encoder.named_parameters()} <= set(changed(encoder, t._net.encoder))
    assert losses[2] < losses[0]
    t.training_step(3, np.arange(64), rng)
    assert changed(distorter, t._net.distorter) != []


class Recording:
    """A generator that keeps what `standard_normal` gave."""

    def __init__(self, seed: int) -> None:
        self._rng = np.random.default_rng(seed)
        self.drawn: list[np.ndarray] = []

    def standard_normal(self, *arguments: Any, **named: Any) -> np.ndarray:
        self.drawn.append(self._rng.standard_normal(*arguments, **named))
        return self.drawn[-1]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("plain_term", [True, False])
def test_the_loss_of_every_mode(mode: str, plain_term: bool) -> None:
    t = task(mode=mode, plain_term=plain_term, noise=0.5, epsilon=0.3)
    net = t._net
    rng: Any = Recording(4)
    x, latents, scale = prepared(t)
    if net.distorter is not None:
        net.distorter.eval()
    with torch.no_grad():
        plain = ((net.decoder(latents) - x) ** 2).mean().item()
        learned = 0.0 if net.distorter is None else 0.3 * scale * torch.tanh(net.distorter(x))
        drawn = Recording(4).standard_normal((64, 6), dtype=np.float32)
        hard = ((net.decoder(latents + 0.5 * scale * torch.from_numpy(drawn) + learned) - x) ** 2).mean().item()
    expected = {"ae": plain}.get(mode, hard + plain if plain_term else hard)
    loss = t.training_step(1, np.arange(64), rng)  # step 1: no step of the distorter
    assert loss == pytest.approx(expected, rel=1e-4)
    assert len(rng.drawn) == (0 if mode == "ae" else 1)


def test_the_learning_rates_are_two_cycles_of_one_shape() -> None:
    t = task(rate=4e-3, distorter_rate=1e-3, distorter_every=1, epochs=5)
    rates: dict[str, list[float]] = {"autoencoder": [], "distorter": []}
    for step in range(20):
        t.training_step(step, np.arange(4), np.random.default_rng(0))
        for name, optimizer in t.optimizers.items():
            rates[name].append(optimizer.param_groups[0]["lr"])
            assert optimizer.param_groups[0]["betas"] == (0.5, 0.9)
    np.testing.assert_allclose(rates["autoencoder"], 4 * np.array(rates["distorter"]))
    assert max(rates["autoencoder"]) == pytest.approx(4e-3)
    assert rates["autoencoder"][-1] < 0.1 * 4e-3


@pytest.mark.parametrize("contrast", [False, True])
def test_scores_of_the_three_kinds(contrast: bool) -> None:
    t = task(contrast=contrast)
    t.training_step(0, np.arange(64), np.random.default_rng(0))
    test = bars(300, 5)  # more than are scored at once
    scores = t.score_images(test)
    assert list(scores) == ["perturbed", "plain", "mean", "mean_scaled"]
    assert all(s.shape == (300,) and s.dtype == np.float64 for s in scores.values())
    net = t._net.eval()
    with torch.no_grad():
        x = torch.from_numpy(test.astype(np.float32) / 127.5 - 1)
        np.testing.assert_allclose(scores["perturbed"], net(x).numpy(), rtol=1e-4)
        seen = net.prepare(x)
        plain = ((net.decoder(net.encoder(seen)) - seen).numpy() ** 2).reshape(300, -1).mean(axis=1)
    np.testing.assert_allclose(scores["plain"], plain, rtol=1e-4)
    np.testing.assert_allclose(scores["mean"], (scores["perturbed"] + scores["plain"]) / 2)
    scaled = [(s - s.min()) / (s.max() - s.min()) for s in (scores["perturbed"], scores["plain"])]
    np.testing.assert_allclose(scores["mean_scaled"], sum(scaled) / 2)
    repeated = t.score_images(np.repeat(test[:1], 2, axis=0))
    assert not repeated["mean_scaled"].any()  # no span to scale by


@pytest.mark.parametrize("mode", MODES)
def test_the_weighted_score_is_listed_beside_the_others_and_comes_first(mode: str) -> None:
    t = task(mode=mode, score="weighted")
    t.validate()
    assert t._net.normal is not None
    assert not torch.equal(t._net.normal.precision, torch.eye(6))
    scores = t.score_images(t.validation)
    unweighted = "perturbed" if mode == "alps" else "plain"
    assert next(iter(scores)) == "weighted"
    x = t._input(t.validation)
    with torch.no_grad():
        distances = t._net.normal(t._net.encoder(x)).numpy()
        np.testing.assert_allclose(scores["weighted"], t.network(x).numpy(), rtol=1e-5)
    np.testing.assert_allclose(scores["weighted"], scores[unweighted] * distances, rtol=1e-5)


def test_validation_and_the_still_score_are_of_held_out_normal_images() -> None:
    t = task()
    errors = t.score_images(t.validation)["perturbed"]
    assert t.validate() == pytest.approx(-errors.mean())
    assert t.lowest_normal() == pytest.approx(np.quantile(errors, 0.01))


def test_a_short_training_reconstructs_normal_images_better_than_others(tmp_path: Path) -> None:
    t = task(192, epochs=8, rate=4e-3, width=16, noise=0.3)
    start = t.validate()
    run_loop(t, samples=192, epochs=t.epochs, patience=t.patience, seed=1, folder=tmp_path)
    assert t.validate() > 0.5 * start
    scores = t.score_images(np.concatenate([bars(30, 7), bars(30, 8).transpose(0, 1, 3, 2)]))
    for errors in scores.values():
        assert np.median(errors[30:]) > 1.5 * np.median(errors[:30])


@pytest.mark.parametrize("mode", ["ae", "noise"])
def test_the_ablations_have_the_plain_error_alone_and_add_no_noise_when_scoring(mode: str) -> None:
    t = task(mode=mode, noise=5.0)
    assert list(t.score_images(t.validation)) == ["plain"]
    np.testing.assert_array_equal(t.score_images(t.validation)["plain"], t.score_images(t.validation)["plain"])


@pytest.mark.parametrize("mode", MODES)
def test_a_resumed_training_ends_with_the_same_bits(mode: str, tmp_path: Path) -> None:
    def train(folder: Path, stop_after: int | None = None) -> AlpsTask:
        t = task(48, mode=mode, epochs=3)
        report: Callable[[Any], None] | None = None
        if stop_after is not None:

            def report(progress: Any) -> None:
                if progress.epoch == stop_after:
                    raise KeyboardInterrupt

        run_loop(t, samples=48, epochs=3, patience=9, seed=5, folder=folder, progress=report)
        return t

    whole = train(tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        train(tmp_path / "parts", stop_after=1)
    resumed = train(tmp_path / "parts")
    assert changed(state(whole.network), resumed.network) == []


def test_another_network_is_another_training(tmp_path: Path) -> None:
    run_loop(task(), samples=64, epochs=1, patience=9, seed=5, folder=tmp_path)
    for other in ({"width": 16}, {"latent": 5}, {"mode": "ae"}):
        with pytest.raises(UsageError, match="another training"):
            run_loop(task(**other), samples=64, epochs=1, patience=9, seed=5, folder=tmp_path)
    assert task().description()["detector"] == "alps"


def test_image_task_takes_presets_and_overrides() -> None:
    given = {"epochs": "3", "noise": "0.25", "width": "8", "plain_term": "yes"}
    t = image_task(bars(20), bars(5), data_set="mnist", seed=2, options=given)
    assert (t.epochs, t.options.noise, t.options.width, t.options.plain_term) == (3, 0.25, 8, True)
    assert t.keep == "last"
    assert set(t.optimizers) == {"autoencoder", "distorter"}
    assert set(image_task(bars(20), bars(5), data_set="mnist", seed=2, options={"mode": "ae"}).optimizers) == {
        "autoencoder"
    }
    color = image_task(bars(4, side=32, channels=3), bars(4, side=32, channels=3), data_set="cifar10", seed=2)
    assert color.score_images(bars(2, side=32, channels=3))["perturbed"].shape == (2,)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"mode": "gan"}, "mode"),
        ({"epsilon": "0"}, "epsilon"),
        ({"epsilon": "nan"}, "epsilon"),
        ({"noise": "-1"}, "noise"),
        ({"width": "7"}, "even"),
        ({"width": "wide"}, "width"),
        ({"batch": 0}, "batch"),
        ({"distorter_every": 0}, "distorter_every"),
        ({"depth": 3}, "no option depth"),
    ],
)
def test_wrong_options_are_named(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        image_task(bars(4), bars(4), data_set="mnist", seed=1, options=options)


def test_wrong_images_are_named() -> None:
    with pytest.raises(UsageError, match="cifar11"):
        image_task(bars(4), bars(4), data_set="cifar11", seed=1)
    for wrong in (bars(4)[..., :-2], bars(4)[:0], bars(4).astype(np.float32), bars(4)[:, 0]):
        with pytest.raises(UsageError, match="uint8"):
            AlpsTask(wrong, bars(4))
    with pytest.raises(UsageError, match="validation"):
        AlpsTask(bars(4), bars(4, side=30))
    with pytest.raises(UsageError, match="this network scores"):
        task().score_images(bars(4, side=30))
