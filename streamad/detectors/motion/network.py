"""The model as a torch module: the reference that engines are compared with."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from streamad.bundle import Manifest
from streamad.detectors.motion.density import TIME_OF
from streamad.detectors.motion.layout import CLOSEST, LENGTH, LENGTH_WITHOUT_STAYS, MOVEMENT, PLACE, STAY
from streamad.errors import BundleError

_SIZES = ("anchors", "examples")


class MotionNet(nn.Module):
    """Distances of descriptors; see `density.MotionModel`, whose arrays are the buffers.

    Input (n, length, 1, 1); output (n, 5): the distance, the usual movement and pace there, and the stay in units of
    the longest usual one.

    Args:
        anchors: Number of anchors.
        examples: Number of examples.
        stays: Whether it knows of stays; otherwise descriptor and output are shorter by one number.
    """

    def __init__(self, *, anchors: int, examples: int, stays: bool = True) -> None:
        super().__init__()
        movement = MOVEMENT.stop - MOVEMENT.start
        shape = {
            "anchors": (anchors, 2),
            "usual": (anchors, 3 + stays),
            "sharpness": (1,),
            "spread": (movement,),
            "nearness": (1,),
            "examples": (examples, movement + 2),
        }
        if stays:
            shape["stay_scale"] = (1,)
        self._stays = stays
        for name, size in shape.items():
            self.register_buffer(name, torch.zeros(size))

    def forward(self, descriptors: Tensor) -> Tensor:
        """See the class."""
        values = descriptors.flatten(1)
        place, examples = values[:, PLACE], self._array("examples")
        squares = (place[:, None, :] - self._array("anchors")).square().sum(-1)
        weights = torch.softmax(-squares * self._array("sharpness"), dim=1)
        usual = (weights @ self._array("usual")).exp()
        moved = values[:, MOVEMENT] / (usual[:, TIME_OF] * self._array("spread"))
        near = (place - self._array("anchors").mean(0)) * self._array("nearness")
        points = torch.cat([moved, near], 1)
        away = examples.square().sum(1) - 2.0 * points @ examples.T
        nearest = away.amin(1) + points.square().sum(1)
        distance = torch.minimum(nearest, moved.square().sum(1)).clamp_min(CLOSEST**2).sqrt()
        if self._stays:
            stayed = values[:, STAY] / usual[:, -1]
            distance = torch.maximum(distance, self._array("stay_scale") * stayed)
            usual = torch.cat([usual[:, :-1], stayed[:, None]], 1)
        return torch.cat([distance[:, None], usual], 1)

    def _array(self, name: str) -> Tensor:
        return cast(Tensor, getattr(self, name))


def build(manifest: Manifest) -> MotionNet:
    """Return the network that fits a bundle's arrays.

    Raises:
        BundleError: The manifest is not one of this detector's.
    """
    options = manifest.training.options
    stays = manifest.input.channels == LENGTH
    if manifest.input.channels not in (LENGTH, LENGTH_WITHOUT_STAYS) or any(name not in options for name in _SIZES):
        raise BundleError(
            f"bundle {manifest.name}: motion needs {LENGTH} input channels and the options {', '.join(_SIZES)} in its "
            f"training record; got {manifest.input.channels} and {', '.join(options) or 'none'}",
            hint="fit the model again with this version",
        )
    return MotionNet(**{name: int(options[name]) for name in _SIZES}, stays=stays)
