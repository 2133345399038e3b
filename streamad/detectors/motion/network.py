"""The model as a torch module: the reference that engines are compared with."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from streamad.bundle import Manifest
from streamad.detectors.motion.layout import (
    CLOSEST,
    LENGTH,
    LOOK,
    MEASURES,
    PLACE,
    SLOWEST,
    SPEED,
    VELOCITY,
)
from streamad.errors import BundleError

_SIZES = ("anchors", "velocities", "looks", "look_parts")


class MotionNet(nn.Module):
    """Evidence of descriptors; see `density.MotionModel`, whose arrays are the buffers.

    Input (n, length, 1, 1); output (n, 4): evidence of speed, direction and appearance, and the usual speed there.

    Args:
        anchors: Number of anchors.
        velocities: Number of examples of velocity.
        looks: Number of examples of appearance.
        look_parts: Number of principal components of appearance.
    """

    def __init__(self, *, anchors: int, velocities: int, looks: int, look_parts: int) -> None:
        super().__init__()
        shape = {
            "anchors": (anchors, 2),
            "usual": (anchors,),
            "sharpness": (1,),
            "nearness": (1,),
            "velocities": (velocities, 6),
            "look_mean": (LOOK.stop - LOOK.start,),
            "look_basis": (LOOK.stop - LOOK.start, look_parts),
            "look_nearness": (1,),
            "looks": (looks, look_parts + 2),
            "base": (len(MEASURES),),
            "slope": (len(MEASURES),),
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
        seen = (values[:, LOOK].clamp_min(0).sqrt() - self._array("look_mean")) @ self._array("look_basis")
        look = torch.cat([seen, place * self._array("look_nearness")], 1)
        nearest = [_nearest(velocity, self._array("velocities")), _nearest(look, self._array("looks"))]
        measures = torch.cat([speed, *nearest], 1)
        beyond = (measures.clamp_min(CLOSEST).log() - self._array("base")).clamp_min(0)
        return torch.cat([beyond * self._array("slope"), usual], 1)

    def _array(self, name: str) -> Tensor:
        return cast(Tensor, getattr(self, name))


def build(manifest: Manifest) -> MotionNet:
    """Return the network that fits a bundle's arrays.

    Raises:
        BundleError: The manifest is not one of this detector's.
    """
    options = manifest.training.options
    needed = (*_SIZES, "slopes")  # older bundles have other arrays
    if manifest.input.channels != LENGTH or any(name not in options for name in needed):
        raise BundleError(
            f"bundle {manifest.name}: motion needs {LENGTH} input channels and the options {', '.join(needed)} in its "
            f"training record; got {manifest.input.channels} and {', '.join(options) or 'none'}",
            hint="fit the model again with this version",
        )
    return MotionNet(**{name: int(options[name]) for name in _SIZES})


def _nearest(points: Tensor, examples: Tensor) -> Tensor:
    squares = examples.square().sum(1) - 2.0 * points @ examples.T
    return (squares.amin(1, keepdim=True) + points.square().sum(1, keepdim=True)).clamp_min(0).sqrt()
