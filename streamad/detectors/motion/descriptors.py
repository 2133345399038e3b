"""From the movement in a picture to one descriptor for each cell in which something moves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.layout import CELL, LENGTH, MOVEMENT, PLACE, SHARE, SPEED
from streamad.frame import LocationBoxes

Floats = npt.NDArray[np.float32]

ACTIVE = 0.05
"""Mean speed from which a cell is described, working pixels per second: below it, nothing in the cell moves."""


@dataclass(frozen=True, slots=True)
class CellDescriptors:
    """The cells of one frame in which something moves.

    Attributes:
        locations: (n, 2) row and column of each in the grid.
        values: (n, `layout.LENGTH`) float32 descriptors, see `layout`.
        grid: (rows, cols) of the grid.
    """

    locations: npt.NDArray[np.intp]
    values: Floats
    grid: tuple[int, int]


def describe(movement: Floats) -> CellDescriptors:
    """Describe the cells in which something moves.

    Args:
        movement: (rows, cols, 11) share and movement of every cell, see `FlowMeter`.
    """
    grid = (movement.shape[0], movement.shape[1])
    slow_speed = MOVEMENT.stop - 1 - SHARE.start
    speed = np.maximum(movement[..., SPEED - SHARE.start], movement[..., slow_speed])
    locations = np.argwhere(speed > ACTIVE)
    values = np.zeros((len(locations), LENGTH), np.float32)
    values[:, PLACE] = (locations + 0.5) * CELL
    values[:, SHARE.start : MOVEMENT.stop] = movement[locations[:, 0], locations[:, 1]]
    return CellDescriptors(locations, values, grid)


def cell_boxes(shape: tuple[int, int], grid: tuple[int, int]) -> LocationBoxes:
    """Return the boxes of a grid's cells on a frame of this (height, width), pixels."""
    ys, xs = ([k * length // n for k in range(n + 1)] for length, n in zip(shape, grid, strict=True))
    return LocationBoxes.between(shape, ys, xs, span=1)
