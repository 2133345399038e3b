"""IGD's networks: encoder, decoder, critic, and the exported score."""

from __future__ import annotations

from typing import NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamad.bundle import Manifest
from streamad.detectors.igd.losses import Gaussian, MsSsim, mean_absolute_error
from streamad.detectors.igd.options import LARGE, Balance, Pooling
from streamad.detectors.igd.teacher import FrozenEncoder, Teacher
from streamad.errors import BundleError, UsageError

PATCH = 32
"""Side of the local branch's patches, pixels (source: paper)."""
MAP_SIDE = 32
"""Rows and columns of a large image's anomaly map."""
SHAPE = ("width", "descriptor", "rho", "xi", "svdd", "beta", "scales", "window", "pooling", "teacher")
"""Options of a training that define the network; a bundle's record has them. Later ones have the balance and the number
of a distilled encoder's features, too."""


class Block(nn.Module):
    """Pre-activation residual block: twice BatchNorm, ReLU, 3×3 convolution (source: paper, after He et al. 2016).

    Args:
        before: Channels of the input.
        after: Channels of the output.
        size: Side of the output if the block enlarges. None: it halves the side (rounded up).
    """

    def __init__(self, before: int, after: int, size: int | None = None) -> None:
        super().__init__()
        stride = 2 if size is None else 1
        self.size = size
        self.norm1 = nn.BatchNorm2d(before)
        self.conv1 = nn.Conv2d(before, after, 3, stride=stride, padding=1, bias=False)
        self.norm2 = nn.BatchNorm2d(after)
        self.conv2 = nn.Conv2d(after, after, 3, padding=1, bias=False)
        self.shortcut = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        """Map (n, before, h, w) to (n, after, h', w')."""
        active = functional.relu(self.norm1(maps))
        inner = functional.relu(self.norm2(self.conv1(active)))
        # Not a stride of 2: oneDNN's 1×1 convolution with a stride writes out of bounds for fewer than 8 channels.
        short = self.shortcut(active[:, :, ::2, ::2] if self.size is None else active)
        if self.size is not None:  # enlarged after the first convolution, which then costs a quarter
            inner = functional.interpolate(inner, size=(self.size, self.size), mode="nearest")
            short = functional.interpolate(short, size=(self.size, self.size), mode="nearest")
        return cast(Tensor, self.conv2(inner) + short)


