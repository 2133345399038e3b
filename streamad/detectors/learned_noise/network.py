"""The reconstructor F and the noise generator G, over clips and over images."""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn

from streamad.bundle import Manifest
from streamad.errors import UsageError

LEAK = 0.2
WINDOW = 16
SCORED = 8
"""Index of the frame of a window that is scored: the 9th (source: paper)."""

LOCATION_SIDE = 8
"""Side of a location of the anomaly map, pixels of the network's input."""

CLIP_CHANNELS = (96, 128, 256, 256)
IMAGE_SIDE = 32


def widths(width: float, channels: tuple[int, ...]) -> tuple[int, ...]:
    """Return the channels of each layer for a width factor; 1.0 is the paper's.

    Raises:
        UsageError: The factor is out of range.
    """
    if not 0 < width <= 4:
        raise UsageError(
            f"{width:g} is not a valid width factor", hint="give a number above 0 and at most 4; 1.0 is the paper's"
        )
    return tuple(max(4, round(channel * width)) for channel in channels)


class ClipAutoencoder(nn.Module):
    """3-D convolutions down, transposed ones up; F has four layers on each side, G three.

    Source: paper, tables 3 and 4: kernel 3, padding 1, first layer with stride (1, 2, 2), the others 2, BatchNorm and
    LeakyReLU 0.2 after all but the last, then Tanh times `reach`. At width 1.0, F has 5 980 801 parameters and takes
    64.3 GFLOP for a clip of 16×1×256×256; G has 2 440 321.

    Args:
        channels: Channels of each layer on the way down, at width 1.
        width: Factor on all channels; 1.0 is the paper's.
        reach: Largest absolute output: 1 for F, 2 for G.
    """

    def __init__(self, channels: tuple[int, ...], width: float = 1.0, reach: float = 1.0) -> None:
        super().__init__()
        sizes = (1, *widths(width, channels))
        self.reach = reach
        down: list[nn.Module] = []
        for level, (before, after) in enumerate(pairwise(sizes)):
            stride = (1, 2, 2) if level == 0 else (2, 2, 2)
            down += [nn.Conv3d(before, after, 3, stride, 1), nn.BatchNorm3d(after), nn.LeakyReLU(LEAK, inplace=True)]
        up_sizes = sizes[::-1]
        up: list[nn.Module] = []
        for level, (before, after) in enumerate(pairwise(up_sizes)):
            if level < len(up_sizes) - 2:
                up += [
                    nn.ConvTranspose3d(before, after, 3, 2, 1, output_padding=1),
                    nn.BatchNorm3d(after),
                    nn.LeakyReLU(LEAK, inplace=True),
                ]
            else:
                up += [nn.ConvTranspose3d(before, after, 3, (1, 2, 2), 1, output_padding=(0, 1, 1)), nn.Tanh()]
        self.encoder, self.decoder = nn.Sequential(*down), nn.Sequential(*up)

    def forward(self, clips: Tensor) -> Tensor:
        """Map clips to clips.

        Args:
            clips: (n, 1, 16, height, width) float32 in [-1, 1]; height and width multiples of 16.

        Returns:
            The same shape, in [-reach, reach].
        """
        return self.reach * self.decoder(self.encoder(clips))  # type: ignore[no-any-return]


@torch.no_grad()
def implant(narrow: ClipAutoencoder, wide: ClipAutoencoder) -> None:
    """Copy a trained network into the first channels of a wider one, so that the wider one computes the same.

    Weights from the other channels into these are set to zero. Weights out of these keep their random start, so that
    the other channels differ from one another from the first step on (Net2Net copies channels instead).

    Args:
        narrow: Trained network; unchanged.
        wide: At least as wide in every layer; changed in place.

    Raises:
        UsageError: It is narrower, or has another number of layers.
    """
    parts = list(narrow.modules()), list(wide.modules())
    if [type(part) for part in parts[0]] != [type(part) for part in parts[1]]:
        raise UsageError("the two networks have different layers", hint="start from a model of the same form")
    for small, large in zip(*parts, strict=True):
        if not isinstance(small, nn.Conv3d | nn.ConvTranspose3d | nn.BatchNorm3d):
            continue
        state, target = small.state_dict(), large.state_dict()  # the latter shares memory with the network
        for name, value in state.items():
            into = target[name]
            if any(a > b for a, b in zip(value.shape, into.shape, strict=True)):
                raise UsageError(
                    f"a network with a layer of {tuple(value.shape)} does not fit into one of {tuple(into.shape)}",
                    hint="give a width of at least that of the model to start from",
                )
            if name == "weight" and value.ndim == 5:
                ins, outs = (0, 1) if isinstance(small, nn.ConvTranspose3d) else (1, 0)
                into.narrow(outs, 0, value.shape[outs]).narrow(
                    ins, value.shape[ins], into.shape[ins] - value.shape[ins]
                ).zero_()
            into[tuple(slice(0, size) for size in value.shape)] = value


@torch.no_grad()
def quieten(generator: ClipAutoencoder) -> None:
    """Make an untrained G start with noise near zero, with a hundredth of its last layer's weights.

    The noise of a random G is as strong as a clip. A trained F would forget most of what it knows in the steps in which
    G learns better: from 28.5 dB it fell to 15.3 dB within 100 steps.
    """
    last = generator.decoder[-2]
    assert isinstance(last, nn.ConvTranspose3d)
    last.weight.mul_(0.01)
    if last.bias is not None:
        last.bias.zero_()


