"""A simple world with known speeds: textured squares that move across a textured wall."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import cv2
import numpy as np

from streamad.frame import Frame

SIZE = (160, 240)
"""Rows and columns of a picture."""


def texture(seed: int, rows: int, cols: int, low: int, high: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rough = rng.uniform(low, high, (rows // 4 + 2, cols // 4 + 2)).astype(np.float32)
    return cv2.resize(rough, (cols, rows), interpolation=cv2.INTER_CUBIC)


class Square:
    """A square of 40×24 pixels that appears at `start` seconds and moves by (down, right) pixels per second."""

    def __init__(
        self, start: float, top: float, left: float, right: float, *, down: float = 0.0, seed: int = 1, scale: float = 1
    ) -> None:
        self.start, self.top, self.left, self.right, self.down = start, top, left, right, down
        self.pixels = texture(seed, round(40 * scale), round(24 * scale), 150, 250)

    def draw(self, picture: np.ndarray, seconds: float) -> None:
        since = seconds - self.start
        if since < 0:
            return
        y, x = self.top + self.down * since, self.left + self.right * since
        rows, cols = self.pixels.shape
        place = np.float32([[1, 0, x], [0, 1, y]])
        size = (picture.shape[1], picture.shape[0])
        shown = cv2.warpAffine(self.pixels, place, size, flags=cv2.INTER_LINEAR)
        mask = cv2.warpAffine(np.ones((rows, cols), np.float32), place, size, flags=cv2.INTER_LINEAR)
        picture[:] = picture * (1 - mask) + shown * mask


def world(
    squares: Sequence[Square], seconds: float, *, fps: float = 12.5, first: int = 0, noise: float = 1.0, seed: int = 0
) -> Iterator[Frame]:
    wall = texture(99, *SIZE, 60, 110)
    rng = np.random.default_rng(seed)
    for number in range(round(seconds * fps)):
        picture = wall.copy()
        for square in squares:
            square.draw(picture, number / fps)
        picture += rng.normal(0, noise, picture.shape)
        pixels = np.clip(picture, 0, 255).astype(np.uint8)
        yield Frame("wall", first + number, number / fps, 0.0, pixels)


def walkers(seconds: float, *, speed: float = 20.0, seed: int = 0) -> list[Square]:
    """Create squares that move to the right, one every four seconds, each with a slightly different speed."""
    rng = np.random.default_rng(seed)
    found = []
    for number in range(int(seconds // 4)):
        top = 20 + 70 * (number % 2) + rng.uniform(-8, 8)
        found.append(Square(4.0 * number, top, -24, speed * rng.uniform(0.85, 1.15), seed=number))
    return found
