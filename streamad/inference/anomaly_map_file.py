"""Anomaly maps of a clip on disk, written and read a few frames at a time, since they may be larger than memory."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import IO, Self

import numpy as np
import numpy.typing as npt

from streamad.calibration import PerLocationStatistics
from streamad.frame import LocationBoxes


class AnomalyMapWriter:
    """Writes a (frames, rows, cols) float32 .npy in order; frames without an anomaly map are NaN.

    The file is created with the first anomaly map.

    Args:
        path: The file.
        frames: Number of frames in all.
    """

    def __init__(self, path: Path, frames: int) -> None:
        self._path, self._frames = path, frames
        self._file: IO[bytes] | None = None
        self._empty = b""
        self._written = 0
        self.boxes: LocationBoxes | None = None
        """Where the cells lie, the same on every frame; None before the first heat map."""
        self.left_out = 0
        """Number of anomaly maps that were not written because the picture has another size."""

    def add(self, frame: int, anomaly_map: npt.NDArray[np.float32], boxes: LocationBoxes) -> None:
        """Write the anomaly map of a frame, after all earlier ones."""
        if self.boxes is not None and boxes != self.boxes:
            self.left_out += 1
            return
        self.boxes = boxes
        if self._file is None:
            self._file = self._path.open("wb")
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


class EvidenceFile:
    """An `AnomalyMapFile` read through per-location statistics: (n, rows, cols) evidence instead of raw scores."""

    def __init__(self, heat: AnomalyMapFile, statistics: PerLocationStatistics) -> None:
        self._heat, self._statistics = heat, statistics
        self.shape = heat.shape

    def __len__(self) -> int:
        return len(self._heat)

    def __getitem__(self, frames: slice) -> npt.NDArray[np.float32]:
        """Return the evidence of consecutive frames, (n, rows, cols)."""
        maps = self._heat[frames]
        return np.stack([self._statistics.evidence(anomaly_map) for anomaly_map in maps]) if len(maps) else maps


class AnomalyMapFile:
    """Reads a file of `AnomalyMapWriter`, one range of frames at a time.

    Args:
        path: The file.

    Attributes:
        shape: (frames, rows, cols).

    Raises:
        OSError: It is missing.
        ValueError: It is not such a file.
    """

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
            self.shape, _, self._dtype = np.lib.format.read_array_header_1_0(file)
            self._offset = file.tell()
        self._path = path
        self._cells = int(np.prod(self.shape[1:]))

    def __len__(self) -> int:
        return int(self.shape[0])

    def __getitem__(self, frames: slice) -> npt.NDArray[np.float32]:
        """Return the anomaly maps of consecutive frames, (n, rows, cols)."""
        first, stop, step = frames.indices(len(self))
        if step != 1:
            raise ValueError(f"anomaly maps are read in steps of 1, got {step}")
        count = max(0, stop - first)
        offset = self._offset + first * self._cells * self._dtype.itemsize
        flat = np.fromfile(self._path, self._dtype, count * self._cells, offset=offset)
        return flat.astype(np.float32, copy=False).reshape(count, *self.shape[1:])
