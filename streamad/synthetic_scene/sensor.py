"""The camera sensor: blur of the optics, slow drift of the light, tone curve and noise."""

from __future__ import annotations

import math

import cv2
import numpy as np

from streamad.synthetic_scene.layout import Light
from streamad.synthetic_scene.shapes import Canvas

_FIELDS = 12  # number of stored noise pictures; each frame uses one at a random offset
_UNIT = 24.0  # steps of the stored noise per standard deviation


class Sensor:
    """Converts supersampled canvases to the pictures of one video.

    The noise variance grows with the signal (Poisson-Gaussian sensor model: read² + shot · level).

    Args:
        light: Light and sensor of the scene.
        size: Picture size (width, height), pixels.
        rng: Random generator.
    """

    def __init__(self, light: Light, size: tuple[int, int], rng: np.random.Generator) -> None:
        self._light = light
        self._size = size
        self._rng = rng
        width, height = size
        luma = rng.standard_normal((_FIELDS, height + 16, width + 16, 1), dtype=np.float32)
        chroma = rng.standard_normal((_FIELDS, height + 16, width + 16, 3), dtype=np.float32)
        fields = (0.9 * luma + 0.45 * chroma) * _UNIT
        self._fields = np.clip(fields, -127, 127).astype(np.int8)
        levels = np.arange(256, dtype=np.float32)
        sigma = np.sqrt(light.read_noise**2 + light.shot_noise * levels)
        self._sigma = np.clip(sigma * 16, 0, 127).astype(np.int8)
        self._tone = light.black + (255.0 - light.black) * (levels / 255.0) ** light.gamma
        self._waves = [
            (float(rng.uniform(25, 90)), float(rng.uniform(0, 2 * math.pi)), weight) for weight in (0.6, 0.4)
        ]

    def expose(self, canvas: Canvas, seconds: float) -> Canvas:
        """Create one picture.

        Args:
            canvas: (H·n, W·n, 3) uint8 RGB, supersampled.
            seconds: Time in the video, for the drift of the light.

        Returns:
            (H, W, 3) uint8 RGB; a new array.
        """
        picture = cv2.resize(canvas, self._size, interpolation=cv2.INTER_AREA)
        drift = sum(w * math.sin(2 * math.pi * seconds / period + at) for period, at, w in self._waves)
        curve = np.clip(self._tone * (1.0 + self._light.drift * drift), 0, 255).astype(np.uint8)
        picture = cv2.LUT(picture, curve)
        # Readout and lens spread a point over its neighbors.
        picture = cv2.GaussianBlur(picture, (3, 3), 0.45)
        width, height = self._size
        dx, dy = self._rng.integers(0, 17, 2).tolist()
        field = self._fields[int(self._rng.integers(_FIELDS)), dy : dy + height, dx : dx + width]
        sigma = cv2.LUT(picture, self._sigma)
        noise = cv2.multiply(field, sigma, scale=1 / (16 * _UNIT), dtype=cv2.CV_16S)
        return np.asarray(cv2.add(picture, noise, dtype=cv2.CV_8U), dtype=np.uint8)
