"""The ADACL regressor."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from streamad.bundle import Manifest

LEAK = 0.2
STRIDES = (2, 2, 1, 1)


class AdaclNet(nn.Module):
    """Four convolutions, global max-pooling, two fully connected layers, one output without activation.

    Source: paper (fewer than 300k parameters), thesis, section 4.3.2 (layers). Not stated in either: 5×5 kernels,
    16-32-64-128 channels, strides 2, 2, 1, 1, BatchNorm, LeakyReLU 0.2 and 64 hidden units. 278 001 parameters for one
    channel: the convolutions have no bias, which BatchNorm would cancel (with those 240 it would be 278 241).

    Args:
        channels: Channels of the input.
        strides: Strides of the four convolutions.
    """

    def __init__(self, channels: int = 1, strides: tuple[int, ...] = STRIDES) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        before = channels
        for after, stride in zip((16, 32, 64, 128), strides, strict=True):
            layers += [
                nn.Conv2d(before, after, 5, stride=stride, padding=2, bias=False),  # BatchNorm has the bias
                nn.BatchNorm2d(after),
                nn.LeakyReLU(LEAK),
            ]
            before = after
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.Linear(128, 64), nn.LeakyReLU(LEAK), nn.Linear(64, 1))

    def forward(self, patches: Tensor) -> Tensor:
        """Regress the label.

        Args:
            patches: (n, channels, side, side) float32, gray / 127.5 − 1.

        Returns:
            (n,) float32, about 0..0.3 for normal patches and 0.7..1 for anomalies; not clipped.
        """
        maps = self.features(patches)  # (n, 128, side / product of strides, …)
        pooled = torch.amax(maps, dim=(2, 3))  # (n, 128)
        return self.head(pooled).squeeze(1)  # type: ignore[no-any-return]


def build(manifest: Manifest) -> AdaclNet:
    """Return the untrained network of a bundle."""
    return AdaclNet(manifest.input.channels, tuple(manifest.training.options.get("strides", STRIDES)))
