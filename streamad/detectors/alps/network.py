"""The networks of ALPS: encoder, decoder, distorter, and the exported score."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from streamad.bundle import Manifest
from streamad.errors import BundleError, UsageError

LEAK = 0.2
SIDES = range(16, 129, 2)
"""Sides of a square input that the decoder can reproduce, pixels."""

Mode = Literal["alps", "ae", "noise"]
"""What perturbs the latents in training: a learned distorter, nothing, or random noise."""

Score = Literal["perturbed", "weighted"]
"""Exported score: the paper's perturbed error, or that error weighted by how unusual the latent is."""

SHAPE = ("width", "latent", "mode", "epsilon", "bounded", "contrast")
"""Options of a training that define the network; a bundle's record has them, and in later ones also the score."""

_MOMENTUM = 0.1
_SMALLEST_STD = 1e-6
_RIDGE = 1e-4
_CONTRASTS = 6.0
_FLAT = 0.05


class Encoder(nn.Module):
    """Four 5×5 convolutions and global average pooling: from an image to one vector.

    Source: four convolutions and global average pooling, paper; kernel 5, BatchNorm, LeakyReLU 0.2, its authors' other
    code. Not stated there: strides 2, 2, 2, 1 and channels width/2-width-width-latent, small enough to train on a
    processor.

    Args:
        channels: Channels of the input.
        width: Channels of the second and third convolution.
        latent: Length of the vector.
        signed: Omit BatchNorm and LeakyReLU after the last convolution, so that both signs are equally likely; for the
            distorter.
    """

    def __init__(self, channels: int, width: int, latent: int, *, signed: bool = False) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for after, stride in ((width // 2, 2), (width, 2), (width, 2)):
            layers += _encoding(before, after, stride)
            before = after
        if signed:
            layers += [nn.Conv2d(before, latent, 5, padding=2)]
        else:
            layers += _encoding(before, latent, 1)
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        """Encode (n, channels, side, side) in [-1, 1] as (n, latent)."""
        return torch.mean(self.layers(images), dim=(2, 3))


class Distorter(Encoder):
    """An encoder of the same input that outputs the raw perturbation of its latent (source: paper).

    `AlpsNet.perturb` makes the bounded perturbation from it. Its gradient never reaches the decoder and the encoder.
    """

    def __init__(self, channels: int, width: int, latent: int) -> None:
        super().__init__(channels, width, latent, signed=True)


class Decoder(nn.Module):
    """Dense layer, reshape, six transposed convolutions without BatchNorm, tanh: from a vector to an image.

    Source: dense, reshape, six transposed convolutions, paper; no BatchNorm, its authors' other code. Not stated there:
    the first size is a quarter of the side, rounded up. Then three layers with kernel 3 (stride 1), one with kernel 4
    (stride 2) to twice that size, one with kernel 3 (stride 1) and half the channels, and one with kernel 4 (stride 2)
    to the image. The last layer's padding removes surplus rows and columns (side 30: one on each edge).

    Args:
        channels: Channels of the image.
        side: Side of the image, pixels; even.
        width: Channels of the first four layers; the last two have half.
        latent: Length of the vector.
    """

    def __init__(self, channels: int, side: int, width: int, latent: int) -> None:
        super().__init__()
        self.start = -(-side // 4)
        self.width = width
        half = width // 2
        surplus = 4 * self.start - side  # 0 or 2
        self.dense = nn.Sequential(nn.Linear(latent, width * self.start**2), nn.LeakyReLU(LEAK))
        self.layers = nn.Sequential(
            *_decoding(width, width, 3, 1),
            *_decoding(width, width, 3, 1),
            *_decoding(width, width, 3, 1),
            *_decoding(width, half, 4, 2),
            *_decoding(half, half, 3, 1),
            nn.ConvTranspose2d(half, channels, 4, stride=2, padding=1 + surplus // 2),
            nn.Tanh(),
        )
        self._initialize()

    def forward(self, latents: Tensor) -> Tensor:
        """Decode (n, latent) to (n, channels, side, side) in [-1, 1]."""
        maps = self.dense(latents).unflatten(1, (self.width, self.start, self.start))
        return self.layers(maps)  # type: ignore[no-any-return]

    def _initialize(self) -> None:
        # He's, with the fan of a transposed convolution: torch's default has half that gain and, without BatchNorm,
        # seven such layers leave almost nothing of the latent at the start of a short training.
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.ConvTranspose2d):
                fan = float(module.weight.shape[0] if isinstance(module, nn.ConvTranspose2d) else module.in_features)
                if isinstance(module, nn.ConvTranspose2d):
                    fan *= module.kernel_size[0] ** 2 / module.stride[0] ** 2
                nn.init.normal_(module.weight, 0.0, (2 / (1 + LEAK**2) / fan) ** 0.5)
                assert module.bias is not None
                nn.init.zeros_(module.bias)


class LatentScale(nn.Module):
    """Standard deviation of each latent dimension, the unit of the perturbation's bound.

    In training it is that of the batch, gradient included, so that the autoencoder gains nothing by scaling its latents
    up. In evaluation mode it is a running mean, so that an image's score does not depend on the rest of its batch. The
    two forms are those of BatchNorm. Not in the paper.
    """

    running: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("running", torch.ones(latent))

    def forward(self, latents: Tensor) -> Tensor:
        """Return (latent,) standard deviations: of the (n, latent) batch in training, running ones in evaluation."""
        if not self.training:
            return self.running
        std = torch.sqrt(torch.var(latents.float(), dim=0, correction=0) + _SMALLEST_STD**2)
        with torch.no_grad():
            self.running.lerp_(std, _MOMENTUM)
        return std


class NormalLatents(nn.Module):
    """Mean and covariance of the latents of normal images, and the distance of a latent from them.

    Not in the paper. An autoencoder reconstructs simple images well, whatever they show (a network trained on bags
    redraws shoes well); where such an image lies among the latents reveals it.
    """

    mean: Tensor
    precision: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("precision", torch.eye(latent))

    def fit(self, latents: Tensor) -> None:
        """Fit to the (n, latent) latents of normal images, as the network scores them."""
        latents = latents.detach().double().cpu()
        centered = latents - latents.mean(dim=0)
        covariance = centered.T @ centered / max(1, len(latents) - 1)
        # A constant dimension (a dead channel) must not divide by zero.
        ridge = _RIDGE * float(covariance.diagonal().mean()) + _SMALLEST_STD**2
        precision = torch.linalg.inv(covariance + ridge * torch.eye(len(covariance), dtype=torch.float64))
        self.mean.copy_(latents.mean(dim=0))
        self.precision.copy_(precision)

    def forward(self, latents: Tensor) -> Tensor:
        """Return the (n,) Mahalanobis distance of (n, latent) from the normal mean, divided by √latent: about 1."""
        centered = latents.float() - self.mean
        squared = torch.sum(centered @ self.precision * centered, dim=1) / latents.shape[1]
        return torch.sqrt(torch.clamp(squared, min=_SMALLEST_STD**2))


class AlpsNet(nn.Module):
    """Encoder, decoder, distorter and the exported score.

    Args:
        channels: Channels of the image, 1 to 3 (gray, color, or a patch's history).
        side: Side of the square image, pixels; one of `SIDES`.
        width: Channels of the widest layers; even.
        latent: Length of the latent vector.
        mode: "alps" has a distorter, and its score is the perturbed error; "ae" and "noise" have none, and their score
            is the plain error.
        epsilon: Bound of the perturbation, in standard deviations of each latent dimension.
        bounded: Apply the bound. False: the distorter's raw output (the paper states no bound).
        contrast: Bring every image to the same mean and contrast first, see `equal_contrast`.
        score: The error alone (paper), or weighted: multiplied by the distance of the image's latent from the normal
            ones, see `NormalLatents` (not in the paper).

    Raises:
        UsageError: The networks cannot have this size.
    """

    def __init__(
        self,
        channels: int = 1,
        side: int = 28,
        *,
        width: int = 48,
        latent: int = 64,
        mode: Mode = "alps",
        epsilon: float = 0.5,
        bounded: bool = True,
        contrast: bool = False,
        score: Score = "perturbed",
    ) -> None:
        super().__init__()
        if side not in SIDES:
            raise UsageError(
                f"ALPS needs square images with an even side of {SIDES[0]} to {SIDES[-1]} pixels, got {side}",
                hint="resize or pad the images, to 32 for example",
            )
        self.mode = mode
        self.epsilon = epsilon
        self.bounded = bounded
        self.contrast = contrast
        self.encoder = Encoder(channels, width, latent)
        self.decoder = Decoder(channels, side, width, latent)
        self.scale = LatentScale(latent)
        self.distorter = Distorter(channels, width, latent) if mode == "alps" else None
        self.normal = NormalLatents(latent) if score == "weighted" else None

    def forward(self, images: Tensor) -> Tensor:
        """Return the score: mean squared error of the perturbed reconstruction ("ae", "noise": of the plain one).

        Args:
            images: (n, channels, side, side) float32 in [-1, 1].

        Returns:
            (n,) float32 in [0, 4], or from 0 for the score "weighted"; higher is more anomalous.
        """
        seen = self.prepare(images)
        error = squared_error(seen, self.reconstruct(seen, perturbed=self.distorter is not None))
        return error if self.normal is None else error * self.normal(self.encoder(seen))

    def prepare(self, images: Tensor) -> Tensor:
        """Return the images as the networks process them, of equal contrast if that was chosen; the same shape."""
        return equal_contrast(images) if self.contrast else images

    def reconstruct(self, images: Tensor, *, perturbed: bool = False) -> Tensor:
        """Return D(E(x)), or D(E(x) + AD(x)) if `perturbed`.

        Args:
            images: (n, channels, side, side) from `prepare`.
            perturbed: Apply the distorter's perturbation.

        Returns:
            (n, channels, side, side) in [-1, 1].

        Raises:
            UsageError: `perturbed`, but the network has no distorter.
        """
        latents = self.encoder(images)
        if perturbed:
            latents = latents + self.perturb(images, self.scale(latents))
        return self.decoder(latents)  # type: ignore[no-any-return]

    def perturb(self, images: Tensor, scale: Tensor) -> Tensor:
        """Return the distorter's perturbation: ε·std(z)·tanh(AD(x)), or the paper's AD(x) if it is not bounded.

        Args:
            images: (n, channels, side, side) from `prepare`.
            scale: (latent,) standard deviations from `scale`.

        Returns:
            (n, latent).

        Raises:
            UsageError: The network has no distorter.
        """
        if self.distorter is None:
            raise UsageError(f'mode "{self.mode}" has no distorter', hint='train with mode "alps"')
        raw: Tensor = self.distorter(images)
        return self.epsilon * scale * torch.tanh(raw) if self.bounded else raw


def squared_error(images: Tensor, reconstructions: Tensor) -> Tensor:
    """Return the (n,) mean squared difference over all elements of an image, in float32 (source: paper)."""
    return torch.mean((reconstructions.float() - images.float()) ** 2, dim=(1, 2, 3))


def equal_contrast(images: Tensor) -> Tensor:
    """Return (x − mean) / (6·(standard deviation + 0.05)), both over all elements of each image, floating point.

    Without it, an image with little content has a low squared error, whatever the content. Global contrast
    normalization is common with one-class methods; the paper has none. The 6 keeps strokes on 3 % of the pixels within
    the range of tanh. The 0.05 (6 gray levels) keeps noise in a flat image small.

    Args:
        images: (n, channels, side, side) in [-1, 1].

    Returns:
        The same shape, mostly within [-1, 1].
    """
    mean = torch.mean(images, dim=(1, 2, 3), keepdim=True)
    centered = images - mean
    deviation = torch.sqrt(torch.mean(centered**2, dim=(1, 2, 3), keepdim=True) + _SMALLEST_STD**2)
    return centered / (_CONTRASTS * (deviation + _FLAT))


def build(manifest: Manifest) -> AlpsNet:
    """Return the untrained network of a bundle. The options of the training record define its shape.

    Raises:
        BundleError: The record lacks an option, or the input is not square.
    """
    spec, options = manifest.input, manifest.training.options
    missing = [name for name in SHAPE if name not in options]
    if missing:
        raise BundleError(
            f"bundle {manifest.name}: ALPS needs {', '.join(SHAPE)} among training.options; "
            f"{', '.join(missing)} missing",
            hint="export the bundle again",
        )
    if spec.height != spec.width:
        raise BundleError(f"bundle {manifest.name}: ALPS needs a square input, got {spec.height}×{spec.width}")
    shape: dict[str, Any] = {name: options[name] for name in SHAPE}
    shape["score"] = options.get("score", "perturbed")  # early bundles lack it
    return AlpsNet(spec.channels, spec.height, **shape)


def _encoding(before: int, after: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, 5, stride=stride, padding=2, bias=False)  # BatchNorm has the bias
    return [convolution, nn.BatchNorm2d(after), nn.LeakyReLU(LEAK)]


def _decoding(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(before, after, kernel, stride=stride, padding=1), nn.LeakyReLU(LEAK)]
