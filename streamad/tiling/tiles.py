"""Tiles: what one frame gives a network to score."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class Tiles:
    """The network's input that scores one frame.

    Attributes:
        camera: the configured id of the camera.
        index: number of the frame that these tiles score.
        pts_seconds: presentation time of that frame, seconds.
        received_at: `time.monotonic()` when the newest frame among the tiles was decoded.
        batch: (n, channels, height, width) float32 in the range that the model declares; n may be 0 (nothing moves).
        cells: (n, 2) row and column of each tile in the grid, None where a tile is the whole frame.
        grid: (rows, cols) of the grid, None where a tile is the whole frame.
        withheld: why this frame gets no score ("warming_up", "gap"), None where it does.
    """

    camera: str
    index: int
    pts_seconds: float
    received_at: float
    batch: npt.NDArray[np.float32] = field(repr=False)
    cells: npt.NDArray[np.intp] | None = field(default=None, repr=False)
    grid: tuple[int, int] | None = None
    withheld: str | None = None
