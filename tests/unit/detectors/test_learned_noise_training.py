"""Learned noise's training: what each of the two steps changes, the bound, the variants, resumption."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from streamad.detectors.learned_noise.network import (  # noqa: E402
    clip_generator,
    clip_reconstructor,
    implant,
    quieten,
)
from streamad.detectors.learned_noise.training import (  # noqa: E402
    ClipTask,
    LearnedNoiseOptions,
    image_task,
)
from streamad.detectors.options import parse_options  # noqa: E402
from streamad.errors import UsageError  # noqa: E402
from streamad.training.loop import run_loop  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def options(**given: Any) -> LearnedNoiseOptions:
    return parse_options(LearnedNoiseOptions, {"width": 0.06, "batch": 2, "crop": 32, "epochs": 3, **given}, "test")


def frames(count: int = 24) -> np.ndarray:
    rng = np.random.default_rng(0)
    still = rng.integers(60, 120, (48, 64))
    pictures = np.repeat(still[None], count, axis=0).astype(np.uint8)
    for k in range(count):
        pictures[k, 8:16, 2 * k : 2 * k + 8] = 230
    return pictures


def task(**given: Any) -> ClipTask:
    pictures = frames()
    starts = np.arange(len(pictures) - 15)
    return ClipTask(pictures, starts, pictures, starts, options(**given), seed=3)


def copy(network: Any) -> dict[str, Any]:
    return {name: value.clone() for name, value in network.state_dict().items()}


def changed(before: dict[str, Any], network: Any) -> bool:
    return any(not torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_each_step_changes_its_own_network_alone() -> None:
    one = task()
    assert one.generator is not None
    normal = one._input(np.stack([frames()[k : k + 16, :32, :32] for k in range(2)]))
    before = copy(one.reconstructor), copy(one.generator)
    pseudo = one._generate(normal)
    assert not changed(before[0], one.reconstructor)  # weights and BatchNorm's statistics are frozen in G's step
    assert changed(before[1], one.generator)
    assert not pseudo.requires_grad
    assert float(pseudo.abs().max()) <= 1
    assert not torch.equal(pseudo, normal)
    assert all(p.requires_grad for p in one.reconstructor.parameters())
    middle = copy(one.generator)
    one.generator.requires_grad_(False)
    one.options = options(noise="none")
    one._step(normal, 0, np.random.default_rng(0))
    assert not changed(middle, one.generator)
    assert changed(before[0], one.reconstructor)


def test_the_loss_of_the_reconstructor_is_against_the_normal_clip() -> None:
    """With p = 1 the input is all noise, yet the loss falls towards what reconstructs the normal clip."""
    one = task(noise="gaussian", sigma=0.5, probability=1.0, learning_rate=1e-3)
    seen: list[Any] = []
    one.reconstructor.register_forward_hook(lambda _, inputs, output: seen.append((inputs[0], output.detach())))
    normal = one._input(np.stack([frames()[k : k + 16, :32, :32] for k in range(2)]))
    loss = one._step(normal, 0, np.random.default_rng(0))
    fed, rebuilt = seen[0]
    assert float((fed - normal).std()) > 0.3
    assert loss == pytest.approx(float(((rebuilt - normal) ** 2).mean()), rel=1e-5)


@pytest.mark.parametrize(("probability", "share"), [(0.0, 0.0), (1.0, 1.0), (0.5, 0.5)])
def test_a_share_of_the_samples_is_pseudo_anomalous(probability: float, share: float) -> None:
    one = task(noise="gaussian", probability=probability)
    fed: list[Any] = []
    one.reconstructor.register_forward_pre_hook(lambda _, inputs: fed.append(inputs[0].clone()))
    normal = torch.zeros(1, 1, 16, 16, 16).expand(200, 1, 16, 16, 16)
    one._step(normal, 0, np.random.default_rng(0))
    noisy = (fed[0] != 0).flatten(1).any(dim=1)
    assert float(noisy.float().mean()) == pytest.approx(share, abs=0.1)


def test_the_generators_loss_is_equation_7(monkeypatch: pytest.MonkeyPatch) -> None:
    one = task(amplitude=0.1)
    normal = one._input(np.stack([frames()[k : k + 16, :32, :32] for k in range(2)]))
    losses: list[float] = []
    real = one.compute.descend
    monkeypatch.setattr(one.compute, "descend", lambda loss, o: (losses.append(float(loss.detach())), real(loss, o)))
    assert one.generator is not None
    generated: list[Any] = []
    one.generator.register_forward_hook(lambda *args: generated.append(args[2].detach()))
    pseudo = one._generate(normal)
    with torch.no_grad():
        rebuilt = one.reconstructor.eval()(pseudo).numpy()
    x, p = normal.numpy(), np.clip(normal.numpy() + generated[0].numpy(), -1, 1)
    np.testing.assert_allclose(pseudo.numpy(), p, atol=1e-6)
    assert losses[0] == pytest.approx(((rebuilt - p) ** 2).mean() - 0.1 * ((p - x) ** 2).mean(), rel=1e-4)


def test_the_generator_sees_only_what_becomes_a_pseudo_anomaly() -> None:
    """Each row that G was given lies in F's input as G changed it; the others lie there untouched."""
    one = task(probability=0.5)
    normal = torch.rand(16, 1, 16, 16, 16) - 0.5
    assert one.generator is not None
    seen: list[Any] = []
    fed: list[Any] = []
    one.generator.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].clone()))
    one.reconstructor.register_forward_pre_hook(lambda _, inputs: fed.append(inputs[0].detach().clone()))
    one._step(normal, 0, np.random.default_rng(1))
    changed_rows = (fed[-1] != normal).flatten(1).any(dim=1)  # the last: F's step is after G's
    assert 0 < int(changed_rows.sum()) < 16
    assert torch.equal(seen[0], normal[changed_rows])


