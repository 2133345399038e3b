"""From a frame's movement to one descriptor for each moving patch."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.appearance import looks_of
from streamad.detectors.motion.flow import Movement
from streamad.detectors.motion.layout import BLOCK, LENGTH, LOOK, PLACE, SPEED, VELOCITY

Floats = npt.NDArray[np.float32]

MOVING_SHARE = 0.10
"""Share of a patch that must be foreground for it to be described, as for 30×30 patches (see `PatchHistory`)."""


@dataclass(frozen=True, slots=True)
class PatchDescriptors:
    """The moving patches of one frame.

    Attributes:
        locations: (n, 2) row and column of each in the grid.
        values: (n, `layout.LENGTH`) float32 descriptors, see `layout`.
        grid: (rows, cols) of the grid.
    """

    locations: npt.NDArray[np.intp]
    values: Floats
    grid: tuple[int, int]


def grid_shape(height: int, width: int) -> tuple[int, int]:
    """Return the rows and columns of patches for a working frame: one for every corner between four blocks."""
    return max(1, round(height / BLOCK) - 1), max(1, round(width / BLOCK) - 1)


def describe(movement: Movement, share: float = MOVING_SHARE) -> PatchDescriptors:
    """Describe the patches in which something moves.

    Everything is first averaged over blocks, weighted by foreground, so that the cost hardly depends on how much moves.

    Args:
        movement: Movement of the frame, with flow and appearance.
        share: See `MOVING_SHARE`.
    """
    assert movement.flow is not None
    assert movement.looks is not None
    blocks = _block_means(movement.foreground, movement.flow)
    grid = (blocks.shape[0] - 1, blocks.shape[1] - 1)
    cells4 = 0.25 * (blocks[:-1, :-1] + blocks[1:, :-1] + blocks[:-1, 1:] + blocks[1:, 1:])
    rows, cols = np.nonzero(cells4[..., 0] >= share)
    mean = cells4[rows, cols]
    values = np.empty((len(rows), LENGTH), np.float32)
    values[:, PLACE] = (np.stack([rows, cols], axis=1) + 1) * BLOCK
    values[:, SPEED] = np.sqrt(mean[:, 1:2] / mean[:, :1])
    values[:, VELOCITY] = mean[:, 2:] / mean[:, :1]
    patches = np.stack([rows, cols], axis=1)
    size = blocks.shape[1::-1]
    seen = [cv2.resize(channel, size, interpolation=cv2.INTER_AREA) for channel in movement.looks]
    values[:, LOOK] = looks_of(np.stack(seen, axis=-1), patches)
    return PatchDescriptors(patches, values, grid)


def _block_means(foreground: Floats, flow: Floats) -> Floats:
    """Return (rows, cols, 6) block means: foreground, foreground × speed², foreground × speed in four directions."""
    height, width = foreground.shape
    size = (max(2, round(2 * width / BLOCK)), max(2, round(2 * height / BLOCK)))
    weighted = flow * foreground[..., None]
    ahead = np.maximum(weighted, 0.0)
    square = (flow[..., 0] ** 2 + flow[..., 1] ** 2) * foreground
    means = [
        cv2.resize(part, size, interpolation=cv2.INTER_AREA)
        for part in (np.dstack([foreground, square]), ahead, ahead - weighted)
    ]
    return np.concatenate(means, axis=-1, dtype=np.float32)
