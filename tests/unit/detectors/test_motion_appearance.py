"""Looks of what moves: on pictures whose blocks are counted by hand, and turned as pictures."""

from __future__ import annotations

import cv2
import numpy as np

from streamad.detectors.motion.appearance import EDGE, SHADE, look_maps, looks_of, turned
from streamad.detectors.motion.layout import CHANNELS, CONTEXT


def picture(rng: np.random.Generator, size: int = 80) -> np.ndarray:
    rough = rng.uniform(0, 255, (size // 5, size // 5)).astype(np.float32)
    return np.clip(cv2.resize(rough, (size, size), interpolation=cv2.INTER_CUBIC), 0, 255).astype(np.uint8)


def test_an_edge_and_a_shade_are_what_they_are_in_gray_levels() -> None:
    rest = np.full((80, 80), 100, np.uint8)
    pixels = rest.copy()
    pixels[:, 40:] = 132  # 32 brighter
    foreground = np.ones((40, 40), np.float32)
    foreground[:10] = 0.5
    maps = look_maps(pixels, rest, foreground)
    assert maps.shape == (CHANNELS, 40, 40)
    maps = np.moveaxis(maps, 0, -1)
    np.testing.assert_array_equal(maps[..., 0], foreground)
    # A step of 32 levels is a slope of 16 a pixel on the two columns beside it (central differences).
    np.testing.assert_allclose(maps[20, 18:22, 1], [0, 16 / EDGE, 16 / EDGE, 0], atol=1e-6)
    np.testing.assert_allclose(maps[20, 19, 3:5], 16 / EDGE * np.sqrt(0.5), rtol=1e-5)
    np.testing.assert_allclose(maps[12:, :, 2], 0, atol=1e-6)
    np.testing.assert_allclose(maps[30, 25, 5:], [32 / SHADE, 0], atol=1e-6)
    np.testing.assert_allclose(maps[5], 0.5 * maps[30], atol=1e-6)
    np.testing.assert_allclose(look_maps(rest, pixels, foreground)[5:, 30, 25], [0, 32 / SHADE], atol=1e-6)


def test_looks_are_the_blocks_around_a_cell_and_nothing_beyond_the_picture() -> None:
    rng = np.random.default_rng(0)
    blocks = rng.uniform(0, 1, (6, 9, CHANNELS)).astype(np.float32)
    cells = np.array([(r, c) for r in range(5) for c in range(8)])
    found = looks_of(blocks, cells).reshape(-1, CONTEXT, CONTEXT, CHANNELS)
    for (r, c), look in zip(cells, found, strict=True):
        for i in range(CONTEXT):
            for j in range(CONTEXT):
                y, x = r - 1 + i, c - 1 + j
                inside = 0 <= y < 6 and 0 <= x < 9
                np.testing.assert_array_equal(look[i, j], blocks[y, x] if inside else 0)


def test_turned_looks_are_those_of_the_turned_picture() -> None:
    rng = np.random.default_rng(1)
    pixels, rest = picture(rng), picture(rng)
    foreground = cv2.resize(rng.uniform(0, 1, (8, 8)).astype(np.float32), (40, 40))

    def looks(quarters: int) -> np.ndarray:
        maps = look_maps(
            np.rot90(pixels, quarters).copy(), np.rot90(rest, quarters).copy(), np.rot90(foreground, quarters).copy()
        )
        blocks = np.moveaxis(maps.reshape(CHANNELS, 8, 5, 8, 5).mean(axis=(2, 4)), 0, -1)
        return looks_of(blocks, np.array([(3, 3)]))  # the cell in the middle stays there

    for quarters in (1, 2, 3):
        np.testing.assert_allclose(turned(looks(0), quarters), looks(quarters), rtol=1e-4, atol=1e-5)
        assert np.abs(turned(looks(0), quarters) - looks(0)).max() > 0.1
