"""How large moving things are in a camera's picture, and the frame height at which a cell fits them."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from streamad.frame import Frame
from streamad.preprocessing import BackgroundModel

OBJECT_HEIGHT = 50.0
"""Height of moving things, pixels, at which a 30×30 cell sees what the papers' cells see: the area-weighted mean over
UCSD Ped2's training half, on which the papers chose the cell. Other cameras are shrunk to it."""

SMALLEST, LARGEST = 120, 480
"""Bounds of the working height, pixels: four rows of cells at least; above 480 the cells of a picture cost too much."""

MOST_THINGS = 5000
"""Sightings after which the height is known well enough: of long video, the rest is not read for it."""

_EVERY = 5
_LEVEL = 15


def object_height(frames: Iterable[Frame]) -> float | None:
    """Area-weighted mean height of moving things, pixels of the source's frame.

    Things are connected regions that differ from the background, whole in the picture, not mere slivers. Weighted by
    area, since specks are many and small (source: our choice).

    Args:
        frames: of one camera's normal video.

    Returns:
        None where nothing moved.
    """
    background = BackgroundModel()
    heights: list[float] = []
    areas: list[float] = []
    for number, frame in enumerate(frames):
        difference = background.difference(frame.pixels)
        if not background.is_warm or number % _EVERY:
            continue
        mask = np.asarray(difference > _LEVEL, dtype=np.uint8)
        mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_CLOSE, np.ones((5, 5), np.uint8)), dtype=np.uint8)
        mask = np.asarray(cv2.morphologyEx(mask, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8)), dtype=np.uint8)
        rows, cols = frame.shape
        for x, y, width, height, area in cv2.connectedComponentsWithStats(mask)[2][1:]:
            whole = x > 0 and y > 0 and x + width < cols and y + height < rows
            if whole and area >= 0.25 * width * height and max(8, 0.03 * rows) <= height <= 0.8 * rows:
                heights.append(float(height))
                areas.append(float(area))
        if len(heights) >= MOST_THINGS:
            break
    return float(np.average(heights, weights=areas)) if heights else None


def working_height(frame_height: int, things: float | None) -> int:
    """Frame height at which moving things are `OBJECT_HEIGHT` pixels tall, never above the source's own.

    Args:
        frame_height: of the source, pixels.
        things: their height in the source, pixels; None where nothing moved.
    """
    wanted = frame_height if things is None else frame_height * OBJECT_HEIGHT / things
    return int(min(frame_height, np.clip(round(wanted / 30) * 30, SMALLEST, LARGEST)))
