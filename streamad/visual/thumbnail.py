"""Thumbnails of frames with their anomaly maps, for reports."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

WIDTH = 540
"""Width in pixels. Thumbnails are displayed at half of it, to be sharp on high-density screens."""


def heat_thumbnail(
    pixels: npt.NDArray[np.uint8],
    anomaly_map: npt.NDArray[np.float32] | None,
    boxes: Sequence[tuple[int, int, int, int]],
    *,
    low: float,
    high: float,
    truth: npt.NDArray[np.bool_] | None = None,
) -> bytes:
    """Encode a frame as JPEG, with locations above `low` tinted yellow to red and true regions outlined in blue.

    Args:
        pixels: (H, W) uint8 luma.
        anomaly_map: (rows, cols) raw scores, NaN if not scored. None: nothing is tinted.
        boxes: Boxes of all locations, row by row, in pixels of the frame.
        low: Score from which a location is tinted.
        high: Score with the full red.
        truth: (H, W), True where abnormal.
    """
    picture = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if anomaly_map is not None:
        tint = picture.copy()
        cells = zip(anomaly_map.ravel().tolist(), boxes, strict=True)
        # Draw the highest last, so that it is visible where locations overlap, as in annotated videos.
        for value, (x0, y0, x1, y1) in sorted(cell for cell in cells if np.isfinite(cell[0]) and cell[0] > low):
            share = min(1.0, (value - low) / max(high - low, 1e-12))
            cv2.rectangle(tint, (x0, y0), (x1 - 1, y1 - 1), (0, round(220 * (1 - share)), 255), cv2.FILLED)
        picture = cv2.addWeighted(tint, 0.4, picture, 0.6, 0)
    height = round(picture.shape[0] * WIDTH / picture.shape[1])
    picture = cv2.resize(picture, (WIDTH, height), interpolation=cv2.INTER_AREA)
    if truth is not None and truth.any():
        mask = cv2.resize(truth.astype(np.uint8), (WIDTH, height), interpolation=cv2.INTER_NEAREST)
        outlines, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
        cv2.drawContours(picture, outlines, -1, (178, 114, 0), 2)
    return bytes(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 82])[1])
