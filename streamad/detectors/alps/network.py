"""The networks of ALPS: encoder, decoder, distorter, and what is exported of them."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn

from streamad.bundle import Manifest
from streamad.errors import BundleError, UsageError

LEAK = 0.2
SIDES = range(16, 129, 2)
"""Sides of a square input that the decoder can give back, pixels."""

Mode = Literal["alps", "ae", "noise"]
"""What perturbs the latents in training: a learned distorter, nothing, or random noise."""

Score = Literal["perturbed", "weighted"]
"""The score fixed beforehand: the paper's perturbed error, or that error weighted by how unusual the latent is."""

_MOMENTUM = 0.1
_SMALLEST_STD = 1e-6
_RIDGE = 1e-4
_CONTRASTS = 6.0
_FLAT = 0.05


class Encoder(nn.Module):
    """Four convolutions 5×5, then global average pooling: from an image to one vector.

    Source: four convolutions and global average pooling, paper; kernel 5, BatchNorm, LeakyReLU 0.2, its authors' other
    code; strides 2, 2, 2, 1, channels width/2-width-width-latent, our choice (small enough to train on a processor).

    Args:
        channels: channels of the input.
        width: channels of the second and third convolution.
        latent: length of the vector.
        signed: the last convolution has neither BatchNorm nor LeakyReLU, so that the vector takes both signs alike
            (for the distorter; our choice).
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
        """(n, latent) of (n, channels, side, side) in [-1, 1]."""
        return torch.mean(self.layers(images), dim=(2, 3))


class Distorter(Encoder):
    """An encoder of the same input that gives the raw perturbation of its latent (source: paper).

    `AlpsNet.perturb` makes the bounded perturbation of it. The decoder and the encoder never see its gradient.
    """

    def __init__(self, channels: int, width: int, latent: int) -> None:
        super().__init__(channels, width, latent, signed=True)


class Decoder(nn.Module):
    """Dense layer, reshape, six transposed convolutions without BatchNorm, tanh: from a vector to an image.

    Source: dense, reshape, six transposed convolutions, paper; no BatchNorm, its authors' other code; the rest, our
    choice: the start is a quarter of the side, rounded up; kernels 3 (stride 1) three times there, 4 (stride 2) to
    twice that, 3 (stride 1) there with half the channels, 4 (stride 2) to the image, whose surplus rows and columns
    (side 30: one on each edge) the last layer's padding takes away.

    Args:
        channels: channels of the image.
        side: of the image, pixels; even.
        width: channels of the first four layers; the last two have half.
        latent: length of the vector.
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
        """(n, channels, side, side) in [-1, 1] of (n, latent)."""
        maps = self.dense(latents).unflatten(1, (self.width, self.start, self.start))
        return self.layers(maps)  # type: ignore[no-any-return]

    def _initialize(self) -> None:
        # He's, with the fan of a transposed convolution: torch's own is half that gain and, without BatchNorm, seven
        # layers of it leave next to nothing of the latent at the start of a short training.
        for module in self.modules():
            if isinstance(module, nn.Linear | nn.ConvTranspose2d):
                fan = float(module.weight.shape[0] if isinstance(module, nn.ConvTranspose2d) else module.in_features)
                if isinstance(module, nn.ConvTranspose2d):
                    fan *= module.kernel_size[0] ** 2 / module.stride[0] ** 2
                nn.init.normal_(module.weight, 0.0, (2 / (1 + LEAK**2) / fan) ** 0.5)
                assert module.bias is not None
                nn.init.zeros_(module.bias)


class LatentScale(nn.Module):
    """Standard deviation of each latent dimension: what the bound of the perturbations is measured in.

    In training that of the batch, gradient included, so that the autoencoder gains nothing by scaling its latents up; a
    running mean of it is kept, and takes its place in evaluation mode: an image's score does not depend on what it is
    scored with. The two forms are those of BatchNorm.

    Source: our choice.
    """

    running: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("running", torch.ones(latent))

    def forward(self, latents: Tensor) -> Tensor:
        """(latent,) standard deviations of the (n, latent) batch in training, running ones in evaluation."""
        if not self.training:
            return self.running
        std = torch.sqrt(torch.var(latents.float(), dim=0, correction=0) + _SMALLEST_STD**2)
        with torch.no_grad():
            self.running.lerp_(std, _MOMENTUM)
        return std


class NormalLatents(nn.Module):
    """Mean and covariance of the latents of normal images, and how far a latent lies from them.

    Source: our choice. An autoencoder gives an image that is simple a low error whatever it shows (a bag's network
    redraws shoes well); where such an image lies among the latents tells it apart.
    """

    mean: Tensor
    precision: Tensor

    def __init__(self, latent: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(latent))
        self.register_buffer("precision", torch.eye(latent))

    def fit(self, latents: Tensor) -> None:
        """Take up the (n, latent) latents of normal images, those of the network as it scores."""
        latents = latents.detach().double().cpu()
        centered = latents - latents.mean(dim=0)
        covariance = centered.T @ centered / max(1, len(latents) - 1)
        # A dimension that says nothing (a dead channel) must not divide by zero.
        ridge = _RIDGE * float(covariance.diagonal().mean()) + _SMALLEST_STD**2
        precision = torch.linalg.inv(covariance + ridge * torch.eye(len(covariance), dtype=torch.float64))
        self.mean.copy_(latents.mean(dim=0))
        self.precision.copy_(precision)

    def forward(self, latents: Tensor) -> Tensor:
        """(n,) Mahalanobis distance of (n, latent) from the mean of the normal ones, divided by √latent: about 1."""
        centered = latents.float() - self.mean
        squared = torch.sum(centered @ self.precision * centered, dim=1) / latents.shape[1]
        return torch.sqrt(torch.clamp(squared, min=_SMALLEST_STD**2))


