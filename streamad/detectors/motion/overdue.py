"""When a stay is overdue: which things have been standing for too long, each reported once."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.reasons import stay_reason

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

OVERDUE = 2.0
"""Length of a stay, in units of the longest usual one, from which it is reported; see docs/results/motion.md."""

REPORT_SECONDS = 10.0
"""Time for which a stay is reported: long enough for an alert, short enough that what else happens gets its own."""

TOGETHER = 0.5
"""Neighboring cells whose stays are at least this many times as long belong to the same thing."""


class OverdueStays:
    """What has been standing for too long on one camera.

    A thing is the connected cells in which something has been standing for about as long. It is reported once, for
    `REPORT_SECONDS` or until it is gone, with the distance at which it became overdue.

    Args:
        factor: Length of a stay, in units of the longest usual one, from which it is reported.
    """

    def __init__(self, factor: float = OVERDUE) -> None:
        self._factor = factor
        self._reported: Bools | None = None
        self._thing: Bools | None = None
        self._until = -np.inf
        self._seconds = 0.0
        self.distance = 0.0
        """Distance of the thing that is being reported; 0 if there is none."""
        self.reason = ""

    @property
    def cells(self) -> Bools | None:
        """(rows, cols) cells of the thing that is being reported; None if there is none."""
        return self._thing

    def push(
        self,
        now: float,
        standing: Floats,
        cells: npt.NDArray[np.intp],
        stays: Floats,
        usual: Floats,
        distances: Floats,
    ) -> None:
        """Add the next frame.

        Args:
            now: Its time, seconds.
            standing: (rows, cols) how long something has been standing in each cell, seconds; see `StayMeter.seconds`.
            cells: (n, 2) cells whose stay has grown.
            stays: (n,) its length, seconds.
            usual: (n,) the longest usual one there, seconds.
            distances: (n,) its distance.
        """
        stands = standing > 0
        if self._reported is None or self._reported.shape != stands.shape:
            self._reported, self._thing = np.zeros_like(stands), None
        self._reported &= stands
        # A step back is a new time base.
        if self._thing is not None and not (
            (self._thing & stands).any() and self._until - REPORT_SECONDS <= now < self._until
        ):
            self._thing = None
        for k in np.flatnonzero(stays >= self._factor * usual):
            row, col = int(cells[k, 0]), int(cells[k, 1])
            if self._reported[row, col]:
                continue
            thing = _connected(standing >= TOGETHER * stays[k], row, col)
            is_known = bool((thing & self._reported).any())
            self._reported |= thing
            if self._thing is not None and is_known and (self._thing & thing).any():
                self._thing |= thing
            elif not is_known:
                self._thing, self._until, self.distance = thing, now + REPORT_SECONDS, float(distances[k])
                self.reason = stay_reason(float(stays[k]), float(usual[k]))
        if self._thing is None:
            self.distance = 0.0


def _connected(cells: Bools, row: int, col: int) -> Bools:
    """Return the cells that are connected with one of them, diagonally too."""
    _, labels = cv2.connectedComponents(cells.astype(np.uint8), connectivity=8)
    return np.asarray((labels == labels[row, col]) & cells)
