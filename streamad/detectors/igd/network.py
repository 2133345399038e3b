"""IGD's networks: encoder, decoder, critic, teacher, and the exported score."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamad.bundle import Manifest
from streamad.detectors.igd.losses import Gaussian, MsSsim, mean_absolute_error
from streamad.detectors.igd.options import LARGE, Balance, Pooling
from streamad.errors import BundleError, UsageError

PATCH = 32
"""Side of the local branch's patches, pixels (source: paper)."""
MAP_SIDE = 32
"""Rows and columns of a large image's anomaly map."""
SHAPE = ("width", "descriptor", "rho", "xi", "svdd", "beta", "scales", "window", "pooling", "teacher")
"""Options of a training that define the network; a bundle's record has them, and in later ones also the balance."""
TEACHER_SIDE = 64  # smaller images are enlarged to this for a teacher


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
        encoder: Encoder to use instead of the usual one (a teacher's).
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
        encoder: nn.Module | None = None,
    ) -> None:
        super().__init__()
        self.rho = rho
        self.encoder = encoder or Encoder(channels, side, width, descriptor)
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
        teacher: Backbone with frozen features instead of the global encoder. None: no teacher.
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
        encoder = TeacherEncoder(teacher, channels, descriptor, pretrained=pretrained) if teacher else None
        self.whole = Branch(
            channels, side, width, descriptor=descriptor, rho=rho, scales=scales, window=window, encoder=encoder
        )
        self.patch: Branch | None = None
        if self.beta < 1:
            # Four scales as in the paper; 4 px at the coarsest one allow a window of 3.
            self.patch = Branch(channels, PATCH, width, descriptor=descriptor, rho=rho, scales=4, window=3)

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


class TeacherEncoder(nn.Module):
    """Frozen features of a trained backbone, and a trained linear layer to the descriptor.

    Source: paper (frozen features of an ImageNet-trained ResNet18, and a linear layer to 128). Using the backbone
        itself
    instead of a network distilled from it follows the public code for the global branch.

    Args:
        name: A model of torchvision or timm, such as "resnet18"; "torchvision:NAME" and "timm:NAME" are explicit.
        channels: Channels of the image; gray is repeated to three.
        outputs: Length of the descriptor.
        pretrained: Load published weights (the library may download them).

    Raises:
        UsageError: The backbone is not installed, or its weights cannot be loaded.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str, channels: int, outputs: int, *, pretrained: bool) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise UsageError(f"a teacher needs images of 1 or 3 channels, got {channels}", hint="train without teacher")
        self.backbone = _backbone(name, pretrained).eval().requires_grad_(False)
        # ImageNet's statistics, which published backbones expect.
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1), persistent=False)
        with torch.no_grad():
            length = self.backbone(torch.zeros(1, 3, TEACHER_SIDE, TEACHER_SIDE)).flatten(1).shape[1]
        self.head = nn.Linear(length, outputs)

    def train(self, mode: bool = True) -> TeacherEncoder:
        """Set the mode of the linear layer only: a frozen BatchNorm keeps its statistics."""
        super().train(mode)
        self.backbone.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, channels, side, side) in [0, 1] to (n, outputs)."""
        if images.shape[-1] < TEACHER_SIDE:
            images = functional.interpolate(
                images, size=(TEACHER_SIDE, TEACHER_SIDE), mode="bilinear", align_corners=False
            )
        images = images.expand(-1, 3, -1, -1)
        features = self.backbone((images - self.mean) / self.deviation)
        return cast(Tensor, self.head(features.flatten(1)))


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
    return IgdNet(spec.channels, spec.height, **shape, balance=options.get("balance", "loss"))


def _widths(side: int, width: int) -> tuple[int, ...]:
    return (width, 2 * width, 4 * width, 4 * width) if side >= LARGE else (width, 2 * width, 4 * width)


def _sides(side: int) -> tuple[int, ...]:
    """Return the sides of the maps from the first convolution on; halves are rounded up, as with a stride of 2."""
    first = (side + 1) // 2 if side >= LARGE else side
    sides = [first]
    for _ in _widths(side, 1):
        sides.append((sides[-1] + 1) // 2)
    return tuple(sides)


def _backbone(name: str, pretrained: bool) -> nn.Module:
    library, _, model = name.rpartition(":")
    if library not in ("", "torchvision", "timm") or not model:
        raise UsageError(
            f"there is no teacher {name!r}", hint="give the name of a torchvision or timm model, such as resnet18"
        )
    problems = []
    for candidate in (library,) if library else ("torchvision", "timm"):
        try:
            return _from_timm(model, pretrained) if candidate == "timm" else _from_torchvision(model, pretrained)
        except ModuleNotFoundError:
            problems.append(f"{candidate} is not installed")
        except (ValueError, RuntimeError, OSError) as error:  # unknown name, or weights that cannot be downloaded
            problems.append(f"{candidate}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    raise UsageError(
        f"the teacher {name!r} cannot be loaded: {'; '.join(problems)}",
        hint="install torchvision or timm and check the model's name, or train without `teacher`",
    )


def _from_timm(model: str, pretrained: bool) -> nn.Module:
    timm: Any = importlib.import_module("timm")
    return cast(nn.Module, timm.create_model(model, pretrained=pretrained, num_classes=0))


def _from_torchvision(model: str, pretrained: bool) -> nn.Module:
    models: Any = importlib.import_module("torchvision.models")
    network = cast(nn.Module, models.get_model(model, weights="DEFAULT" if pretrained else None))
    for head in ("fc", "classifier", "head", "heads"):
        if hasattr(network, head):
            setattr(network, head, nn.Identity())
            return network
    raise ValueError(f"{model} has no classifier that could be removed")
