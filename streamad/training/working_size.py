"""Size of moving objects in a camera's picture, and the frame height at which a patch fits them."""

from __future__ import annotations

from collections.abc import Iterable

import cv2
import numpy as np

from streamad.frame import Frame
from streamad.preprocessing import BackgroundModel

OBJECT_HEIGHT = 50.0
"""Height of moving objects, in pixels, at which a 30×30 patch sees what the papers' patches see: the area-weighted mean
over UCSD Ped2's training half, for which the papers chose the patch. Other cameras are shrunk to it."""

SMALLEST, LARGEST = 120, 480
"""Bounds of the working height, pixels: at least four rows of patches; above 480, a picture has too many patches."""

MAX_SIGHTINGS = 5000
"""Sightings after which the height is known well enough; the rest of a long video is not read."""

_EVERY = 5
_LEVEL = 15


def object_height(frames: Iterable[Frame]) -> float | None:
    """Measure the area-weighted mean height of moving objects, in pixels of the source's frame.

    Objects are connected regions that differ from the background, lie entirely in the picture, and are not mere
    slivers. They are weighted by area because specks are many and small.

    Args:
        frames: Frames of one camera's normal video.

    Returns:
        The height; None if nothing moved.
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
        if len(heights) >= MAX_SIGHTINGS:
            break
    return float(np.average(heights, weights=areas)) if heights else None


def working_height(frame_height: int, things: float | None) -> int:
    """Return the frame height at which moving objects are `OBJECT_HEIGHT` pixels tall, at most the source's own.

    Args:
        frame_height: Height of the source's frames, pixels.
        things: Height of moving objects in the source, pixels; None if nothing moved.
    """
    wanted = frame_height if things is None else frame_height * OBJECT_HEIGHT / things
    return int(min(frame_height, np.clip(round(wanted / 30) * 30, SMALLEST, LARGEST)))
