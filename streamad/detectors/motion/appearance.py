"""Appearance of what moves: size, shape and texture of the foreground, in blocks around a patch."""

from __future__ import annotations

import math

import cv2
import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.layout import CHANNELS, CONTEXT
from streamad.frame import UInt8Image

Floats = npt.NDArray[np.float32]

EDGE = 16.0
"""Edge strength, in gray levels per half pixel, that counts as much as full foreground."""

SHADE = 64.0
"""Difference in brightness to the background, in gray levels, that counts as much as full foreground."""


def look_maps(pixels: UInt8Image, rest: UInt8Image, foreground: Floats) -> Floats:
    """Measure appearance at each half-size pixel, weighted by foreground.

    The channels are: foreground; edge strength in four orientations (vertical, horizontal, both diagonals: a coarse
    histogram of oriented gradients, Dalal and Triggs 2005); how much brighter, and how much darker than the background.
    The first channel shows size and shape, the others texture.

    Args:
        pixels: (H, W) frame at its working size.
        rest: (H, W) background.
        foreground: (H/2, W/2) foreground, 0 to 1.

    Returns:
        (`CHANNELS`, H/2, W/2) values of at least 0, mostly below 1.
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
    """Return the appearance of patches, (n, CONTEXT² · CHANNELS).

    Args:
        blocks: (rows, cols, `CHANNELS`) block means of `look_maps`.
        patches: (n, 2) row and column of patches, which lie at the corners of four blocks. Outside the picture is 0.
    """
    edge = CONTEXT // 2 - 1
    padded = np.pad(blocks, ((edge, edge), (edge, edge), (0, 0)))
    # The window of the patch at a corner begins `edge` blocks before the corner's own four, which padding makes 0.
    windows = np.lib.stride_tricks.sliding_window_view(padded, (CONTEXT, CONTEXT), axis=(0, 1))
    found = windows[patches[:, 0], patches[:, 1]]  # (n, channels, rows, cols)
    return np.ascontiguousarray(found.transpose(0, 2, 3, 1), np.float32).reshape(
        len(patches), CONTEXT * CONTEXT * CHANNELS
    )


def turned(looks: Floats, quarters: int) -> Floats:
    """Rotate appearances by quarter turns, counterclockwise."""
    grid = looks.reshape(-1, CONTEXT, CONTEXT, CHANNELS)
    answer = np.rot90(grid, quarters, axes=(1, 2))
    if quarters % 2:  # vertical and horizontal edges change places, and so do the diagonals
        answer = answer[..., [0, 2, 1, 4, 3, 5, 6]]
    return np.ascontiguousarray(answer).reshape(looks.shape)
