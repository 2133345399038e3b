"""A small picture of one frame with its heat map, for reports."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

WIDTH = 540
"""Pixels; shown at half of it, sharp on dense screens."""


def heat_thumbnail(
    pixels: npt.NDArray[np.uint8],
    anomaly_map: npt.NDArray[np.float32] | None,
    boxes: Sequence[tuple[int, int, int, int]],
    *,
    low: float,
    high: float,
    truth: npt.NDArray[np.bool_] | None = None,
) -> bytes:
    """A frame as JPEG: cells above `low` tinted yellow to red, true regions outlined in blue.

    Args:
        pixels: (H, W) uint8 luma.
        anomaly_map: (rows, cols) raw scores, NaN = not scored; None tints nothing.
        boxes: of all cells, row by row, in pixels of the frame.
        low: score from which a cell is tinted.
        high: score of full red.
        truth: (H, W), True where abnormal.
    """
    picture = cv2.cvtColor(pixels, cv2.COLOR_GRAY2BGR)
    if anomaly_map is not None:
        tint = picture.copy()
        cells = zip(anomaly_map.ravel().tolist(), boxes, strict=True)
        # Where cells overlap the higher one is seen, as in annotated videos: it is drawn last.
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
