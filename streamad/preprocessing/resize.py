"""Whole frames at a network's size."""

from __future__ import annotations

import cv2
import numpy as np

from streamad.frame import UInt8Image


def resize_frame(pixels: UInt8Image, height: int, width: int) -> UInt8Image:
    """A frame at another size, its aspect ignored, bilinear.

    Source: the learned-noise paper's authors' other code (bilinear to 256×256). Bilinear alone samples a large frame
    thinly, so one that is to shrink more than twofold is averaged over areas (our choice).

    Args:
        pixels: (rows, cols) uint8.
        height: rows wanted.
        width: columns wanted.
    """
    rows, cols = pixels.shape
    if (rows, cols) == (height, width):
        return np.ascontiguousarray(pixels)
    area = rows > 2 * height or cols > 2 * width
    return np.asarray(
        cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA if area else cv2.INTER_LINEAR), dtype=np.uint8
    )
