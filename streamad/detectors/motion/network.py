"""The model as a torch module: the reference that engines are compared with."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from streamad.bundle import Manifest
from streamad.detectors.motion.layout import (
    BEYOND,
    CLOSEST,
    LENGTH,
    PLACE,
    SHAPE,
    SLOWEST,
    SPEED,
    VELOCITY,
)
from streamad.errors import BundleError

_SIZES = ("anchors", "velocities", "shapes", "components")


class MotionNet(nn.Module):
    """Rarities of descriptors; see `density.MotionModel`, whose arrays are the buffers.

    Input (n, length, 1, 1), output (n, 4): rarity of speed, direction and shape, usual speed there.

    Args:
        anchors: number of anchors.
        velocities: number of examples of velocity.
        shapes: number of examples of shape.
        components: principal components of a shape.
    """

    def __init__(self, *, anchors: int, velocities: int, shapes: int, components: int) -> None:
        super().__init__()
        width = SHAPE.stop - SHAPE.start
        shape = {
            "anchors": (anchors, 2),
            "usual": (anchors,),
            "sharpness": (1,),
            "nearness": (1,),
            "velocities": (velocities, 6),
            "mean": (width,),
            "components": (width, components),
            "shapes": (shapes, components + 2),
            "location": (3,),
            "scale": (3,),
            "cap": (3,),
        }
        for name, size in shape.items():
            self.register_buffer(name, torch.zeros(size))

    def forward(self, descriptors: Tensor) -> Tensor:
        """See the class."""
        values = descriptors.flatten(1)
        place = values[:, PLACE]
        anchors, usual_there = self._array("anchors"), self._array("usual")
        squares = (place[:, None, :] - anchors).square().sum(-1)
        weights = torch.softmax(-squares * self._array("sharpness"), dim=1)
        usual = (weights * usual_there).sum(1, keepdim=True).exp()
        near = place * self._array("nearness")
        speed = values[:, SPEED].clamp_min(SLOWEST) / usual
        velocity = torch.cat([values[:, VELOCITY] / usual, near], 1)
        shape = torch.cat([(values[:, SHAPE] - self._array("mean")) @ self._array("components"), near], 1)
        measures = torch.cat(
            [speed, _nearest(velocity, self._array("velocities")), _nearest(shape, self._array("shapes"))], 1
        )
        z = (measures.clamp_min(CLOSEST).log() - self._array("location")) / self._array("scale")
        z = z - (1 - BEYOND) * (z - self._array("cap")).clamp_min(0)
        return torch.cat([z, usual], 1)

    def _array(self, name: str) -> Tensor:
        return cast(Tensor, getattr(self, name))


def build(manifest: Manifest) -> MotionNet:
    """The network that a bundle's arrays belong to.

    Raises:
        BundleError: the manifest is not one of this detector.
    """
    options = manifest.training.options
    if manifest.input.channels != LENGTH or any(name not in options for name in _SIZES):
        raise BundleError(
            f"bundle {manifest.name}: motion needs {LENGTH} input channels and the options {', '.join(_SIZES)} in its "
            f"training record; got {manifest.input.channels} and {', '.join(options) or 'none'}",
            hint="fit the model again with this version",
        )
    return MotionNet(**{name: int(options[name]) for name in _SIZES})


def _nearest(points: Tensor, examples: Tensor) -> Tensor:
    squares = examples.square().sum(1) - 2.0 * points @ examples.T
    return (squares.amin(1, keepdim=True) + points.square().sum(1, keepdim=True)).clamp_min(0).sqrt()
