"""The networks of ALPS: shapes, the score by hand, the bound, and the export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bundle_support import small_manifest

torch = pytest.importorskip("torch")

from streamad.bundle import Manifest  # noqa: E402
from streamad.detectors.alps.network import (  # noqa: E402
    AlpsNet,
    Decoder,
    Distorter,
    Encoder,
    LatentScale,
    build,
    equal_contrast,
)
from streamad.errors import BundleError, UsageError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def network(channels: int = 1, side: int = 28, seed: int = 0, **options: Any) -> AlpsNet:
    """A small network with random BatchNorm statistics and a random scale of the latents."""
    torch.manual_seed(seed)
    net = AlpsNet(channels, side, **{"width": 8, "latent": 6, **options}).eval()
    with torch.no_grad():
        net.scale.running.uniform_(0.1, 3.0)
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.running_mean.uniform_(-0.2, 0.2)
                module.running_var.uniform_(0.05, 0.5)
    return net


def images(n: int, channels: int = 1, side: int = 28, seed: int = 0) -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(-1, 1, (n, channels, side, side)).astype(np.float32))


@pytest.mark.parametrize("side", [28, 30, 32])
@pytest.mark.parametrize("channels", [1, 3])
def test_shapes(side: int, channels: int) -> None:
    net, x = network(channels, side), images(3, channels, side)
    assert net.encoder(x).shape == (3, 6)
    assert net.distorter is not None
    assert net.distorter(x).shape == (3, 6)
    for perturbed in (False, True):
        given_back = net.reconstruct(x, perturbed=perturbed)
        assert given_back.shape == x.shape
        assert given_back.abs().max() <= 1
    assert net(x).shape == (3,)
    assert net(x[:1]).shape == (1,)


def test_layers_are_those_of_the_paper() -> None:
    def kinds(module: torch.nn.Module, kind: type) -> int:
        return sum(isinstance(m, kind) for m in module.modules())

    for encoder in (Encoder(1, 8, 6), Distorter(1, 8, 6)):
        assert kinds(encoder, torch.nn.Conv2d) == 4
        assert all(m.kernel_size == (5, 5) for m in encoder.modules() if isinstance(m, torch.nn.Conv2d))
    decoder = Decoder(1, 28, 8, 6)
    assert kinds(decoder, torch.nn.ConvTranspose2d) == 6
    assert kinds(decoder, torch.nn.Linear) == 1
    assert kinds(decoder, torch.nn.BatchNorm2d) == 0
    assert kinds(Encoder(1, 8, 6), torch.nn.BatchNorm2d) == 4


@pytest.mark.parametrize("side", [28, 30])
def test_every_pixel_depends_on_the_latent(side: int) -> None:
    decoder = Decoder(1, side, 8, 6)
    with torch.no_grad():
        several = decoder(torch.randn(20, 6, generator=torch.Generator().manual_seed(0)) * 5)
    assert float(several.std(0).min()) > 0


def numpy_encoding(state: dict[str, np.ndarray], name: str, image: np.ndarray, normed: int) -> np.ndarray:
    """GAP of four 5×5 convolutions in plain loops, the first `normed` with BatchNorm and LeakyReLU."""
    maps = image
    for number, stride in enumerate((2, 2, 2, 1)):
        place = f"{name}.layers.{3 * number}"
        weight = state[f"{place}.weight"]
        padded = np.pad(maps, ((0, 0), (2, 2), (2, 2)))
        size = (maps.shape[1] - 1) // stride + 1
        out = np.empty((len(weight), size, size))
        for i in range(size):
            for j in range(size):
                window = padded[:, i * stride : i * stride + 5, j * stride : j * stride + 5]
                out[:, i, j] = (weight * window).sum(axis=(1, 2, 3))
        if number < normed:
            after = f"{name}.layers.{3 * number + 1}"
            names = ("running_mean", "running_var", "weight", "bias")
            mean, var, gain, shift = (state[f"{after}.{n}"][:, None, None] for n in names)
            out = (out - mean) / np.sqrt(var + 1e-5) * gain + shift
            out = np.where(out > 0, out, 0.2 * out)
        else:
            out += state[f"{place}.bias"][:, None, None]
        maps = out
    return maps.mean(axis=(1, 2))


@pytest.mark.parametrize("bounded", [True, False])
def test_score_is_the_squared_error_from_the_perturbed_latent(bounded: bool) -> None:
    net, x = network(2, 30, epsilon=0.7, bounded=bounded), images(2, 2, 30)
    state = {name: value.double().numpy() for name, value in net.state_dict().items()}
    perturbed = []
    for image in x.double().numpy():
        raw = numpy_encoding(state, "distorter", image, normed=3)
        p = 0.7 * state["scale.running"] * np.tanh(raw) if bounded else raw
        perturbed.append(numpy_encoding(state, "encoder", image, normed=4) + p)
    with torch.no_grad():
        scores = net(x).numpy()
        given_back = net.decoder(torch.from_numpy(np.array(perturbed, np.float32))).numpy()
    expected = ((given_back.astype(float) - x.numpy()) ** 2).reshape(2, -1).mean(axis=1)
    np.testing.assert_allclose(scores, expected, rtol=1e-4)


@pytest.mark.parametrize("mode", ["ae", "noise"])
def test_without_a_distorter_the_score_is_the_plain_error(mode: Any) -> None:
    net, x = network(mode=mode), images(4)
    assert net.distorter is None
    with torch.no_grad():
        expected = ((net.decoder(net.encoder(x)) - x).numpy() ** 2).reshape(4, -1).mean(axis=1)
        np.testing.assert_allclose(net(x).numpy(), expected, rtol=1e-5)
    with pytest.raises(UsageError, match="no distorter"):
        net.reconstruct(x, perturbed=True)


def test_the_bound_holds_however_strong_the_distorter() -> None:
    net = network(epsilon=0.3)
    assert net.distorter is not None
    with torch.no_grad():
        for parameter in net.distorter.parameters():
            parameter.mul_(50)
        p = net.perturb(images(20), net.scale.running)
    assert (p.abs() <= 0.3 * net.scale.running * (1 + 1e-6)).all()
    assert (p.abs() > 0.29 * net.scale.running).any()  # and is reached


def test_scale_is_that_of_the_batch_in_training_and_its_running_mean_in_evaluation() -> None:
    scale, rng = LatentScale(4), np.random.default_rng(0)
    running = np.ones(4)
    for _ in range(5):
        z = rng.normal(3, [0.1, 1, 2, 5], (50, 4)).astype(np.float32)
        np.testing.assert_allclose(scale(torch.from_numpy(z)).numpy(), z.std(axis=0), rtol=1e-4)
        running = 0.9 * running + 0.1 * z.std(axis=0)
    scale.eval()
    np.testing.assert_allclose(scale(torch.zeros(3, 4)).numpy(), running, rtol=1e-4)
    np.testing.assert_allclose(scale.running.numpy(), running, rtol=1e-4)


def test_scale_has_a_finite_gradient_where_a_dimension_is_dead() -> None:
    z = torch.zeros(5, 3, requires_grad=True)
    LatentScale(3)(z).sum().backward()
    assert z.grad is not None
    assert torch.isfinite(z.grad).all()


def test_a_score_does_not_depend_on_the_batch() -> None:
    net, x = network(), images(5)
    with torch.no_grad():
        alone = torch.cat([net(x[k : k + 1]) for k in range(5)])
        np.testing.assert_allclose(net(x).numpy(), alone.numpy(), rtol=1e-4)


def test_equal_contrast_equals_numpy_and_forgets_brightness_and_contrast() -> None:
    x = images(3, 2)
    values = x.double().numpy().reshape(3, -1)
    expected = (values - values.mean(1, keepdims=True)) / (6 * (values.std(1, keepdims=True) + 0.05))
    np.testing.assert_allclose(equal_contrast(x).numpy().reshape(3, -1), expected, atol=1e-6)
    strong = 100 * x
    np.testing.assert_allclose(equal_contrast(strong + 7).numpy(), equal_contrast(3 * strong).numpy(), atol=1e-3)
    assert equal_contrast(torch.ones(1, 1, 28, 28)).abs().max() == 0


@pytest.mark.slow
def test_the_exported_network_equals_torch(tmp_path: Path) -> None:
    pytest.importorskip("onnxscript")
    import openvino

    from streamad.engines.export import export_onnx

    net, x = network(2, 30, contrast=True), images(5, 2, 30)
    with torch.no_grad():
        expected = net(x).numpy()
    export_onnx(net, (2, 30, 30), tmp_path / "net.onnx")
    core = openvino.Core()
    core.set_property("CPU", {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": 1})
    compiled = core.compile_model(str(tmp_path / "net.onnx"), "CPU")
    np.testing.assert_allclose(compiled(x.numpy())[0], expected, rtol=1e-4, atol=1e-6)


def manifest(side: tuple[int, int] = (30, 30), **options: Any) -> Manifest:
    plain = small_manifest()
    return plain.model_copy(
        update={
            "detector": "alps",
            "input": plain.input.model_copy(update={"height": side[0], "width": side[1], "channels": 3}),
            "training": plain.training.model_copy(update={"options": options}),
        }
    )


CHOSEN = {"width": 8, "latent": 6, "mode": "alps", "epsilon": 0.4, "bounded": True, "contrast": True, "rate": 0.1}


def test_build_makes_the_network_that_the_record_describes() -> None:
    net = build(manifest(**CHOSEN))
    twin = AlpsNet(3, 30, width=8, latent=6, epsilon=0.4, contrast=True)
    net.load_state_dict(twin.state_dict())
    net.eval(), twin.eval()
    x = images(2, 3, 30)
    assert torch.equal(net(x), twin(x))


def test_build_names_what_is_missing() -> None:
    with pytest.raises(BundleError, match=r"epsilon, bounded missing"):
        build(manifest(**{name: CHOSEN[name] for name in CHOSEN if name not in ("epsilon", "bounded")}))
    with pytest.raises(BundleError, match="square"):
        build(manifest((30, 40), **CHOSEN))


@pytest.mark.parametrize("side", [29, 14, 130])
def test_a_side_that_the_decoder_cannot_give_back_is_refused(side: int) -> None:
    with pytest.raises(UsageError, match=f"got {side}"):
        AlpsNet(1, side)


def test_the_weight_is_the_mahalanobis_distance_of_scipy(tmp_path: Path) -> None:
    from scipy.spatial.distance import mahalanobis

    net, x = network(score="weighted"), images(5)
    rng = np.random.default_rng(1)
    normal = (rng.normal(size=(500, 6)) @ rng.normal(size=(6, 6)) + 2).astype(np.float32)
    assert net.normal is not None
    net.normal.fit(torch.from_numpy(normal))
    latents = net.encoder(x).detach().numpy()
    inverse = np.linalg.inv(np.cov(normal.T.astype(np.float64)))
    wanted = [mahalanobis(z, normal.mean(axis=0), inverse) / np.sqrt(6) for z in latents]
    with torch.no_grad():
        np.testing.assert_allclose(net.normal(torch.from_numpy(latents)), wanted, rtol=5e-3)  # the ridge
        error = torch.mean((net.reconstruct(x, perturbed=True) - x) ** 2, dim=(1, 2, 3))
        np.testing.assert_allclose(net(x), error * net.normal(net.encoder(x)), rtol=1e-5)
        # Normal latents lie at about 1, whatever their scale.
        assert 0.9 < float(net.normal(torch.from_numpy(normal)).mean()) < 1.05


def test_a_dead_latent_does_not_make_the_weight_infinite() -> None:
    net = network(score="weighted")
    assert net.normal is not None
    normal = torch.randn(100, 6)
    normal[:, 2] = 0
    net.normal.fit(normal)
    assert torch.isfinite(net.normal(torch.randn(5, 6))).all()
    net.normal.fit(torch.zeros(1, 6))  # one image
    assert torch.isfinite(net.normal(torch.randn(5, 6))).all()