class AlpsNet(nn.Module):
    """Encoder, decoder, distorter and the score that is fixed beforehand.

    Args:
        channels: channels of the image, 1 to 3 (gray, color, or a cell's history).
        side: of the square image, pixels; one of `SIDES`.
        width: channels of the widest layers; even.
        latent: length of the latent vector.
        mode: "alps" has a distorter, and the perturbed error is its score; "ae" and "noise" have none, and the plain
            error is theirs.
        epsilon: bound of the perturbation, standard deviations of each latent dimension.
        bounded: apply the bound; False gives the distorter's raw output (the paper states no bound).
        contrast: bring every image to the same mean and contrast first, see `equal_contrast`.
        score: the error alone (source: paper), or weighted: multiplied by the distance of the image's latent from the
            normal ones, see `NormalLatents` (source: our choice).

    Raises:
        UsageError: a size that the networks cannot have.
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
        """The headline score: mean squared error of the perturbed reconstruction ("ae", "noise": of the plain one).

        Args:
            images: (n, channels, side, side) float32 in [-1, 1].

        Returns:
            (n,) float32 in [0, 4], with the score "weighted" from 0 on; higher is more anomalous.
        """
        seen = self.prepare(images)
        error = squared_error(seen, self.reconstruct(seen, perturbed=self.distorter is not None))
        return error if self.normal is None else error * self.normal(self.encoder(seen))

    def prepare(self, images: Tensor) -> Tensor:
        """What the networks see and give back: the images, of equal contrast where that was chosen; the same shape."""
        return equal_contrast(images) if self.contrast else images

    def reconstruct(self, images: Tensor, *, perturbed: bool = False) -> Tensor:
        """D(E(x)), or D(E(x) + AD(x)) where `perturbed`.

        Args:
            images: (n, channels, side, side) from `prepare`.
            perturbed: with the distorter's perturbation.

        Returns:
            (n, channels, side, side) in [-1, 1].

        Raises:
            UsageError: `perturbed` of a network that has no distorter.
        """
        latents = self.encoder(images)
        if perturbed:
            latents = latents + self.perturb(images, self.scale(latents))
        return self.decoder(latents)  # type: ignore[no-any-return]

    def perturb(self, images: Tensor, scale: Tensor) -> Tensor:
        """The distorter's perturbation: ε·std(z)·tanh(AD(x)) (source: our choice), or AD(x) where it is not bounded.

        Args:
            images: (n, channels, side, side) from `prepare`.
            scale: (latent,) standard deviations from `scale`.

        Returns:
            (n, latent).

        Raises:
            UsageError: this network has no distorter.
        """
        if self.distorter is None:
            raise UsageError(f'mode "{self.mode}" has no distorter', hint='train with mode "alps"')
        raw: Tensor = self.distorter(images)
        return self.epsilon * scale * torch.tanh(raw) if self.bounded else raw


def squared_error(images: Tensor, reconstructions: Tensor) -> Tensor:
    """(n,) mean over all elements of an image of the squared difference, in float32 (source: paper)."""
    return torch.mean((reconstructions.float() - images.float()) ** 2, dim=(1, 2, 3))


def equal_contrast(images: Tensor) -> Tensor:
    """(x − mean) / (6·(standard deviation + 0.05)), both over all elements of each image, floating point.

    Without it, an image with little in it has a low squared error whatever that little is. Source: our choice (global
    contrast normalization is common with one-class methods). The 6 keeps strokes on 3 % of the pixels within the
    range of tanh; the 0.05 (6 gray levels) keeps noise in a flat image small.

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
    """The untrained network of a bundle; what shapes it stands among the options of the training's record.

    Raises:
        BundleError: the record lacks an option, or the input is not square.
    """
    spec, options = manifest.input, manifest.training.options
    wanted = ("width", "latent", "mode", "epsilon", "bounded", "contrast")
    missing = [name for name in wanted if name not in options]
    if missing:
        raise BundleError(
            f"bundle {manifest.name}: ALPS needs {', '.join(wanted)} among training.options; "
            f"{', '.join(missing)} missing",
            hint="export the bundle again",
        )
    if spec.height != spec.width:
        raise BundleError(f"bundle {manifest.name}: ALPS needs a square input, got {spec.height}×{spec.width}")
    shape: dict[str, Any] = {name: options[name] for name in wanted}
    shape["score"] = options.get("score", "perturbed")  # the first bundles do not name it
    return AlpsNet(spec.channels, spec.height, **shape)


def _encoding(before: int, after: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(before, after, 5, stride=stride, padding=2, bias=False)  # BatchNorm has the bias
    return [convolution, nn.BatchNorm2d(after), nn.LeakyReLU(LEAK)]


def _decoding(before: int, after: int, kernel: int, stride: int) -> list[nn.Module]:
    return [nn.ConvTranspose2d(before, after, kernel, stride=stride, padding=1), nn.LeakyReLU(LEAK)]
