"""Anomaly maps of a clip on disk, written and read a few frames at a time, since they may be larger than memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import numpy.typing as npt

from streamad.calibration import PerLocationStatistics
from streamad.evaluation.pixels import Box
from streamad.frame import LocationBoxes

MAPS, BOXES = "heat.npy", "boxes.npy"


class AnomalyMapWriter:
    """Writes the anomaly maps of a clip, (frames, rows, cols) float32, in order, and the boxes of their cells.

    Frames without an anomaly map are NaN. The files are created with the first anomaly map.

    Args:
        folder: Gets the files; those of an earlier run are deleted.
        frames: Number of frames in all.
    """

    def __init__(self, folder: Path, frames: int) -> None:
        self._folder, self._frames = folder, frames
        self._file: IO[bytes] | None = None
        self._empty = b""
        self._written = 0
        self._boxes: LocationBoxes | None = None
        self.left_out = 0
        """Number of anomaly maps that were not written because the picture has another size."""
        (folder / MAPS).unlink(missing_ok=True)

    def add(self, frame: int, anomaly_map: npt.NDArray[np.float32], boxes: LocationBoxes) -> None:
        """Write the anomaly map of a frame, after all earlier ones."""
        if self._boxes is not None and boxes != self._boxes:
            self.left_out += 1
            return
        if self._file is None:
            self._boxes = boxes
            np.save(self._folder / BOXES, np.array([boxes.box(*cell) for cell in np.ndindex(boxes.grid)]))
            self._file = (self._folder / MAPS).open("wb")
            header = {"descr": "<f4", "fortran_order": False, "shape": (self._frames, *anomaly_map.shape)}
            np.lib.format.write_array_header_1_0(self._file, header)
            self._empty = np.full(anomaly_map.shape, np.nan, "<f4").tobytes()
        self._skip_to(frame)
        self._file.write(anomaly_map.astype("<f4", copy=False).tobytes())
        self._written += 1

    def _skip_to(self, frame: int) -> None:
        assert self._file is not None
        while self._written < frame:
            self._file.write(self._empty)
            self._written += 1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._skip_to(self._frames)
            self._file.close()


class AnomalyMapFile:
    """Reads the files of `AnomalyMapWriter`, one range of frames at a time.

    Args:
        folder: The folder.
        statistics: Per-location statistics that the maps are read through: evidence instead of raw scores.

    Raises:
        OSError: A file is missing.
        ValueError: It is not such a file.
    """

    def __init__(self, folder: Path, statistics: PerLocationStatistics | None = None) -> None:
        self._path, self._statistics = folder / MAPS, statistics
        with self._path.open("rb") as file:
            np.lib.format.read_magic(file)
            self._shape, _, self._dtype = np.lib.format.read_array_header_1_0(file)
            self._offset = file.tell()
        self._cells = int(np.prod(self._shape[1:]))

    def boxes(self) -> list[Box]:
        """(x0, y0, x1, y1) of all cells in pixels of the frames, row by row."""
        return [(int(a), int(b), int(c), int(d)) for a, b, c, d in np.load(self._path.with_name(BOXES))]

    def relative_to(self, statistics: PerLocationStatistics) -> AnomalyMapFile:
        """The same maps, read through per-location statistics."""
        return AnomalyMapFile(self._path.parent, statistics)

    def __len__(self) -> int:
        return int(self._shape[0])

    def __getitem__(self, frames: slice) -> npt.NDArray[np.float32]:
        """Return the anomaly maps of consecutive frames, (n, rows, cols)."""
        first, stop, step = frames.indices(len(self))
        if step != 1:
            raise ValueError(f"anomaly maps are read in steps of 1, got {step}")
        count = max(0, stop - first)
        offset = self._offset + first * self._cells * self._dtype.itemsize
        flat = np.fromfile(self._path, self._dtype, count * self._cells, offset=offset)
        maps = flat.astype(np.float32, copy=False).reshape(count, *self._shape[1:])
        if self._statistics is not None and count:
            return np.stack([self._statistics.evidence(anomaly_map) for anomaly_map in maps])
        return maps
