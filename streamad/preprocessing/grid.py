"""The grid of 30×30 patches over a frame of any size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import cv2
import numpy as np
import numpy.typing as npt

from streamad.errors import ExitCode, StreamadError
from streamad.frame import LocationBoxes

PATCH_SIZE = 30
"""Side of a patch, pixels (UCSD protocol of the ADACL and ALPS papers)."""


class FrameSizeError(StreamadError, ValueError):
    """A frame is too small for a single patch."""

    exit_code = ExitCode.SOURCE


@dataclass(frozen=True)
class PatchGrid:
    """Positions of patches in a frame.

    There are ceil(height / size) rows. All but the last start at multiples of the patch size, and the last ends at the
    lower edge of the frame, so it overlaps its neighbor. Columns likewise. Every pixel is in some patch, and every
    patch contains only real pixels (no padding, which a network never saw). If the size divides evenly (Ped2: 240×360,
    8×12 patches), the grid equals the papers'. See docs/concepts/choices.md.

    Args:
        height: Frame height, pixels.
        width: Frame width, pixels.
        size: Side of a patch, pixels.

    Raises:
        FrameSizeError: If the frame is smaller than one patch.
    """

    height: int
    width: int
    size: int = PATCH_SIZE

    def __post_init__(self) -> None:
        if self.height < self.size or self.width < self.size:
            raise FrameSizeError(
                f"the frame is {self.width}×{self.height} pixels, smaller than one {self.size}×{self.size} patch",
                hint="use a stream of higher resolution",
            )

    @cached_property
    def tops(self) -> npt.NDArray[np.intp]:
        """First pixel row of each row of patches, (rows,)."""
        return self._starts(self.height)

    @cached_property
    def lefts(self) -> npt.NDArray[np.intp]:
        """First pixel column of each column of patches, (cols,)."""
        return self._starts(self.width)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and columns of patches."""
        return len(self.tops), len(self.lefts)

    @cached_property
    def boxes(self) -> LocationBoxes:
        """Boxes of the patches."""
        tops, lefts = self.tops.tolist(), self.lefts.tolist()
        return LocationBoxes(
            (self.height, self.width),
            tuple((top, top + self.size) for top in tops),
            tuple((left, left + self.size) for left in lefts),
        )

    def _starts(self, length: int) -> npt.NDArray[np.intp]:
        starts = np.arange(-(-length // self.size), dtype=np.intp) * self.size
        starts[-1] = length - self.size
        return starts

    def share(self, mask: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
        """Share of set pixels in each patch.

        Args:
            mask: (height, width) uint8, 0 or 1.

        Returns:
            (rows, cols) float32 in [0, 1].
        """
        sums = cv2.integral(mask)  # (height + 1, width + 1) int32
        top, left = self.tops[:, None], self.lefts[None, :]
        bottom, right = top + self.size, left + self.size
        counts = sums[bottom, right] - sums[top, right] - sums[bottom, left] + sums[top, left]
        return np.asarray(counts / np.float32(self.size * self.size), dtype=np.float32)

    def cut(self, image: npt.NDArray[np.uint8], locations: npt.NDArray[np.intp]) -> npt.NDArray[np.uint8]:
        """Cut patches out of an image.

        Args:
            image: (height, width) uint8.
            locations: (n, 2) row and column of each patch.

        Returns:
            (n, size, size) uint8; a copy.
        """
        if image.shape != (self.height, self.width):
            raise ValueError(f"the grid is for {self.height}×{self.width} pixels (rows×columns), got {image.shape}")
        image = np.ascontiguousarray(image)
        # All windows as one view. NumPy's sliding_window_view is equivalent but takes six times as long to set up.
        shape = (self.height - self.size + 1, self.width - self.size + 1, self.size, self.size)
        windows: npt.NDArray[np.uint8] = np.ndarray(shape, np.uint8, image, 0, image.strides * 2)
        return np.ascontiguousarray(windows[self.tops[locations[:, 0]], self.lefts[locations[:, 1]]])