def test_a_wider_network_starts_as_the_one_it_starts_from() -> None:
    """In evaluation and in training mode; its other channels are not idle: the next step changes their weights."""
    torch.manual_seed(0)
    narrow, wide = clip_reconstructor(0.06), clip_reconstructor(0.2)
    clips = torch.rand(2, 1, 16, 32, 48) * 2 - 1
    with torch.no_grad():
        narrow(clips)  # BatchNorm's running statistics shall not be those of a new network
    implant(narrow, wide)
    for train in (False, True):
        with torch.no_grad():
            np.testing.assert_allclose(
                wide.train(train)(clips).numpy(), narrow.train(train)(clips).numpy(), rtol=0, atol=1e-5
            )
    wide.train()
    ((wide(clips) - clips) ** 2).mean().backward()
    last = wide.decoder[-2].weight.grad
    assert last is not None
    assert bool((last.abs().flatten(1).sum(dim=1) > 0).all())


def test_the_noise_of_a_generator_beside_a_trained_reconstructor_begins_near_zero() -> None:
    torch.manual_seed(1)
    generator = clip_generator(0.1)
    clips = torch.rand(2, 1, 16, 32, 32) * 2 - 1
    with torch.no_grad():
        loud = float(generator(clips).std())
        quieten(generator)
        assert float(generator(clips).std()) < 0.03 * loud
    pictures = frames()
    starts = np.arange(len(pictures) - 15)
    one = ClipTask(pictures, starts, pictures, starts, options(), seed=3, start=clip_reconstructor(0.06))
    assert one.generator is not None
    with torch.no_grad():
        assert float(one.generator(clips).abs().max()) < 0.1


@pytest.mark.parametrize("schedule", ["constant", "one-cycle"])
def test_the_generator_can_learn_more_slowly(schedule: str) -> None:
    one = task(schedule=schedule, learning_rate=1e-3, generator_rate=0.1, probability=1.0, samples=4)
    one.training_step(0, np.arange(2), np.random.default_rng(0))
    rates = {name: optimizer.param_groups[0]["lr"] for name, optimizer in one.optimizers.items()}
    assert rates["generator"] == pytest.approx(0.1 * rates["reconstructor"])
    if schedule == "constant":
        assert rates["reconstructor"] == pytest.approx(1e-3)
    with pytest.raises(UsageError, match="generator_rate"):
        options(generator_rate=0)


def test_a_step_in_bfloat16_is_that_in_float32_to_its_digits() -> None:
    """Weights and optimizer stay in float32; the gradients point the same way."""
    gradients = []
    for precision in ("float32", "bfloat16"):
        one = task(noise="none", precision=precision, batch=4, width=0.2)
        one.training_step(0, np.arange(4), np.random.default_rng(0))
        assert {p.dtype for p in one.reconstructor.parameters()} == {torch.float32}
        gradients.append(torch.cat([p.grad.flatten() for p in one.reconstructor.parameters()]).double().numpy())
    plain, short = gradients
    assert not np.array_equal(plain, short)  # it did compute in another format
    assert float(plain @ short / np.linalg.norm(plain) / np.linalg.norm(short)) > 0.99


