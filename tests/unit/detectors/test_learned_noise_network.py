"""Learned noise's networks against the paper's tables, and the trimmed decoder against the whole one."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from streamad.detectors.learned_noise.network import (  # noqa: E402
    ClipAutoencoder,
    ClipError,
    clip_generator,
    clip_reconstructor,
    image_generator,
    image_reconstructor,
)
from streamad.errors import UsageError  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


def by_hand(layers: list[tuple[int, int]], taps: int) -> int:
    """Weights, biases, and BatchNorm's two numbers a channel after all but the last layer."""
    return sum(a * b * taps + b + (2 * b if k < len(layers) - 1 else 0) for k, (a, b) in enumerate(layers))


def test_parameter_counts_are_the_papers() -> None:
    reconstructor = [(1, 96), (96, 128), (128, 256), (256, 256), (256, 256), (256, 128), (128, 96), (96, 1)]
    generator = [(1, 96), (96, 128), (128, 256), (256, 128), (128, 96), (96, 1)]
    assert parameters(clip_reconstructor()) == by_hand(reconstructor, 27) == 5_980_801
    assert parameters(clip_generator()) == by_hand(generator, 27) == 2_440_321
    assert round(5_980_801 / 1e6, 2) == 5.98  # what the paper states
    assert round(2_440_321 / 1e6, 2) == 2.44


def test_a_clip_of_the_papers_size_keeps_its_shape_on_both_networks() -> None:
    shapes: dict[str, tuple[int, ...]] = {}
    with torch.device("meta"):
        clip = torch.empty(1, 1, 16, 256, 256)
        for name, network in (("F", clip_reconstructor()), ("G", clip_generator())):
            middle = network.encoder(clip)
            shapes[name] = tuple(middle.shape)
            assert tuple(network(clip).shape) == (1, 1, 16, 256, 256)
    assert shapes == {"F": (1, 256, 2, 16, 16), "G": (1, 256, 4, 32, 32)}


def test_outputs_lie_in_their_ranges() -> None:
    torch.manual_seed(0)
    clip = 50 * torch.randn(2, 1, 16, 32, 32)
    with torch.no_grad():
        for network, reach in ((clip_reconstructor(0.1), 1.0), (clip_generator(0.1), 2.0)):
            network.decoder[-2].weight.mul_(1000)  # type: ignore[union-attr, operator]
            largest = float(network(clip).abs().max())
            assert 0.9 * reach < largest <= reach


def test_a_lighter_width_scales_every_layer() -> None:
    light = clip_reconstructor(0.25)
    sizes = [m.out_channels for m in light.modules() if isinstance(m, nn.Conv3d | nn.ConvTranspose3d)]
    assert sizes == [24, 32, 64, 64, 64, 32, 24, 1]


@pytest.mark.parametrize("width", [0.0, -1.0, 5.0])
def test_a_width_that_is_none_is_refused(width: float) -> None:
    with pytest.raises(UsageError, match="not a valid width factor"):
        clip_reconstructor(width)


def test_image_networks_follow_tables_5_and_6() -> None:
    f, g = image_reconstructor(3), image_generator(3)
    assert parameters(f) == by_hand([(3, 64), (64, 128), (128, 128), (128, 256)], 9) + 2 * 256 + by_hand(
        [(256, 256), (256, 128), (128, 128), (128, 1)], 9
    ) - (128 * 9 + 1) + (128 * 3 * 16 + 3)
    images = torch.rand(2, 3, 32, 32)
    sizes = []
    maps = images
    for layer in f.encoder:
        maps = layer(maps)
        if isinstance(layer, nn.Conv2d):
            sizes.append(maps.shape[-1])
    assert sizes == [15, 7, 3, 1]
    with torch.no_grad():
        rebuilt, noise = f(images), g(images)
    assert rebuilt.shape == noise.shape == images.shape
    assert 0 <= float(rebuilt.min()) <= float(rebuilt.max()) <= 1
    assert float(noise.abs().max()) <= 1


@pytest.mark.parametrize("width", [0.05, 0.1])
def test_the_trimmed_decoder_gives_the_ninth_frame_of_the_whole_one(width: float) -> None:
    torch.manual_seed(1)
    network: ClipAutoencoder = clip_reconstructor(width).eval()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm3d):
            module.running_mean.normal_()  # type: ignore[union-attr]
            module.running_var.uniform_(0.5, 2)  # type: ignore[union-attr]
    clips = torch.rand(2, 1, 16, 48, 32) * 2 - 1
    with torch.no_grad():
        whole = network(clips)[:, :, 8]
        error = ClipError(network)
        torch.testing.assert_close(error.rebuilt(clips), whole, rtol=0, atol=1e-6)
        output = error(clips[:, 0])
    squared = (whole - clips[:, :, 8])[:, 0] ** 2
    assert output.shape == (2, 1 + 6 * 4)
    torch.testing.assert_close(output[:, 0], squared.mean(dim=(1, 2)))
    torch.testing.assert_close(output[1, 1 + 4 * 2 + 3], squared[1, 16:24, 24:32].mean())
