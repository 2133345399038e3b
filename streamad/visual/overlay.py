"""Drawing of a frame with its anomaly map, score and alert, for annotated videos and the live page."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from streamad.formatting import drawable
from streamad.frame import LocationBoxes

UInt8 = npt.NDArray[np.uint8]

Box = tuple[float, float, float, float]

ALERT_RED = (214, 28, 36)
_STRIP = (22, 24, 28)
_TEXT = (235, 235, 235)
_BAR = (92, 178, 232)
_BAR_EMPTY = (64, 68, 74)
_TRUTH = (86, 214, 180)

# Light yellow through orange to deep red: ordered in lightness as well as in hue, so that it is readable with any color
# vision. Based on ColorBrewer's "YlOrRd".
_HEAT_STOPS = np.array([(255, 238, 120), (254, 178, 60), (248, 96, 40), (204, 0, 36)], np.float32)
_HEAT = np.stack([np.interp(np.linspace(0, 3, 256), range(4), _HEAT_STOPS[:, c]) for c in range(3)], axis=-1).astype(
    np.uint8
)
_ALPHA = (0.28, 0.66)  # opacity just above `low` and at `high`


def strip_height(height: int) -> int:
    """Height of the status strip at the top of a frame `height` pixels tall, pixels."""
    return max(14, round(height * 0.062))


def draw_overlay(
    pixels: UInt8,
    *,
    anomaly_map: npt.NDArray[np.float32] | None,
    boxes: LocationBoxes | None = None,
    scale: tuple[float, float],
    alert: bool,
    score_text: str,
    score: float | None = None,
    threshold: float | None = None,
    camera: str = "",
    time_text: str = "",
    truth_boxes: Sequence[Box] = (),
) -> UInt8:
    """Draw a detector's result over a frame.

    Args:
        pixels: (H, W) uint8 luma, or (H, W, 3) uint8 RGB.
        anomaly_map: (rows, cols) raw score of every location, NaN if not scored. Default: no map is drawn.
        boxes: Positions of the map's locations in the scored frame, of which `pixels` may be a copy in another size.
            Where locations overlap, the highest is visible.
        scale: (low, high) raw scores: locations at or below `low` are not tinted; those at `high` or above have the
            full color. Also the range of the score bar. low < high.
        alert: Whether an alert is active. Strip and border turn red, and ALERT is written.
        score_text: The frame's score as text.
        score: The frame's score for the bar. None or NaN leaves the bar empty.
        threshold: Position of the bar's tick. Default: no tick.
        camera: The camera id.
        time_text: The frame's time as text.
        truth_boxes: Ground truth boxes (x0, y0, x1, y1) in pixels, outlined.

    Returns:
        (H, W, 3) uint8 RGB. Pixels outside the strip, border, boxes and tinted locations keep R = G = B = luma. The
        strip covers the first `strip_height(H)` rows.

    Raises:
        ValueError: If shapes do not match, or the scale is empty.
    """
    if (pixels.ndim != 2 and pixels.shape[2:] != (3,)) or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be (H, W) or (H, W, 3) uint8, got shape {pixels.shape} and dtype {pixels.dtype}")
    low, high = scale
    if not low < high:
        raise ValueError(f"scale must be (low, high) with low < high, got {scale}")
    is_gray = pixels.ndim == 2
    picture = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB) if is_gray else pixels.copy(), dtype=np.uint8)
    if anomaly_map is not None:
        draw_map(picture, anomaly_map, boxes, (low, high))
    for x0, y0, x1, y1 in truth_boxes:
        corners = (round(x0), round(y0)), (round(x1) - 1, round(y1) - 1)
        cv2.rectangle(picture, corners[0], corners[1], _TRUTH, 1)
    height, width = pixels.shape[:2]
    if alert:
        thickness = max(2, height // 120)
        cv2.rectangle(picture, (0, 0), (width - 1, height - 1), ALERT_RED, 2 * thickness - 1)
    share = None if score is None or not math.isfinite(score) else (score - low) / (high - low)
    tick = None if threshold is None or not math.isfinite(threshold) else (threshold - low) / (high - low)
    # cv2's font supports only ASCII, and invalid bytes would crash the process.
    left = "  ".join(part for part in (drawable(camera).encode("ascii", "replace").decode(), time_text) if part)
    _status(picture, left, score_text, share, tick, alert)
    return picture


def with_footer(picture: UInt8, text: str) -> UInt8:
    """Append a strip with a text that must be readable in full, however narrow the picture is.

    Args:
        picture: (H, W, 3) uint8 RGB.
        text: ASCII.

    Returns:
        (H + strip, W, 3) uint8 RGB; the first H rows are those of `picture`.
    """
    tall, width = strip_height(picture.shape[0]), picture.shape[1]
    strip = np.full((tall, width, 3), _STRIP, np.uint8)
    gap, size = round(tall * 0.4), tall / 32
    extent = int(cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, size, 1)[0][0])
    size *= min(1.0, (width - 2 * gap) / max(1, extent))
    place = (gap, round(tall * 0.76))
    cv2.putText(strip, text, place, cv2.FONT_HERSHEY_SIMPLEX, size, _TEXT, 1, cv2.LINE_AA)
    return np.concatenate([picture, strip])


def draw_map(
    picture: UInt8,
    anomaly_map: npt.NDArray[np.float32],
    boxes: LocationBoxes | None,
    scale: tuple[float, float],
) -> None:
    """Tint a picture by its anomaly map, in place.

    Args:
        picture: (H, W, 3) uint8 RGB: the scored frame in any size.
        anomaly_map: (rows, cols) raw score of every location, NaN if not scored.
        boxes: Positions of its locations in the scored frame.
        scale: (low, high) raw scores as for `draw_overlay`.

    Raises:
        ValueError: The map and its boxes do not match.
    """
    low, high = scale
    if boxes is None or anomaly_map.shape != boxes.grid:
        raise ValueError(
            f"an anomaly map needs the boxes of its locations: got shape {anomaly_map.shape} and "
            f"{'none' if boxes is None else 'boxes of a grid of {}×{} locations'.format(*boxes.grid)}"
        )
    share = np.clip((np.where(np.isfinite(anomaly_map), anomaly_map, low) - low) / (high - low), 0.0, 1.0)
    rows, cols = np.flatnonzero((share > 0).any(axis=1)), np.flatnonzero((share > 0).any(axis=0))
    if not rows.size:
        return
    # Expand locations to pixels, first rows and then columns. A pixel shows the highest location that covers it.
    drawn = boxes.scaled((picture.shape[0], picture.shape[1]))
    bands = np.zeros((picture.shape[0], anomaly_map.shape[1]), np.float32)
    for row in rows:
        band = bands[slice(*drawn.rows[row])]
        np.maximum(band, share[row], out=band)
    heat = np.zeros(picture.shape[:2], np.float32)
    for col in cols:
        strip = heat[:, slice(*drawn.cols[col])]
        np.maximum(strip, bands[:, col : col + 1], out=strip)
    weight = np.where(heat > 0, _ALPHA[0] + (_ALPHA[1] - _ALPHA[0]) * heat, 0.0).astype(np.float32)
    picture[:] = cv2.blendLinear(_HEAT[(heat * 255).astype(np.uint8)], picture, weight, 1.0 - weight)


def _status(picture: UInt8, left: str, score_text: str, share: float | None, tick: float | None, alert: bool) -> None:
    """Draw the strip at the top: camera and time, score bar with the threshold's tick, ALERT."""
    tall, width = strip_height(picture.shape[0]), picture.shape[1]
    picture[:tall] = ALERT_RED if alert else _STRIP
    size = tall / 32
    baseline = round(tall * 0.76)
    font, gap = cv2.FONT_HERSHEY_SIMPLEX, round(tall * 0.4)

    def extent(text: str) -> int:
        return int(cv2.getTextSize(text, font, size, 1)[0][0])

    def write(text: str, x: int) -> None:
        cv2.putText(picture, text, (x, baseline), font, size, _TEXT, 1, cv2.LINE_AA)

    right = width - gap
    for text in ("ALERT" if alert else "", score_text):
        if text:
            right -= extent(text)
            write(text, right)
            right -= gap
    length = min(round(width * 0.24), right - gap)
    if left and gap + extent(left) + gap + length > right:
        # If the text is too long, shorten the bar first and then the end of the name.
        length = max(0, right - 2 * gap - extent(left))
        while left and gap + extent(left) > right:
            left = left[:-1]
    write(left, gap)
    if length < 2 * tall:
        return
    x0, y0, y1 = right - length, round(tall * 0.3), round(tall * 0.7)
    cv2.rectangle(picture, (x0, y0), (right, y1), _BAR_EMPTY, cv2.FILLED)
    if share is not None and share > 0:
        cv2.rectangle(picture, (x0, y0), (x0 + round(length * min(1.0, share)), y1), _BAR, cv2.FILLED)
    if tick is not None and 0 <= tick <= 1:
        x = x0 + round(length * tick)
        cv2.line(picture, (x, y0 - 2), (x, y1 + 2), (255, 255, 255), 1)
