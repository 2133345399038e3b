"""Procedural materials: tileable noise, paving, grass and brick. All colors are reflectances times 255."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamad.synthetic_scene.camera import Floats
from streamad.synthetic_scene.layout import Look

Floats32 = npt.NDArray[np.float32]

TILE = 512


def noise_tile(rng: np.random.Generator, *, coarsest: int = 4, octaves: int = 7, gain: float = 0.62) -> Floats32:
    """Generate tileable fractal value noise, (TILE, TILE) float32, mean 0, standard deviation 1.

    Args:
        rng: Random generator.
        coarsest: Number of grid cells per side in the coarsest octave.
        octaves: Number of octaves, each twice as fine as the previous one.
        gain: Amplitude of an octave relative to the coarser one.
    """
    total = np.zeros((TILE, TILE), np.float32)
    amplitude, cells = 1.0, coarsest
    for _ in range(octaves):
        if cells > TILE:
            break
        grid = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), 2, mode="wrap")
        scale = TILE // cells
        fine = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        total += amplitude * fine[2 * scale : 2 * scale + TILE, 2 * scale : 2 * scale + TILE]
        amplitude, cells = amplitude * gain, cells * 2
    return np.asarray((total - total.mean()) / total.std(), dtype=np.float32)


def sample(tile: Floats32, x: Floats, y: Floats, per_meter: float) -> Floats32:
    """Sample a tile at ground positions (meters), with `per_meter` texels per meter."""
    u = np.mod(x * per_meter, TILE).astype(np.float32)
    v = np.mod(y * per_meter, TILE).astype(np.float32)
    return np.asarray(cv2.remap(tile, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), dtype=np.float32)


def paving(rng: np.random.Generator, look: Look, s: Floats, v: Floats, footprint: Floats) -> Floats32:
    """Brightness of the paving relative to its color.

    Args:
        rng: Random generator.
        look: Size, bond and variation of the slabs.
        s: Position along the walkway, meters.
        v: Position across the walkway, meters.
        footprint: Size of a canvas pixel on the ground, meters. Finer joints fade in proportion.
    """
    along, across = look.slab
    row = np.floor(v / across)
    shift = 0.5 * along * np.mod(row, 2) if look.bond == "running" else 0.0
    column = np.floor((s + shift) / along)
    table = rng.normal(1.0, look.variation, (64, 64)).astype(np.float32)
    slab = table[np.mod(row, 64).astype(np.intp), np.mod(column, 64).astype(np.intp)]
    in_s = np.mod(s + shift, along)
    in_v = np.mod(v, across)
    gap = np.minimum(np.minimum(in_s, along - in_s), np.minimum(in_v, across - in_v))
    width = 0.016
    cover = np.clip((width / 2 + footprint / 2 - gap) / footprint, 0.0, np.minimum(1.0, width / footprint))
    return np.asarray(slab * (1.0 - 0.38 * cover), dtype=np.float32)


def grass(tile: Floats32, fine: Floats32, x: Floats, y: Floats, footprint: Floats) -> Floats32:
    """Brightness of a lawn relative to its color: patches, tufts and, where resolved, blades."""
    blades = np.clip(0.05 / footprint, 0.25, 1.0)
    return np.asarray(
        1.0
        + 0.09 * sample(tile, x, y, 9.0)
        + 0.13 * blades * sample(fine, x, y, 45.0)
        + 0.06 * sample(tile, y, x, 2.0),
        dtype=np.float32,
    )


def facade(rng: np.random.Generator, look: Look, meters: tuple[float, float], per_meter: int) -> npt.NDArray[np.uint8]:
    """Draw the front view of the backdrop, (H, W, 3) uint8 RGB: brick or plaster with windows, or a hedge.

    Args:
        rng: Random generator.
        look: Kind and color of the backdrop.
        meters: (length, height).
        per_meter: Texels per meter.
    """
    width, height = int(meters[0] * per_meter), int(meters[1] * per_meter)
    y, x = np.mgrid[0:height, 0:width].astype(np.float64) / per_meter
    coarse, fine = noise_tile(rng), noise_tile(rng, coarsest=32, octaves=5, gain=0.85)
    base = np.array(look.backdrop_color, np.float32)
    if look.backdrop == "hedge":
        shade = 1.0 + 0.22 * sample(fine, x, y, 60.0) + 0.1 * sample(coarse, x, y, 8.0)
        shade = shade * (1.15 - 0.45 * (y / meters[1]))
        return np.asarray(np.clip(base * shade[..., None], 0, 255), dtype=np.uint8)
    shade = 1.0 + 0.05 * sample(coarse, x, y, 6.0) + 0.03 * sample(fine, x, y, 40.0)
    if look.backdrop == "brick":
        bricks = Look(**{**look.__dict__, "slab": (0.26, 0.09), "bond": "running", "variation": 0.09})
        shade = shade * paving(rng, bricks, x, y, np.full_like(x, 1.0 / per_meter))
    picture = base * shade[..., None]
    picture[y > meters[1] - 0.45] *= 0.78  # the plinth
    pitch, wide, tall = rng.uniform((2.6, 1.0, 1.3), (4.2, 1.6, 1.9)).tolist()
    for storey in range(int(meters[1] // 3.2) + 1):
        sill = meters[1] - 1.0 - 3.2 * storey
        for k in range(int(meters[0] / pitch)):
            left = k * pitch + 0.6
            _window(picture, rng, (left, sill - tall, left + wide, sill), per_meter)
    return np.clip(picture, 0, 255).astype(np.uint8)


def _window(
    picture: Floats32, rng: np.random.Generator, box: tuple[float, float, float, float], per_meter: int
) -> None:
    x0, y0, x1, y1 = (int(value * per_meter) for value in box)
    if y1 <= 0 or x0 >= picture.shape[1]:
        return
    frame = max(1, per_meter // 14)
    picture[max(0, y0 - frame) : y1 + frame, max(0, x0 - frame) : x1 + frame] = rng.uniform(150, 215)
    glass = rng.uniform(34, 92)
    tone = np.linspace(glass * 1.5, glass * 0.8, max(1, y1 - max(0, y0)), dtype=np.float32)[:, None, None]
    picture[max(0, y0) : y1, max(0, x0) : x1] = tone * np.array([0.92, 1.0, 1.1], np.float32)
    middle = (x0 + x1) // 2
    picture[max(0, y0) : y1, middle : middle + frame] = 170
