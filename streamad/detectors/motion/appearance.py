"""How what moves looks: size, shape and texture of foreground, in blocks around a cell."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.layout import CHANNELS, CONTEXT
from streamad.frame import UInt8Image

Floats = npt.NDArray[np.float32]

EDGE = 16.0
"""Gray levels a half pixel of an edge that counts as much as full foreground does (our choice)."""

SHADE = 64.0
"""Gray levels over or under the scene at rest that count as much (our choice)."""


def look_maps(pixels: UInt8Image, rest: UInt8Image, foreground: Floats) -> Floats:
    """What is measured of looks at each half-size pixel, all of it weighted by foreground.

    The channels: foreground; the strength of edges in four orientations (upright, level, both diagonals: a coarse
    histogram of oriented gradients, Dalal and Triggs 2005); how much brighter than the scene at rest, and how much
    darker. Size and shape are in the first, texture in the others.

    Args:
        pixels: (H, W) the frame at its working size.
        rest: (H, W) the scene at rest.
        foreground: (H/2, W/2) 0..1.

    Returns:
        (`CHANNELS`, H/2, W/2) at least 0, most of it below 1.
    """
    half = foreground.shape[::-1]
    small = cv2.resize(pixels, half, interpolation=cv2.INTER_AREA)
    difference = small.astype(np.float32) - cv2.resize(rest, half, interpolation=cv2.INTER_AREA)
    scale = 1 / (8 * EDGE)  # of Sobel's kernel, whose weights sum to 8
    across = foreground * cv2.Sobel(small, cv2.CV_32F, 1, 0, ksize=3, scale=scale)
    down = foreground * cv2.Sobel(small, cv2.CV_32F, 0, 1, ksize=3, scale=scale)
    difference *= foreground * np.float32(1 / SHADE)
    maps = np.empty((CHANNELS, *foreground.shape), np.float32)
    maps[0] = foreground
    maps[1], maps[2] = across, down
    maps[3], maps[4] = across + down, across - down
    maps[3:5] *= math.sqrt(0.5)
    np.abs(maps[1:5], out=maps[1:5])
    np.maximum(difference, 0, out=maps[5])
    np.maximum(-difference, 0, out=maps[6])
    return maps


def looks_of(blocks: Floats, patches: npt.NDArray[np.intp]) -> Floats:
    """(n, CONTEXT² · CHANNELS) looks of cells.

    Args:
        blocks: (rows, cols, `CHANNELS`) means over blocks of `look_maps`.
        cells: (n, 2) row and column of cells, which lie at the corners of four blocks. Beyond the picture is nothing.
    """
    edge = CONTEXT // 2 - 1
    padded = np.pad(blocks, ((edge, edge), (edge, edge), (0, 0)))
    # The window of the cell at a corner begins `edge` blocks before the corner's own four, which padding makes 0.
    windows = np.lib.stride_tricks.sliding_window_view(padded, (CONTEXT, CONTEXT), axis=(0, 1))
    found = windows[patches[:, 0], patches[:, 1]]  # (n, channels, rows, cols)
    return np.ascontiguousarray(found.transpose(0, 2, 3, 1), np.float32).reshape(
        len(patches), CONTEXT * CONTEXT * CHANNELS
    )


def turned(looks: Floats, quarters: int) -> Floats:
    """Looks of things turned by quarters, counter-clockwise."""
    grid = looks.reshape(-1, CONTEXT, CONTEXT, CHANNELS)
    answer = np.rot90(grid, quarters, axes=(1, 2))
    if quarters % 2:  # upright edges lie level then, and diagonals change places
        answer = answer[..., [0, 2, 1, 4, 3, 5, 6]]
    return np.ascontiguousarray(answer).reshape(looks.shape)
