"""What is learned of stays: how long things usually stand, and whether enough was seen to tell."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.stays import KNOWN, LONGEST_STEP_SECONDS

STAY_DTYPE = np.dtype([("cell", "<i4"), ("seconds", "<f4")])
"""A stay: its cell (row · columns + column), and its length in seconds."""

SHORTEST_USUAL = 1.5
"""Stays up to this length are usual on every camera, seconds."""

WINDOWS = 15
"""A stay is reported only if there was normal video in which something moves that is this many times as long. This
is what keeps a lived-in room silent, where things are put down for minutes and hours: there, no video is long enough.
See docs/results/motion.md."""

IN_A_CLIP = 1 + KNOWN
"""A clip counts if it is this many times as long as the stay that is reported: a shorter one cannot show it."""

NEVER = 1e9
"""Longest usual stay where too little was seen to tell, seconds."""

PER_CELL = 16
"""Stays of a cell that are kept: the longest."""

SPARE = 4
"""Stays are sorted out when there are this many times as many as are kept."""


class StayRecords:
    """The longest stays of every cell, in bounded memory.

    Args:
        cells: Number of cells.
    """

    def __init__(self, cells: int) -> None:
        self._current = np.zeros(cells, STAY_DTYPE)
        self._current["cell"] = np.arange(cells)
        self._unusual = np.zeros(cells)
        self._past: list[npt.NDArray[np.void]] = []
        self._count = 0

    def add(self, cells: npt.NDArray[np.intp], seconds: npt.NDArray[np.float32], *, is_normal: bool = True) -> None:
        """Note stays that have grown.

        Args:
            cells: (n,) their cells.
            seconds: (n,) their lengths.
            is_normal: Whether no alert touches them now. A stay that an alert has touched is no example, neither what
                was noted of it before nor what follows.
        """
        if not is_normal:
            same = self._current["seconds"][cells] <= seconds
            self._current["seconds"][cells[same]] = 0.0
            self._unusual[cells] = seconds
            return
        is_rest = (self._unusual[cells] > 0) & (seconds >= self._unusual[cells])
        self._unusual[cells] = np.where(is_rest, seconds, 0.0)
        cells, seconds = cells[~is_rest], seconds[~is_rest]
        is_next = self._current["seconds"][cells] > seconds
        if is_next.any():
            self.extend(self._current[cells[is_next]])
        self._current["seconds"][cells] = seconds

    def extend(self, stays: npt.NDArray[np.void]) -> None:
        """Add stays that are over, (n,) `STAY_DTYPE`."""
        self._past.append(stays.copy())
        self._count += len(stays)
        if self._count > SPARE * PER_CELL * len(self._current):
            self._past = [_longest(np.concatenate(self._past))]
            self._count = len(self._past[0])

    def stays(self) -> npt.NDArray[np.void]:
        """Return the longest stays of every cell, (n,) `STAY_DTYPE`."""
        now = self._current[self._current["seconds"] > 0]
        return _longest(np.concatenate([*self._past, now]))


def _longest(stays: npt.NDArray[np.void]) -> npt.NDArray[np.void]:
    stays = stays[np.lexsort((-stays["seconds"], stays["cell"]))]
    first = np.flatnonzero(np.diff(stays["cell"], prepend=-1))
    rank = np.arange(len(stays)) - np.repeat(first, np.diff(first, append=len(stays)))
    return stays[rank < PER_CELL]


def usual_stay(stays: npt.NDArray[np.void], runs: npt.NDArray[np.float64], overdue: float) -> float:
    """Return the longest usual stay, seconds, or `NEVER` if too little was seen for it.

    Args:
        stays: (n,) `STAY_DTYPE` stays of the normal video.
        runs: (clips, 2) length of each clip of it, and for how long something moved in it, seconds; see `runs_of`.
        overdue: Length of a stay that is reported, in units of the longest usual one.
    """
    longest = max(SHORTEST_USUAL, float(stays["seconds"].max(initial=0.0)))
    reported = overdue * longest
    seen = runs[runs[:, 0] >= IN_A_CLIP * reported, 1].sum()
    return longest if seen >= WINDOWS * reported else NEVER


def runs_of(
    clips: npt.NDArray[np.int32], seconds: npt.NDArray[np.float64], counts: npt.NDArray[np.int32]
) -> npt.NDArray[np.float64]:
    """Return the length of each clip, and for how long something moved in it, (clips, 2) seconds.

    Args:
        clips: (frames,) number of each frame's clip, ascending.
        seconds: (frames,) its time in the clip.
        counts: (frames,) number of its cells in which something moves.
    """
    if not len(clips):
        return np.zeros((0, 2))
    first = np.flatnonzero(np.diff(clips, prepend=-1))
    steps = np.diff(seconds, prepend=seconds[0])
    steps[first] = 0.0
    steps = np.minimum(steps, LONGEST_STEP_SECONDS)
    return np.stack([np.add.reduceat(steps, first), np.add.reduceat(steps * (counts > 0), first)], axis=1)