def test_a_network_cannot_start_from_a_wider_one_or_from_another_form() -> None:
    with pytest.raises(UsageError, match="does not fit into one of"):
        implant(clip_reconstructor(0.2), clip_reconstructor(0.06))
    with pytest.raises(UsageError, match="different layers"):
        implant(clip_generator(0.06), clip_reconstructor(0.06))


@pytest.mark.parametrize(("noise", "optimizer"), [("none", "adam"), ("learned", "adam"), ("learned", "muon")])
def test_a_training_that_was_stopped_ends_the_same(noise: str, optimizer: str, tmp_path: Path) -> None:
    def run(folder: Path, stop: bool) -> ClipTask:
        one = task(noise=noise, optimizer=optimizer, schedule="one-cycle", samples=4)

        def progress(report: Any) -> None:
            if stop and report.epoch == 1:
                raise KeyboardInterrupt

        run_loop(one, samples=9, epochs=one.epochs, patience=one.patience, seed=3, folder=folder, progress=progress)
        return one

    whole = run(tmp_path / "whole", stop=False)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "parts", stop=True)
    resumed = run(tmp_path / "parts", stop=False)
    for name, module in whole.networks.items():
        assert not changed(copy(module), resumed.networks[name])


def test_a_checkpoint_of_another_width_or_detector_is_refused(tmp_path: Path) -> None:
    one = task(noise="none", epochs=1, samples=2)
    run_loop(one, samples=9, epochs=1, patience=1, seed=3, folder=tmp_path)
    other = task(noise="none", epochs=1, samples=2, width=0.1)
    with pytest.raises(UsageError, match=r"another training: width is 0\.06 there, 0\.1 here"):
        run_loop(other, samples=9, epochs=1, patience=1, seed=3, folder=tmp_path)
    images = np.random.default_rng(0).integers(0, 255, (9, 1, 28, 28), dtype=np.uint8)
    third = image_task(images, images, data_set="mnist", seed=3, options={"width": 0.06, "epochs": 1})
    with pytest.raises(UsageError, match="form is not named there, image here"):
        run_loop(third, samples=9, epochs=1, patience=1, seed=3, folder=tmp_path)


def test_crops_that_move_are_preferred() -> None:
    """A square moves in the upper left of a still scene: crops shall show it more often than chance has it."""
    still, lively = task(moving=0.0, crop=16), task(moving=1.0, crop=16)
    pictures, rng = frames(16), np.random.default_rng(0)
    moved = [np.mean([one._clip(pictures, 0, rng).std(axis=0).max() > 5 for _ in range(60)]) for one in (still, lively)]
    assert moved[1] > moved[0] + 0.1


def test_images_of_28_pixels_are_padded_by_their_edge() -> None:
    images = np.random.default_rng(0).integers(0, 255, (5, 1, 28, 28), dtype=np.uint8)
    one = image_task(images, images, data_set="mnist", seed=1, options={"width": 0.1})
    padded = one._input(images).numpy()
    np.testing.assert_allclose(padded, np.pad(images, ((0, 0), (0, 0), (2, 2), (2, 2)), "edge") / 255.0, atol=1e-6)
    scores = one.score_images(images)["reconstruction"]
    with torch.no_grad():
        rebuilt = one.reconstructor.eval()(torch.from_numpy(padded)).numpy()
    np.testing.assert_allclose(scores, ((rebuilt - padded) ** 2).mean(axis=(1, 2, 3)), rtol=1e-5)


def test_images_that_do_not_fit_and_options_that_are_wrong_are_refused() -> None:
    images = np.zeros((4, 1, 64, 64), np.uint8)
    with pytest.raises(UsageError, match="28 to 32 pixels"):
        image_task(images, images, data_set="mvtec", seed=1, options={})
    with pytest.raises(UsageError, match="not a multiple of 16"):
        options(crop=40)
    with pytest.raises(UsageError, match="no option sigmas"):
        options(sigmas=1)
    with pytest.raises(UsageError, match="option noise"):
        options(noise="loud")
    with pytest.raises(UsageError, match="does not fit"):
        task(crop=64)
