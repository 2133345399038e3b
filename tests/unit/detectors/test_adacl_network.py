"""The ADACL network: its size, its shape, and what it computes by hand-written numpy."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from streamad.detectors.adacl.network import AdaclNet  # noqa: E402


def count(channels: int) -> int:
    return sum(p.numel() for p in AdaclNet(channels).parameters())


def test_parameters_are_those_of_the_stated_layers() -> None:
    # Kernels 5×5 without bias, scale and shift of BatchNorm, then 128×64 + 64 and 64 + 1.
    widths = [1, 16, 32, 64, 128]
    by_hand = sum(25 * a * b + 2 * b for a, b in pairwise(widths)) + 128 * 64 + 64 + 64 + 1
    assert count(1) == by_hand == 278_001
    # The usual count of these layers, 278 241, has a bias for each convolution, which BatchNorm cancels.
    assert count(1) + sum(widths[1:]) == 278_241
    assert count(3) == 278_001 + 2 * 25 * 16 < 300_000


def test_one_number_a_cell_for_any_batch_and_side() -> None:
    network = AdaclNet(2).eval()
    for shape in ((1, 2, 30, 30), (7, 2, 30, 30), (2, 2, 45, 45)):
        assert network(torch.zeros(shape)).shape == (shape[0],)


def test_output_has_no_activation_and_is_not_clipped() -> None:
    torch.manual_seed(0)
    network = AdaclNet(1).eval()
    with torch.no_grad():
        last = network.head[-1]
        last.weight.mul_(100)
        outputs = network(torch.randn(50, 1, 30, 30))
        last.bias.add_(7.0)
        assert torch.allclose(
            network(torch.zeros(1, 1, 30, 30)),
            network.head(network.features(torch.zeros(1, 1, 30, 30)).amax((2, 3))).squeeze(1),
        )
    assert outputs.min() < 0 or outputs.max() > 1


def convolved(image: np.ndarray, weight: np.ndarray, stride: int) -> np.ndarray:
    """(out, h, w) of (in, H, W) with zero padding 2, as a plain loop."""
    padded = np.pad(image, ((0, 0), (2, 2), (2, 2)))
    size = (image.shape[1] - 1) // stride + 1
    out = np.empty((weight.shape[0], size, size))
    for i in range(size):
        for j in range(size):
            window = padded[:, i * stride : i * stride + 5, j * stride : j * stride + 5]
            out[:, i, j] = (weight * window).sum(axis=(1, 2, 3))
    return out


def test_forward_equals_numpy() -> None:
    torch.manual_seed(3)
    network = AdaclNet(2).eval()
    state = {k: v.double().numpy() for k, v in network.state_dict().items()}
    image = np.random.default_rng(0).uniform(-1, 1, (2, 30, 30))

    def leaky(x: np.ndarray) -> np.ndarray:
        return np.where(x > 0, x, 0.2 * x)

    maps = image
    for layer, stride in ((0, 2), (3, 2), (6, 1), (9, 1)):
        maps = convolved(maps, state[f"features.{layer}.weight"], stride)
        names = ("running_mean", "running_var", "weight", "bias")
        mean, var, scale, shift = (state[f"features.{layer + 1}.{n}"][:, None, None] for n in names)
        maps = leaky((maps - mean) / np.sqrt(var + 1e-5) * scale + shift)
    assert maps.shape == (128, 8, 8)
    pooled = maps.max(axis=(1, 2))
    hidden = leaky(state["head.0.weight"] @ pooled + state["head.0.bias"])
    expected = float((state["head.2.weight"] @ hidden + state["head.2.bias"])[0])
    with torch.no_grad():
        actual = float(network(torch.from_numpy(image[None]).float())[0])
    assert actual == pytest.approx(expected, abs=1e-5)
