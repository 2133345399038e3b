"""Descriptors averaged along the movement: what an object did over the last half second, not in one noisy frame."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.descriptors import PatchDescriptors
from streamad.detectors.motion.layout import BLOCK, PLACE, VELOCITY

Floats = npt.NDArray[np.float32]

AVERAGING_SECONDS = 0.5
"""Time constant of the average along an object's path, seconds. Chosen among 0, 0.2, 0.4 and 0.7 s on rendered scenes
and on normal clips of Ped2 with faster people inserted."""


class TemporalSmoother:
    """Averages descriptors over time along the flow.

    The average is exponential and causal: a patch continues the average of the place that its content came from (as in
    the semi-Lagrangian scheme of fluid dynamics), weighted by how long it could be tracked. Noise of the flow averages
    out, while an object that is fast all along its path keeps its speed.

    Args:
        seconds: Time constant; 0 averages nothing.
    """

    def __init__(self, seconds: float = AVERAGING_SECONDS) -> None:
        self._seconds = seconds
        self._sums: Floats | None = None
        self._followed = 0.0

    @property
    def is_averaged(self) -> bool:
        """Whether descriptors have been tracked for the averaging time. Before that, they look less usual."""
        return self._followed >= self._seconds

    def follow(self, found: PatchDescriptors, elapsed: float) -> Floats:
        """Return the (n, length) averaged descriptors of the patches.

        Args:
            found: Descriptors of the newest frame.
            elapsed: Seconds since the previous frame.
        """
        self._followed += elapsed
        values, patches = found.values, found.locations
        weights = np.ones((len(values), 1), np.float32)
        sums = values.copy()
        if self._sums is not None and self._sums.shape[:2] == found.grid and len(values) and self._seconds > 0:
            right, down, left, up = values[:, VELOCITY].T
            rows = patches[:, 0] - (down - up) * np.float32(elapsed / BLOCK)
            cols = patches[:, 1] - (right - left) * np.float32(elapsed / BLOCK)
            before = _sampled(self._sums, rows, cols) * np.float32(math.exp(-elapsed / self._seconds))
            sums += before[:, :-1]
            weights += before[:, -1:]
        memory = np.zeros((*found.grid, values.shape[1] + 1), np.float32)
        memory[patches[:, 0], patches[:, 1], :-1] = sums
        memory[patches[:, 0], patches[:, 1], -1:] = weights
        self._sums = memory
        averaged = sums / weights
        averaged[:, PLACE] = values[:, PLACE]
        return np.asarray(averaged, dtype=np.float32)

    def reset(self) -> None:
        """Forget the past."""
        self._sums = None
        self._followed = 0.0


def _sampled(field: Floats, rows: Floats, cols: Floats) -> Floats:
    """Return (n, channels) bilinear samples of a (rows, cols, channels) field, clamped at its edges."""
    height, width = field.shape[:2]
    rows, cols = np.clip(rows, 0, height - 1), np.clip(cols, 0, width - 1)
    top, left = (
        np.minimum(rows.astype(np.intp), max(0, height - 2)),
        np.minimum(cols.astype(np.intp), max(0, width - 2)),
    )
    bottom, right = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    down, across = (rows - top)[:, None], (cols - left)[:, None]
    upper = field[top, left] * (1 - across) + field[top, right] * across
    lower = field[bottom, left] * (1 - across) + field[bottom, right] * across
    return np.asarray(upper * (1 - down) + lower * down, dtype=np.float32)