class Encoder(nn.Module):
    """Encoder f, and with one output the critic d.

    Widths are in the paper's proportions: w-2w-4w for images below 64 px, w-2w-4w-4w above, where the paper has w =
    128. Not in the paper: a stride of 2 in the first convolution above 64 px, and a linear layer over all positions.

    Args:
        channels: Channels of the image.
        side: Side of the image, pixels.
        width: The width w.
        outputs: Length of the descriptor.
    """

    def __init__(self, channels: int, side: int, width: int, outputs: int) -> None:
        super().__init__()
        widths = _widths(side, width)
        sides = _sides(side)
        self.stem = nn.Conv2d(channels, width, 3, stride=2 if side >= LARGE else 1, padding=1, bias=False)
        self.blocks = nn.Sequential(*(Block(a, b) for a, b in zip((width, *widths), widths, strict=False)))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.head = nn.Linear(widths[-1] * sides[-1] ** 2, outputs)

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, channels, side, side) in [0, 1] to (n, outputs)."""
        maps = functional.relu(self.norm(self.blocks(self.stem(images * 2 - 1))))
        return cast(Tensor, self.head(maps.flatten(1)))


class Decoder(nn.Module):
    """Decoder g: a linear layer, residual blocks that double the side, a 3×3 convolution, a sigmoid.

    Widths are in the paper's proportions: 2w-w-w/2 below 64 px; 4w-2w-w-w/2 and, unlike the paper, a pixel shuffle
    above.
    """

    def __init__(self, channels: int, side: int, width: int, inputs: int) -> None:
        super().__init__()
        widths = (*((4 * width,) if side >= LARGE else ()), 2 * width, width, max(4, width // 2))
        sides = _sides(side)[::-1]
        self.first = (4 * width, sides[0], sides[0])
        self.head = nn.Linear(inputs, 4 * width * sides[0] ** 2)
        steps = zip((4 * width, *widths), widths, sides[1:], strict=False)
        self.blocks = nn.Sequential(*(Block(*step) for step in steps))
        self.norm = nn.BatchNorm2d(widths[-1])
        self.shuffle = side >= LARGE
        self.image = nn.Conv2d(widths[-1], channels * (4 if self.shuffle else 1), 3, padding=1)

    def forward(self, descriptors: Tensor) -> Tensor:
        """Map (n, inputs) to (n, channels, side, side) in [0, 1]."""
        maps = self.head(descriptors).reshape(-1, *self.first)
        image = self.image(functional.relu(self.norm(self.blocks(maps))))
        return torch.sigmoid(functional.pixel_shuffle(image, 2) if self.shuffle else image)


class Branch(nn.Module):
    """One autoencoder with its Gaussian, for images of one size.

    Args:
        channels: Channels of the image.
        side: Side of the image, pixels.
        width: The width w of encoder and decoder.
        descriptor: Length of z.
        rho: Share of the absolute error in ℓ_m.
        scales: Scales of MS-SSIM.
        window: Taps of MS-SSIM's window.
        features: Frozen features of the encoder, and their number (a teacher's). None: the whole encoder learns.
    """

    def __init__(
        self,
        channels: int,
        side: int,
        width: int,
        *,
        descriptor: int,
        rho: float,
        scales: int,
        window: int,
        features: tuple[nn.Module, int] | None = None,
    ) -> None:
        super().__init__()
        self.rho = rho
        self.encoder: FrozenEncoder | Encoder = (
            FrozenEncoder(*features, descriptor) if features else Encoder(channels, side, width, descriptor)
        )
        self.decoder = Decoder(channels, side, width, descriptor)
        self.gaussian = Gaussian(descriptor)
        self.similarity = MsSsim(side, scales=scales, window=window)

    def reconstruction_loss(self, x: Tensor, y: Tensor) -> Tensor:
        """Return ℓ_m = rho · MAE + (1 − rho) · (1 − MS-SSIM) for each image, (n,) in [0, 1] (paper, equation 8)."""
        return self.rho * mean_absolute_error(x, y) + (1 - self.rho) * (1 - cast(Tensor, self.similarity(x, y)))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return ℓ_m (n,), ℓ_h (n,) and ℓ_m at each pixel (n, side, side) (source: paper, equations 7, 8 and 12)."""
        z = self.encoder(x)
        y = self.decoder(z)
        errors = (x - y).abs().mean(dim=1)
        similar, similar_pixels = self.similarity.with_map(x, y)
        losses = self.rho * errors.mean(dim=(1, 2)) + (1 - self.rho) * (1 - similar)
        return losses, self.gaussian(z), self.rho * errors + (1 - self.rho) * (1 - similar_pixels)


class IgdParts(NamedTuple):
    """The parts of the score, each (n,) and (n, map_side, map_side)."""

    combined: Tensor
    reconstruction: Tensor
    svdd: Tensor
    anomaly_map: Tensor


class IgdNet(nn.Module):
    """The exported network: from images to score and anomaly map.

    Below 64 px there is one branch, since the image is its own patch (the paper applies no local MS-SSIM to MNIST,
    Fashion-MNIST and CIFAR-10). From 64 px on, a second branch processes the 32 px patches of the image. All losses of
    the two branches, not only MS-SSIM, are combined as beta · global + (1 − beta) · local; equation 8 can be read
    otherwise.

    Args:
        channels: Channels of the image, 1 or 3.
        side: Side of the image, pixels; from 64 on a multiple of 32.
        width: Channels of the first block.
        descriptor: Length of z.
        rho: Share of the absolute error in ℓ_m.
        xi: Share of ℓ_m in the score.
        svdd: Weight of ℓ_h against ℓ_m, the same as in the loss.
        balance: How the score's two parts are weighted, see `parts`.
        beta: Share of the global branch; 1 has no local one.
        scales: Scales of MS-SSIM on the whole image.
        window: Taps of MS-SSIM's window on the whole image.
        pooling: "mean" scores an image by its ℓ_m and ℓ_h (paper), "peak" by the highest location of its anomaly map,
            for frames in which an anomaly is small.
        teacher: Backbone of the encoders, see `Teacher`. None: no teacher.
        teacher_features: Number of features of encoders distilled from the teacher, which is then not needed here. 0:
            the teacher itself encodes, frozen.
        pretrained: Load the teacher's published weights. False if a bundle's weights follow.

    Raises:
        UsageError: An argument is out of range, or the teacher is not installed.
    """

    units: Tensor
    """Standard deviations of ℓ_m and ℓ_h over held-out normal images; only with `balance` "normal"."""

    def __init__(
        self,
        channels: int,
        side: int,
        width: int,
        *,
        descriptor: int = 128,
        rho: float = 0.15,
        xi: float = 0.5,
        svdd: float = 1.0,
        balance: Balance = "loss",
        beta: float = 0.1,
        scales: int = 3,
        window: int = 5,
        pooling: Pooling = "mean",
        teacher: str | None = None,
        teacher_features: int = 0,
        pretrained: bool = False,
    ) -> None:
        super().__init__()
        if side < 16 or (side > LARGE // 2 and side % PATCH):
            raise UsageError(
                f"IGD takes images of 16 to {LARGE // 2} px, or of a multiple of {PATCH} px, got {side} px",
                hint="resize or pad the images",
            )
        if width < 4 or descriptor < 1 or not all(0 <= share <= 1 for share in (rho, xi, beta)):
            raise UsageError(
                "IGD needs width ≥ 4, descriptor ≥ 1 and rho, xi, beta in [0, 1], got "
                f"width {width}, descriptor {descriptor}, rho {rho}, xi {xi}, beta {beta}"
            )
        self.side, self.pooling = side, pooling
        self.shares = (xi, 1 - xi) if balance == "normal" else (xi, (1 - xi) * svdd)
        if balance == "normal":
            self.register_buffer("units", torch.ones(2))
        self.balance = balance
        self.beta = beta if side >= LARGE else 1.0
        self.map_side = MAP_SIDE if side >= LARGE else side

        def branch(side: int, scales: int, window: int) -> Branch:
            features: tuple[nn.Module, int] | None = None
            if teacher_features:
                features = Encoder(channels, side, width, teacher_features), teacher_features
            elif teacher:
                taught = Teacher(teacher, channels, pretrained=pretrained)
                features = taught, taught.length
            return Branch(
                channels, side, width, descriptor=descriptor, rho=rho, scales=scales, window=window, features=features
            )

        self.whole = branch(side, scales, window)
        # Four scales as in the paper; 4 px at the coarsest one allow a window of 3.
        self.patch = branch(PATCH, 4, 3) if self.beta < 1 else None

    def parts(self, x: Tensor) -> IgdParts:
        """Return the score and its parts.

        Args:
            x: (n, channels, side, side) float32 in [0, 1].

        Returns:
            combined = xi · ℓ_m + (1 − xi) · ℓ_h, then ℓ_m, ℓ_h and the combined anomaly map (source: paper, equations
            11 and 12). The relative size of the two parts is not the paper's: with `balance` "loss", ℓ_h has the factor
            svdd as in the loss; with "normal", each part is divided by its standard deviation over held-out normal
            images (`units`).
        """
        loss, far, pixels = self.whole(x)
        across = far[:, None, None].expand(-1, self.map_side, self.map_side)
        if self.patch is not None:
            grid = self.side // PATCH
            patch_loss, patch_far, patch_pixels = self.patch(to_patches(x))
            beta, rest = self.beta, 1 - self.beta
            loss = beta * loss + rest * patch_loss.reshape(-1, grid**2).mean(dim=1)
            patch_far = patch_far.reshape(-1, 1, grid, grid)
            far = beta * far + rest * patch_far.mean(dim=(1, 2, 3))
            pixels = beta * pixels + rest * from_patches(patch_pixels, grid)
            patches = functional.interpolate(patch_far, size=(self.map_side, self.map_side), mode="nearest")
            across = beta * across + rest * patches[:, 0]
        rows = functional.avg_pool2d(pixels.unsqueeze(1), self.side // self.map_side)[:, 0]
        near, away = self._weights()
        anomaly_map = near * rows + away * across
        if self.pooling == "peak":
            return IgdParts(anomaly_map.amax(dim=(1, 2)), rows.amax(dim=(1, 2)), across.amax(dim=(1, 2)), anomaly_map)
        return IgdParts(near * loss + away * far, loss, far, anomaly_map)

    def _weights(self) -> tuple[float | Tensor, float | Tensor]:
        near, rest = self.shares
        return (near, rest) if self.balance == "loss" else (near / self.units[0], rest / self.units[1])

    def forward(self, x: Tensor) -> Tensor:
        """Return score and anomaly map.

        Args:
            x: (n, channels, side, side) float32 in [0, 1]: gray / 255.

        Returns:
            (n, 1 + map_side²): the score, then the map row by row.
        """
        parts = self.parts(x)
        return torch.cat([parts.combined[:, None], parts.anomaly_map.flatten(1)], dim=1)


def to_patches(x: Tensor) -> Tensor:
    """Split (n, c, side, side) into its (n · grid², c, 32, 32) patches, row by row."""
    grid = x.shape[-1] // PATCH
    cut = x.reshape(-1, x.shape[1], grid, PATCH, grid, PATCH)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(-1, x.shape[1], PATCH, PATCH)


def from_patches(patches: Tensor, grid: int) -> Tensor:
    """Join (n · grid², 32, 32) to (n, grid · 32, grid · 32)."""
    whole = patches.reshape(-1, grid, grid, PATCH, PATCH).permute(0, 1, 3, 2, 4)
    return whole.reshape(-1, grid * PATCH, grid * PATCH)


def build(manifest: Manifest) -> IgdNet:
    """Return the untrained network of a bundle. The options of the training record define its shape.

    Raises:
        BundleError: The record lacks an option, or the input is not square.
    """
    spec, options = manifest.input, manifest.training.options
    missing = [name for name in SHAPE if name not in options]
    if spec.height != spec.width or missing:
        raise BundleError(
            f"bundle {manifest.name}: IGD needs a square input and the options {', '.join(SHAPE)} in its training "
            f"record; got {spec.width}×{spec.height} px and no {', '.join(missing) or 'lack'}",
            hint="export the bundle again",
        )
    shape = {name: options[name] for name in SHAPE}
    later = {"balance": options.get("balance", "loss"), "teacher_features": options.get("teacher_features", 0)}
    return IgdNet(spec.channels, spec.height, **shape, **later)


def _widths(side: int, width: int) -> tuple[int, ...]:
    return (width, 2 * width, 4 * width, 4 * width) if side >= LARGE else (width, 2 * width, 4 * width)


def _sides(side: int) -> tuple[int, ...]:
    """Return the sides of the maps from the first convolution on; halves are rounded up, as with a stride of 2."""
    first = (side + 1) // 2 if side >= LARGE else side
    sides = [first]
    for _ in _widths(side, 1):
        sides.append((sides[-1] + 1) // 2)
    return tuple(sides)
