"""Anomaly maps on disk against arrays in memory and NumPy's own reader."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from streamad.evaluation.anomaly_maps import AnomalyMapFile, AnomalyMapWriter
from streamad.frame import LocationBoxes

BOXES = LocationBoxes.between((40, 60), range(0, 50, 20), range(0, 70, 20))


def test_maps_of_another_size_are_left_out(tmp_path: Path) -> None:
    other = LocationBoxes.between((20, 30), range(0, 30, 10), range(0, 40, 10))  # the same grid, elsewhere
    with AnomalyMapWriter(tmp_path, 4) as writer:
        for frame, where in ((1, BOXES), (2, other), (3, BOXES)):
            writer.add(frame, np.full((2, 3), float(frame), np.float32), where)
    assert writer.left_out == 1
    np.testing.assert_array_equal(np.load(tmp_path / "heat.npy")[:, 0, 0], [np.nan, 1, np.nan, 3])
    assert AnomalyMapFile(tmp_path).boxes() == [BOXES.box(row, col) for row in range(2) for col in range(3)]


def test_ranges_of_frames_are_read(tmp_path: Path) -> None:
    maps = np.random.default_rng(0).random((7, 2, 3), np.float32)
    with AnomalyMapWriter(tmp_path, 7) as writer:
        for frame, anomaly_map in enumerate(maps):
            writer.add(frame, anomaly_map, BOXES)
    file = AnomalyMapFile(tmp_path)
    assert len(file) == 7
    for part in (slice(None), slice(2, 5), slice(6, 20), slice(3, 3)):
        np.testing.assert_array_equal(file[part], maps[part])
    with pytest.raises(ValueError, match="in steps of 1"):
        file[::2]
    with AnomalyMapWriter(tmp_path, 7):  # another run whose detector does not localize
        pass
    with pytest.raises(FileNotFoundError):
        AnomalyMapFile(tmp_path)
