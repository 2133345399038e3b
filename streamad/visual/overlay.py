"""A frame with its heat map, score and alert, for annotated videos and the live page."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

UInt8 = npt.NDArray[np.uint8]

Box = tuple[float, float, float, float]

ALERT_RED = (214, 28, 36)
_STRIP = (22, 24, 28)
_TEXT = (235, 235, 235)
_BAR = (92, 178, 232)
_BAR_EMPTY = (64, 68, 74)
_TRUTH = (86, 214, 180)

# From light yellow to deep red by way of orange: ordered in lightness as well as in hue, so that the order
# can be read with any colour vision (our choice, after the "YlOrRd" map of ColorBrewer).
_HEAT_STOPS = np.array([(255, 238, 120), (254, 178, 60), (248, 96, 40), (204, 0, 36)], np.float32)
_HEAT = np.stack([np.interp(np.linspace(0, 3, 256), range(4), _HEAT_STOPS[:, c]) for c in range(3)], axis=-1).astype(
    np.uint8
)
_ALPHA = (0.28, 0.66)  # coverage just above `low` and at `high`


def strip_height(height: int) -> int:
    """Pixels that the status strip takes at the top of a frame `height` pixels tall."""
    return max(14, round(height * 0.062))


def draw_overlay(
    pixels: UInt8,
    *,
    heatmap: npt.NDArray[np.float32] | None,
    scale: tuple[float, float],
    alert: bool,
    score_text: str,
    score: float | None = None,
    threshold: float | None = None,
    cell: int = 30,
    origin: tuple[int, int] = (0, 0),
    camera: str = "",
    time_text: str = "",
    truth_boxes: Sequence[Box] = (),
) -> UInt8:
    """Draw what a detector said of a frame over the frame.

    Args:
        pixels: (H, W) uint8 luma.
        heatmap: (rows, cols) raw score of every cell, NaN where a cell was not scored; None draws none.
        scale: (low, high) raw scores: cells at or below `low` stay as they are, cells at `high` or above have
            the full colour. It is also the range of the score bar. low < high.
        alert: an alert is active: strip and frame turn red and say ALERT.
        score_text: the frame's score as it shall be written.
        score: the frame's score for the bar; None or NaN leaves the bar empty.
        threshold: where the bar has its tick; None draws none.
        cell: side of a cell, pixels.
        origin: (y, x) of the first cell's left upper corner, pixels; what the grid leaves over is not tinted. The grid
            may reach beyond the frame by less than a cell, as the tiler's does.
        camera: id of the camera.
        time_text: time of the frame as it shall be written.
        truth_boxes: ground truth (x0, y0, x1, y1) in pixels, outlined.

    Returns:
        (H, W, 3) uint8 RGB. Pixels outside strip, border, boxes and tinted cells keep R = G = B = luma. The
        strip covers the first `strip_height(H)` rows.

    Raises:
        ValueError: shapes that do not fit one another, or an empty scale.
    """
    if pixels.ndim != 2 or pixels.dtype != np.uint8:
        raise ValueError(f"pixels must be (H, W) uint8, got shape {pixels.shape} and dtype {pixels.dtype}")
    low, high = scale
    if not low < high:
        raise ValueError(f"scale must be (low, high) with low < high, got {scale}")
    picture = np.asarray(cv2.cvtColor(pixels, cv2.COLOR_GRAY2RGB), dtype=np.uint8)
    if heatmap is not None:
        _tint(picture, heatmap, low, high, cell, origin)
    for x0, y0, x1, y1 in truth_boxes:
        corners = (round(x0), round(y0)), (round(x1) - 1, round(y1) - 1)
        cv2.rectangle(picture, corners[0], corners[1], _TRUTH, 1)
    height, width = pixels.shape
    if alert:
        thickness = max(2, height // 120)
        cv2.rectangle(picture, (0, 0), (width - 1, height - 1), ALERT_RED, 2 * thickness - 1)
    share = None if score is None or not math.isfinite(score) else (score - low) / (high - low)
    tick = None if threshold is None or not math.isfinite(threshold) else (threshold - low) / (high - low)
    left = "  ".join(part for part in (camera, time_text) if part)
    _status(picture, left, score_text, share, tick, alert)
    return picture


def _tint(
    picture: UInt8,
    heatmap: npt.NDArray[np.float32],
    low: float,
    high: float,
    cell: int,
    origin: tuple[int, int],
) -> None:
    """Lay the colours of the cells above `low` over the picture, in place."""
    if heatmap.ndim != 2:
        raise ValueError(f"heatmap must be (rows, cols), got shape {heatmap.shape}")
    rows, cols = heatmap.shape
    (y, x), (height, width) = origin, picture.shape[:2]
    below, right = y + rows * cell - height, x + cols * cell - width
    if cell < 1 or y < 0 or x < 0 or below >= cell or right >= cell:
        raise ValueError(
            f"a grid of {rows}×{cols} cells of {cell} px from (y, x) = {origin} reaches beyond a frame of "
            f"{height}×{width} px (rows×columns); give the cell size and origin that the tiler used"
        )
    scored = np.isfinite(heatmap)
    share = np.clip((np.where(scored, heatmap, low) - low) / (high - low), 0.0, 1.0)
    hot = share > 0
    if not hot.any():
        return
    # One cell around the hot ones, for the soft edge.
    around = np.flatnonzero(hot.any(axis=1)), np.flatnonzero(hot.any(axis=0))
    r0, r1 = max(0, around[0][0] - 1), min(rows, around[0][-1] + 2)
    c0, c1 = max(0, around[1][0] - 1), min(cols, around[1][-1] + 2)
    window = np.s_[r0:r1, c0:c1]
    share, hot, scored = share[window], hot[window], scored[window]
    size = ((c1 - c0) * cell, (r1 - r0) * cell)
    alpha = np.where(hot, _ALPHA[0] + (_ALPHA[1] - _ALPHA[0]) * share, 0.0).astype(np.float32)
    soft = cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR)
    # A cell that was not scored shows no colour of its neighbours either: it would claim a score.
    shown = cv2.resize(scored.astype(np.float32), size, interpolation=cv2.INTER_NEAREST)
    weight = np.asarray(soft * shown, dtype=np.float32)
    colour = cv2.resize(_HEAT[(share * 255).astype(np.uint8)], size, interpolation=cv2.INTER_LINEAR)
    # The last row and column may reach beyond the frame: the tiler shifts them inwards over their neighbours, here
    # they colour what is left of their place.
    patch = picture[y + r0 * cell : y + r1 * cell, x + c0 * cell : x + c1 * cell]
    inside = np.s_[: patch.shape[0], : patch.shape[1]]
    shade, keep = np.ascontiguousarray(colour[inside]), np.ascontiguousarray(weight[inside])
    patch[:] = cv2.blendLinear(shade, np.ascontiguousarray(patch), keep, 1.0 - keep)


def _status(picture: UInt8, left: str, score_text: str, share: float | None, tick: float | None, alert: bool) -> None:
    """The strip at the top: camera and time, the score's bar with the threshold's tick, ALERT."""
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
        # Where the line is too long the bar gives way first, then the end of the name.
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
