"""What is kept of normal video: all descriptors on disk, and in memory a sample and sums of each cell."""

from __future__ import annotations

import tempfile
from array import array
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.motion.layout import LENGTH, MOVEMENT, SHARE, SPEED
from streamad.detectors.motion.scorer import MotionScorer
from streamad.errors import OutputError
from streamad.frame import Frame

Floats = npt.NDArray[np.float32]

PER_CELL = 256
"""Maximum number of descriptors of a cell that are kept as candidates for examples."""

READ_CELLS = 65_536
"""Descriptors that are read back from the file at once, about."""


@dataclass(frozen=True, slots=True)
class Moments:
    """Sums over all descriptors of each cell: (rows, cols, …) float64.

    Attributes:
        counts: Number of descriptors.
        squares: (rows, cols, 10) sum of the squares of the movement.
        shares: Sum of the shares that move.
        speeds: Sum of the mean speeds.
    """

    counts: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]
    shares: npt.NDArray[np.float64]
    speeds: npt.NDArray[np.float64]


class MotionSampler:
    """Describes clips of a camera's normal video in one pass, however long they are.

    Every descriptor goes to a temporary file, 26 bytes each, to be compared with the examples of other times once these
    are known. Memory holds a uniform sample of each cell (reservoir sampling, Vitter 1985), so that every frame is
    equally likely to become an example, and sums over all descriptors.

    Args:
        manifest: How frames become descriptors.
        folder: Folder of the temporary file, which has no name and vanishes when this object is closed.
        seed: Seed of the sample.

    Raises:
        OutputError: The file cannot be written.
    """

    def __init__(self, manifest: Manifest, folder: Path, *, seed: int = 17) -> None:
        self._scorer = MotionScorer(manifest, "fitting")
        self._rng = np.random.default_rng(seed)
        self._folder = folder
        with self._on_disk():
            self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115 - it lives as long as this object
        self._counts, self._clips, self._seconds = array("i"), array("i"), array("d")
        self._clip = -1
        self._kept: Floats | None = None
        self._kept_at: npt.NDArray[np.int64]
        self._moments: Moments
        self.frames = 0
        """Frames read."""

    @property
    def clips(self) -> npt.NDArray[np.int32]:
        """(described,) number of each described frame's clip."""
        return np.frombuffer(self._clips, np.int32)

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """(described,) time of each described frame since its clip's first one."""
        return np.frombuffer(self._seconds, np.float64)

    @property
    def counts(self) -> npt.NDArray[np.int32]:
        """(described,) number of each described frame's descriptors."""
        return np.frombuffer(self._counts, np.int32)

    @property
    def moments(self) -> Moments | None:
        """Sums over all descriptors; None before the first described frame."""
        return None if self._kept is None else self._moments

    def feed(self, frames: Iterable[Frame]) -> None:
        """Add one clip.

        Raises:
            OutputError: The disk is full.
        """
        self._clip += 1
        self._scorer.reset()
        began: float | None = None
        for frame in frames:
            self.frames += 1
            found = self._scorer.described(frame)
            if isinstance(found, str):
                continue
            began = frame.pts_seconds if began is None else began
            if self._kept is None:
                self._begin(found.grid)
            self._keep(found.locations, found.values)
            self._counts.append(len(found.values))
            self._clips.append(self._clip)
            self._seconds.append(frame.pts_seconds - began)
        with self._on_disk():
            self._file.flush()

    def sample(self) -> tuple[Floats, npt.NDArray[np.int64], npt.NDArray[np.intp]]:
        """Return the kept descriptors (n, length), the number of the described frame of each, and that of its cell."""
        if self._kept is None:
            return np.zeros((0, LENGTH), np.float32), np.zeros(0, np.int64), np.zeros(0, np.intp)
        cells, slots = np.nonzero(self._kept_at >= 0)
        return self._kept[cells, slots], self._kept_at[cells, slots], cells

    def read(self) -> Iterator[tuple[slice, Floats]]:
        """Yield runs of described frames in order, each with the descriptors of all of them, (n, length) float32."""
        self._file.seek(0)
        ends = np.cumsum(self.counts, dtype=np.int64)
        start, done = 0, 0
        while start < len(ends):
            stop = max(start + 1, int(np.searchsorted(ends, done + READ_CELLS, side="right")))
            size = int(ends[stop - 1]) - done
            data = np.frombuffer(self._file.read(2 * LENGTH * size), np.float16).reshape(size, LENGTH)
            yield slice(start, stop), data.astype(np.float32)
            start, done = stop, int(ends[stop - 1])

    def close(self) -> None:
        """Remove the temporary file."""
        with suppress(OSError):  # what a full disk did not take is not wanted any more
            self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _begin(self, grid: tuple[int, int]) -> None:
        cells = grid[0] * grid[1]
        self._kept = np.zeros((cells, PER_CELL, LENGTH), np.float32)
        self._kept_at = np.full((cells, PER_CELL), -1, np.int64)
        self._moments = Moments(
            np.zeros(grid), np.zeros((*grid, MOVEMENT.stop - MOVEMENT.start)), np.zeros(grid), np.zeros(grid)
        )

    def _keep(self, locations: npt.NDArray[np.intp], values: Floats) -> None:
        assert self._kept is not None
        stored = values.astype(np.float16)  # what is compared later is what was learned
        with self._on_disk():
            self._file.write(stored.tobytes())
        values = stored.astype(np.float32)
        rows, cols = locations.T
        sums = self._moments
        sums.counts[rows, cols] += 1
        sums.squares[rows, cols] += values[:, MOVEMENT] ** 2
        sums.shares[rows, cols] += values[:, SHARE][:, 0]
        sums.speeds[rows, cols] += values[:, SPEED]
        seen = sums.counts[rows, cols].astype(np.int64)
        slot = np.where(seen <= PER_CELL, seen - 1, self._rng.integers(0, seen)) if len(seen) else seen
        taken = slot < PER_CELL
        cells = rows[taken] * sums.counts.shape[1] + cols[taken]
        self._kept[cells, slot[taken]] = values[taken]
        self._kept_at[cells, slot[taken]] = len(self._counts)

    @contextmanager
    def _on_disk(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise OutputError(
                f"cannot keep what was seen of the normal video in {self._folder}: {error.strerror or error}",
                hint="free some disk: a day of video needs about a gigabyte while it is learned from",
            ) from error