def clip_reconstructor(width: float = 1.0) -> ClipAutoencoder:
    """Return F for clips."""
    return ClipAutoencoder(CLIP_CHANNELS, width)


def clip_generator(width: float = 1.0) -> ClipAutoencoder:
    """Return G for clips: one layer fewer on each side, output in [-2, 2]."""
    return ClipAutoencoder(CLIP_CHANNELS[:3], width, reach=2.0)


class ImageAutoencoder(nn.Module):
    """2-D convolutions without padding, 32→15→7→3(→1) and back.

    Source: paper, tables 5 and 6: kernel 3 and stride 2, the last transposed one with kernel 4; BatchNorm and ReLU.

    Args:
        colors: Channels of the images.
        channels: Channels of each layer on the way down.
        last: Output activation: Sigmoid for F (0 to 1), Tanh for G (-1 to 1).
        width: Factor on all channels; 1.0 is the paper's.
    """

    def __init__(self, colors: int, channels: tuple[int, ...], last: nn.Module, width: float = 1.0) -> None:
        super().__init__()
        sizes = (colors, *widths(width, channels))
        down: list[nn.Module] = []
        for before, after in pairwise(sizes):
            down += [nn.Conv2d(before, after, 3, 2), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        up: list[nn.Module] = []
        up_sizes = sizes[:1:-1]  # not the mirror image of the way down: F goes back by 256-128-128, G by 128-128
        for before, after in pairwise((sizes[-1], *up_sizes)):
            up += [nn.ConvTranspose2d(before, after, 3, 2), nn.BatchNorm2d(after), nn.ReLU(inplace=True)]
        self.encoder = nn.Sequential(*down)
        self.decoder = nn.Sequential(*up, nn.ConvTranspose2d(up_sizes[-1], colors, 4, 2), last)

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, colors, 32, 32) float32 in [0, 1] to the same shape, in [0, 1] for F and [-1, 1] for G."""
        return self.decoder(self.encoder(images))  # type: ignore[no-any-return]


def image_reconstructor(colors: int, width: float = 1.0) -> ImageAutoencoder:
    """Return F for images."""
    return ImageAutoencoder(colors, (64, 128, 128, 256), nn.Sigmoid(), width)


def image_generator(colors: int, width: float = 1.0) -> ImageAutoencoder:
    """Return G for images."""
    return ImageAutoencoder(colors, (64, 128, 128), nn.Tanh(), width)


class ClipError(nn.Module):
    """F with its error: the exported network, so that one number and a small map leave the engine instead of 16 frames.

    The decoder computes only what the 9th frame needs, which does not change that frame: a transposed layer with kernel
    3 and stride 2 in time makes its outputs 2i-1, 2i and 2i+1 from input i, so frames 7-9 of the third layer need
    inputs 3-5, these need 1-3 of the second's, and these need all of the first's. At width 1.0 a window of 256×256
    takes 48 GFLOP instead of 64.

    Args:
        reconstructor: F.
    """

    def __init__(self, reconstructor: ClipAutoencoder) -> None:
        super().__init__()
        self.reconstructor = reconstructor

    def forward(self, windows: Tensor) -> Tensor:
        """Return the squared error of the 9th frame.

        Args:
            windows: (n, 16, height, width) float32 in [-1, 1].

        Returns:
            (n, 1 + height/8 · width/8): the mean squared error of the frame, then that of each location of 8×8 pixels,
            row by row.
        """
        clips = windows.unsqueeze(1)
        error = (self.rebuilt(clips) - clips[:, :, SCORED]) ** 2  # (n, 1, height, width)
        locations = nn.functional.avg_pool2d(error, LOCATION_SIDE)
        return torch.cat([locations.mean(dim=(2, 3)), locations.flatten(1)], dim=1)

    def rebuilt(self, clips: Tensor) -> Tensor:
        """Return the 9th frame of F's reconstruction, (n, 1, height, width), of clips (n, 1, 16, height, width)."""
        layers = list(self.reconstructor.decoder)
        maps = self.reconstructor.encoder(clips)  # (n, c, 2, …)
        for start in (0, 3, 6):  # transposed convolution, BatchNorm, activation
            for layer in layers[start : start + 3]:
                maps = layer(maps)
            # Of the first layer's 4 frames, 1-3; of the others' 6 (made from 3 inputs), the three in the middle.
            maps = maps[:, :, 1:4]
        for layer in layers[9:]:
            maps = layer(maps)
        frame: Tensor = self.reconstructor.reach * maps[:, :, 1]
        return frame


class WholeClipError(ClipError):
    """The same, computed as in the paper: all 16 frames are reconstructed for the sake of one. For benchmarks."""

    def rebuilt(self, clips: Tensor) -> Tensor:
        """See `ClipError.rebuilt`."""
        frame: Tensor = self.reconstructor(clips)[:, :, SCORED]
        return frame


def build_whole(manifest: Manifest) -> WholeClipError:
    """Return the untrained network of a bundle, as the paper computes it."""
    return WholeClipError(clip_reconstructor(float(manifest.training.options.get("width", 1.0))))


def build(manifest: Manifest) -> ClipError:
    """Return the untrained network of a bundle."""
    return ClipError(clip_reconstructor(float(manifest.training.options.get("width", 1.0))))
