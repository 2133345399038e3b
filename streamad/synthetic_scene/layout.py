"""Parameters that a seed determines: camera, walkway, light, crowd and materials of a scene."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np

from streamad.synthetic_scene.camera import Camera, Floats, Walkway

SUPERSAMPLING = 2
"""Figures and background are drawn on a canvas larger than the picture by this factor, and then averaged down."""

WALKER_PIXELS = (23.0, 92.0)
"""Minimum and maximum height of a 1.7 m walker at a picture height of 360 px: about 1 to 3 patches of 30 px. Chosen to
match UCSD Ped1, Ped2 and Avenue."""

Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Light:
    """Light of a scene, and the camera's response to it.

    Attributes:
        kind: "sunny", "overcast" or "dusk".
        sun: Unit vector toward the sun (world axes).
        shadow: Amount by which shadows darken the ground, 0..1.
        softness: Blur of shadow edges, meters.
        exposure: Gain on all reflectances.
        tint: Gain per channel (white balance).
        gamma: Exponent of the tone curve; below 1 brightens dark parts.
        black: Black level, 0..255.
        drift: Relative amplitude of the slow drift of the light.
        vignette: Relative darkening in the corners.
        read_noise: Standard deviation of the sensor noise in the dark, gray levels.
        shot_noise: Variance of the noise per gray level of signal.
    """

    kind: str
    sun: tuple[float, float, float]
    shadow: float
    softness: float
    exposure: float
    tint: Rgb
    gamma: float
    black: float
    drift: float
    vignette: float
    read_noise: float
    shot_noise: float


@dataclass(frozen=True)
class Look:
    """Materials of the place.

    Attributes:
        slab: Size of a paving slab along and across the walkway, meters.
        bond: "running" (rows shifted by half a slab) or "stack".
        paving: Color of the slabs.
        variation: Relative variation of brightness between slabs.
        verge: Color of the ground beside the walkway.
        verge_kind: "grass" or "gravel".
        backdrop: "brick", "plaster", "hedge" or "park".
        backdrop_gap: Distance between the walkway's far edge and the backdrop, meters.
        backdrop_height: Height of the backdrop, meters.
        backdrop_color: Color of the backdrop.
        trees, lamps, benches: Numbers along the walkway.
    """

    slab: tuple[float, float]
    bond: str
    paving: Rgb
    variation: float
    verge: Rgb
    verge_kind: str
    backdrop: str
    backdrop_gap: float
    backdrop_height: float
    backdrop_color: Rgb
    trees: int
    lamps: int
    benches: int


@dataclass(frozen=True)
class Layout:
    """Everything about a scene that its videos share.

    Attributes:
        seed: The seed from which it was drawn.
        camera: The camera, for the supersampled canvas.
        walkway: Where and in which direction people walk.
        light: Light and sensor.
        look: Materials.
        walkers: Mean number of walkers in view.
        pace: Mean walking speed, m/s.
    """

    seed: int
    camera: Camera
    walkway: Walkway
    light: Light
    look: Look
    walkers: float
    pace: float


def sample_layout(seed: int, size: tuple[int, int]) -> Layout:
    """Draw the scene of a seed.

    Args:
        seed: Any non-negative integer. Every seed is a different place.
        size: Picture size (width, height), pixels.

    Returns:
        A layout whose walkers have heights within `WALKER_PIXELS` and whose walkway crosses the picture.
    """
    rng = np.random.default_rng([seed, 0])
    camera, walkway = _sample_view(rng, size)
    first, last = walkway.visible
    light, look = _sample_light(rng), _sample_look(rng)
    # A dense crowd (4 m² per head) would hide every event, and a lone walker is not a crowd.
    area = (last - first) * 2 * walkway.half_width
    walkers = float(np.clip(rng.uniform(0.05, 0.11) * area, 4.0, 11.0))
    return Layout(seed, camera, walkway, light, look, walkers, float(rng.uniform(1.2, 1.4)))


def _sample_view(rng: np.random.Generator, size: tuple[int, int]) -> tuple[Camera, Walkway]:
    width, height = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    for _ in range(4000):
        camera = Camera(
            width=width,
            height=height,
            focal=width / (2 * math.tan(math.radians(rng.uniform(38, 62)) / 2)),
            elevation=float(rng.uniform(4.0, 9.5)),
            tilt=math.radians(rng.uniform(12, 33)),
            roll=math.radians(rng.uniform(-1.5, 1.5)),
        )
        at = np.array([[width * rng.uniform(0.42, 0.58)], [height * rng.uniform(0.52, 0.68)]])
        x, y, hits = camera.ground_of(at[0], at[1])
        # A quarter of the scenes is viewed at a right angle, the others obliquely.
        angle = math.radians(rng.uniform(-8, 8) if rng.random() < 0.25 else rng.uniform(-52, 52))
        walkway = Walkway(float(x[0]), float(y[0]), angle, int(rng.choice([-1, 1])), float(rng.uniform(2.0, 3.2)))
        if hits[0]:
            accepted = _measure_view(camera, walkway)
            if accepted is not None:
                return camera, accepted
    raise RuntimeError(f"no camera position was accepted for the picture size {size}")  # pragma: no cover


def _measure_view(camera: Camera, walkway: Walkway) -> Walkway | None:
    """Return the walkway with its visible ranges; None if the view is unsuitable."""
    s = np.linspace(-45, 45, 361)
    along = np.array([walkway.world(value, 0.0) for value in s])
    across = np.array([-math.sin(walkway.angle), math.cos(walkway.angle)])
    margin = 0.02 * camera.width
    seen = np.zeros((3, s.size), dtype=bool)
    heights: list[Floats] = []
    for row, v in enumerate((-walkway.half_width, 0.0, walkway.half_width)):
        feet = np.concatenate([along + v * across, np.zeros((s.size, 1))], axis=1)
        heads = feet + np.array([0.0, 0.0, 1.7])
        foot, depth = camera.project(feet)
        head, head_depth = camera.project(heads)
        front = (depth > 1.0) & (head_depth > 1.0)
        inside = [
            front & (p[:, 0] > -margin) & (p[:, 0] < camera.width + margin) & (p[:, 1] > 0) & (p[:, 1] < camera.height)
            for p in (foot, head)
        ]
        seen[row] = inside[0] | inside[1]
        heights.append((foot[:, 1] - head[:, 1])[seen[row]])
    if not seen.any(axis=1).all() or seen[:, [0, -1]].any():
        return None
    scale = 360.0 / camera.height
    tall = np.concatenate(heights) * scale
    middle = heights[1] * scale
    visible = (float(s[seen[1]].min()), float(s[seen[1]].max()))
    anywhere = s[seen.any(axis=0)]
    length = visible[1] - visible[0]
    if anywhere[-1] - anywhere[0] > 26.0:
        return None
    too_small, too_tall = tall.min() < WALKER_PIXELS[0], tall.max() > WALKER_PIXELS[1]
    if too_small or too_tall or not 13.0 <= length <= 23.0 or np.median(middle) < 36.0:
        return None
    return replace(walkway, visible=visible, reach=(float(anywhere.min()) - 1.0, float(anywhere.max()) + 1.0))


def _sample_light(rng: np.random.Generator) -> Light:
    kind = str(rng.choice(["sunny", "overcast", "dusk"], p=[0.5, 0.35, 0.15]))
    azimuth = rng.uniform(0, 2 * math.pi)
    elevation = math.radians(rng.uniform(32, 62) if kind == "sunny" else rng.uniform(68, 80))
    warm = rng.uniform(-0.05, 0.06) + (0.05 if kind == "dusk" else 0.0)
    return Light(
        kind=kind,
        sun=(
            math.cos(elevation) * math.cos(azimuth),
            math.cos(elevation) * math.sin(azimuth),
            math.sin(elevation),
        ),
        shadow=float({"sunny": rng.uniform(0.38, 0.55), "overcast": 0.3, "dusk": 0.3}[kind]),
        softness=0.04 if kind == "sunny" else 0.16,
        exposure=float({"sunny": 1.0, "overcast": 0.9, "dusk": 0.62}[kind] * rng.uniform(0.92, 1.06)),
        tint=(1.0 + warm, 1.0, 1.0 - warm),
        gamma=float(rng.uniform(0.85, 1.1)),
        black=float(rng.uniform(4, 18)),
        drift=float(rng.uniform(0.012, 0.035)),
        vignette=float(rng.uniform(0.08, 0.22)),
        read_noise=float(rng.uniform(0.9, 1.7) * (1.5 if kind == "dusk" else 1.0)),
        shot_noise=float(rng.uniform(0.015, 0.04)),
    )


def _sample_look(rng: np.random.Generator) -> Look:
    pavings: list[Rgb] = [(158, 152, 143), (136, 136, 138), (172, 158, 136), (150, 126, 110), (120, 118, 114)]
    slabs = [(0.6, 0.6), (0.9, 0.6), (0.4, 0.4), (1.2, 0.8), (0.3, 0.6)]
    backdrops: dict[str, list[Rgb]] = {
        "brick": [(142, 88, 70), (156, 112, 84), (120, 78, 66)],
        "plaster": [(186, 178, 160), (170, 172, 172), (196, 176, 142)],
        "hedge": [(54, 74, 40), (62, 80, 48)],
        "park": [(70, 92, 54)],
    }
    backdrop = str(rng.choice(list(backdrops)))
    grass = rng.random() < 0.75
    verge: Rgb = (88, 112, 60) if grass else (150, 140, 122)
    wobble = rng.uniform(0.88, 1.1) * rng.uniform(0.96, 1.04, 3)
    colors = backdrops[backdrop]
    return Look(
        slab=slabs[int(rng.integers(len(slabs)))],
        bond=str(rng.choice(["running", "stack"])),
        paving=pavings[int(rng.integers(len(pavings)))],
        variation=float(rng.uniform(0.03, 0.08)),
        verge=(verge[0] * wobble[0], verge[1] * wobble[1], verge[2] * wobble[2]),
        verge_kind="grass" if grass else "gravel",
        backdrop=backdrop,
        backdrop_gap=float(rng.uniform(1.5, 6.0)),
        backdrop_height=float(rng.uniform(1.2, 2.2) if backdrop == "hedge" else rng.uniform(6.0, 10.0)),
        backdrop_color=colors[int(rng.integers(len(colors)))],
        trees=int(rng.integers(1, 5)),
        lamps=int(rng.integers(1, 4)),
        benches=int(rng.integers(0, 3)),
    )
