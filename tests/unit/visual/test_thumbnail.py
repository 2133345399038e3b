"""The small picture of a report: cells where their boxes are, the higher one on top."""

from __future__ import annotations

import cv2
import numpy as np

from streamad.frame import LocationBoxes
from streamad.visual.thumbnail import WIDTH, heat_thumbnail


def test_overlapping_cells_are_tinted_over_their_boxes_and_the_higher_one_is_seen() -> None:
    boxes = LocationBoxes.between((WIDTH // 2, WIDTH), range(0, 271, 90), range(0, 541, 90), span=2)
    anomaly_map = np.full(boxes.grid, np.nan, np.float32)
    anomaly_map[0, 1], anomaly_map[0, 2], anomaly_map[1, 4] = 9.0, 2.0, 0.5  # the last is normal
    pixels = np.full((WIDTH // 2, WIDTH), 90, np.uint8)
    cells = [boxes.box(row, col) for row, col in np.ndindex(boxes.grid)]
    picture = cv2.imdecode(
        np.frombuffer(heat_thumbnail(pixels, anomaly_map, cells, low=1, high=9), np.uint8), 1
    ).astype(int)
    blue, green, red = np.moveaxis(picture, -1, 0)
    tinted = np.zeros(pixels.shape, bool)
    tinted[0:180, 90:360] = True
    margin = cv2.dilate(tinted.astype(np.uint8), np.ones((17, 17))) > cv2.erode(
        tinted.astype(np.uint8), np.ones((17, 17))
    )
    assert ((red - blue > 60) == tinted)[~margin].all()
    assert (red - green)[40:140, 200:260].min() > 80, "the cell of 9 lies over that of 2 where both are"
    assert (red - green)[40:140, 290:340].max() < 60
