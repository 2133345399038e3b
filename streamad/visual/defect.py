"""A picture of a test image with its anomaly map, to see whether the map marks the defect."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamad.frame import LocationBoxes
from streamad.visual.overlay import draw_map

_TRUTH = (0, 114, 178)


def defect_picture(
    image: npt.NDArray[np.uint8],
    anomaly_map: npt.NDArray[np.float32],
    mask: npt.NDArray[np.uint8],
    *,
    low: float,
    high: float,
) -> bytes:
    """Encode an image as PNG: on the left with the true defect outlined in blue, on the right tinted by its map.

    Args:
        image: (1 or 3, height, width) uint8, gray or RGB.
        anomaly_map: (height, width) scores.
        mask: (height, width), 1 for anomalous pixels.
        low: Score from which a pixel is tinted, yellow.
        high: Score with the full red; above `low`.
    """
    height, width = mask.shape
    left = np.ascontiguousarray(np.broadcast_to(image, (3, height, width)).transpose(1, 2, 0))
    right = left.copy()
    lines = LocationBoxes.between((height, width), range(height + 1), range(width + 1))
    draw_map(right, anomaly_map, lines, (low, max(high, np.nextafter(low, np.inf))))
    outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    cv2.drawContours(left, outlines, -1, _TRUTH, 1)
    both = cv2.cvtColor(np.hstack([left, right]), cv2.COLOR_RGB2BGR)
    return bytes(cv2.imencode(".png", both)[1])
