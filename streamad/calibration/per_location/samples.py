"""CellSamples: a fair sample of every cell's normal scores, in memory that does not grow with the video."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from streamad.errors import CalibrationError

RESERVOIR = 1024
"""Samples kept of a cell (our choice): a tail of a tenth rests on a hundred, and 32×32 cells take 4 MiB."""


class CellSamples:
    """A reservoir for every cell (Vitter 1985, algorithm R): each score of the video is kept with the same chance.

    Cells count apart, since detectors of moving cells score few of them in a frame.

    Args:
        shape: (rows, cols) of the heat maps.
        size: samples kept of a cell.
        seed: of the draws; the same video gives the same sample.

    Attributes:
        values: (size, rows, cols) float32, NaN where there is no sample yet.
        counts: (rows, cols) scores seen of each cell.
        frames: frames seen.
    """

    def __init__(self, shape: tuple[int, int], *, size: int = RESERVOIR, seed: int = 0) -> None:
        self.values = np.full((size, *shape), np.nan, np.float32)
        self.counts = np.zeros(shape, np.int64)
        self.frames = 0
        self._rng = np.random.default_rng(seed)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.counts.shape

    def add(self, anomaly_map: npt.NDArray[np.float32]) -> None:
        """Count a frame's (rows, cols) scores; cells that are not finite have none.

        Raises:
            CalibrationError: the heat map has another shape.
        """
        if anomaly_map.shape != self.shape:
            raise CalibrationError(
                f"the heat map has {anomaly_map.shape[0]}×{anomaly_map.shape[1]} cells, the ones before had "
                f"{self.shape[0]}×{self.shape[1]}",
                hint="give clips of one size, as the camera sends it",
            )
        self.frames += 1
        rows, cols = np.nonzero(np.isfinite(anomaly_map))
        seen = self.counts[rows, cols]
        place = np.where(seen < len(self.values), seen, self._rng.integers(0, seen + 1))
        kept = place < len(self.values)
        self.values[place[kept], rows[kept], cols[kept]] = anomaly_map[rows[kept], cols[kept]]
        self.counts[rows, cols] += 1


def joined(parts: Sequence[CellSamples]) -> CellSamples:
    """The samples of several pieces of video as one, each piece by the samples that were kept of it.

    Raises:
        CalibrationError: there is none, or their shapes differ.
    """
    if not parts or any(part.shape != parts[0].shape for part in parts):
        raise CalibrationError(f"samples of one grid are needed, got {[part.shape for part in parts]}")
    answer = CellSamples(parts[0].shape, size=1)
    # Without the places that no cell has filled: there are many in short pieces, and sorting them takes its time.
    answer.values = np.concatenate([part.values[: max(int(part.counts.max(initial=0)), 1)] for part in parts])
    answer.counts = np.sum([part.counts for part in parts], axis=0)
    answer.frames = sum(part.frames for part in parts)
    return answer
