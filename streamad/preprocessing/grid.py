"""The grid of 30×30 cells over a frame of any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from streamad.errors import ExitCode, StreamadError
from streamad.frame import CellBoxes

CELL = 30
"""Side of a cell, pixels (source: the ADACL and ALPS papers' UCSD protocol)."""


class FrameSizeError(StreamadError, ValueError):
    """A frame too small to hold one cell."""

    exit_code = ExitCode.SOURCE


@dataclass(frozen=True)
class CellGrid:
    """Where the cells of a frame lie.

    Rule for the remainder (source: our choice): rows = ceil(height / cell); all rows but the last start at multiples of
    the cell, and the last one ends at the frame's lower edge, so it overlaps its neighbor by what is missing. Columns
    likewise. Every pixel is in some cell, every cell holds real pixels alone (no padding that a network never saw),
    and where the size divides evenly (Ped2: 240×360, 8×12 cells) the grid is the papers'.

    Args:
        height: frame height, pixels.
        width: frame width, pixels.
        cell: side of a cell, pixels.

    Raises:
        FrameSizeError: the frame is smaller than one cell.
    """

    height: int
    width: int
    cell: int = CELL

    def __post_init__(self) -> None:
        if self.height < self.cell or self.width < self.cell:
            raise FrameSizeError(
                f"the frame is {self.width}×{self.height} pixels, smaller than one {self.cell}×{self.cell} cell",
                hint="use a stream of higher resolution",
            )

    @cached_property
    def tops(self) -> npt.NDArray[np.intp]:
        """(rows,) first pixel row of each row of cells."""
        return self._starts(self.height)

    @cached_property
    def lefts(self) -> npt.NDArray[np.intp]:
        """(cols,) first pixel column of each column of cells."""
        return self._starts(self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return len(self.tops), len(self.lefts)

    @cached_property
    def boxes(self) -> CellBoxes:
        """Where the cells lie."""
        tops, lefts = self.tops.tolist(), self.lefts.tolist()
        return CellBoxes(
            (self.height, self.width),
            tuple((top, top + self.cell) for top in tops),
            tuple((left, left + self.cell) for left in lefts),
        )

    def _starts(self, length: int) -> npt.NDArray[np.intp]:
        starts = np.arange(-(-length // self.cell), dtype=np.intp) * self.cell
        starts[-1] = length - self.cell
        return starts

    def share(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Share of each cell's pixels that are set.

        Args:
            mask: (height, width) uint8, 0 or 1.

        Returns:
            (rows, cols) float32 in [0, 1].
        """
        sums = cv2.integral(mask)  # (height + 1, width + 1) int32
        top, left = self.tops[:, None], self.lefts[None, :]
        bottom, right = top + self.cell, left + self.cell
        counts = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return np.asarray(counts / np.float32(self.cell * self.cell), dtype=np.float32)

    def cut(self, image: npt.NDArray[np.uint8], cells: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        """Cut cells out of an image.

        Args:
            image: (height, width) uint8.
            cells: (n, 2) row and column of each wanted cell.

        Returns:
            (n, cell, cell) uint8, a copy.
        """
        if image.shape != (self.height, self.width):
            raise ValueError(f"the grid is for {self.height}×{self.width} pixels (rows×columns), got {image.shape}")
        image = np.ascontiguousarray(image)
        # All windows as one view. numpy's sliding_window_view gives the same, but takes six times as long to set up.
        shape = (self.height - self.cell + 1, self.width - self.cell + 1, self.cell, self.cell)
        windows: npt.NDArray[np.uint8] = np.ndarray(shape, np.uint8, image, 0, image.strides * 2)
        return np.ascontiguousarray(windows[self.tops[cells[:, 0]], self.lefts[cells[:, 1]]])
