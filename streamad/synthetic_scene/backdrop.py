"""The static part of a scene: ground, backdrop, trees, lamps and benches, and what hides the walkers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamad.synthetic_scene.camera import Floats
from streamad.synthetic_scene.layout import Layout, Rgb
from streamad.synthetic_scene.shapes import SHIFT, Canvas
from streamad.synthetic_scene.textures import Floats32, facade, grass, noise_tile, paving, sample


@dataclass(frozen=True)
class Layer:
    """A static object on the ground that may hide what is behind it.

    Attributes:
        depth: Distance along the optical axis, meters.
        x, y: Top left corner on the canvas.
        color: (h, w, 3) uint8 RGB.
        alpha: (h, w) uint8 coverage.
    """

    depth: float
    x: int
    y: int
    color: Canvas
    alpha: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Backdrop:
    """The empty scene.

    Attributes:
        canvas: (H, W, 3) uint8 RGB, supersampled, with light and vignette applied.
        light: (H, W) float32 illumination of the ground; 1 is full.
        layers: Objects that hide walkers, far to near.
    """

    canvas: Canvas
    light: Floats32
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class Prop:
    """A static object: its kind and its position along (s) and across (v) the walkway, meters."""

    kind: str
    s: float
    v: float
    size: float


def build_backdrop(layout: Layout) -> Backdrop:
    """Draw the empty scene of a layout. Equal layouts give equal pixels."""
    rng = np.random.default_rng([layout.seed, 1])
    camera, way = layout.camera, layout.walkway
    ys, xs = np.mgrid[0 : camera.height, 0 : camera.width].astype(np.float64) + 0.5
    x, y, ground = camera.ground_of(xs, ys)
    s, v = way.coordinates(x, y)
    distance = np.sqrt(x**2 + y**2 + camera.elevation**2)
    # Size of a pixel on the ground, stretched along the view by the grazing angle.
    footprint = np.minimum(distance / camera.focal * np.sqrt(distance / camera.elevation), 50.0)
    albedo = _ground(rng, layout, (x, y, s, v), footprint)
    _sky(rng, layout, albedo, ground, distance)
    _stand_backdrop(rng, layout, albedo)
    props = place_props(rng, layout)
    light = _illumination(rng, layout, props, (x, y), ground)
    gray = albedo @ np.array([0.299, 0.587, 0.114], np.float32)
    albedo = albedo + 0.3 * (gray[..., None] - albedo)  # surveillance cameras are set to pale colors
    lit = albedo * light[..., None] * (layout.light.exposure * np.array(layout.light.tint, np.float32))
    canvas = np.clip(lit, 0, 255).astype(np.uint8)
    layers = [layer for prop in props if (layer := _draw_prop(rng, layout, prop, light)) is not None]
    layers.sort(key=lambda layer: -layer.depth)
    for layer in layers:
        blend(canvas, layer, (0, 0, camera.width, camera.height))
    return Backdrop(canvas, light, tuple(layers))


def blend(canvas: Canvas, layer: Layer, box: tuple[int, int, int, int]) -> None:
    """Draw the part of a layer inside `box` (x0, y0, x1, y1) on the canvas."""
    height, width = layer.alpha.shape
    x0, y0 = max(box[0], layer.x, 0), max(box[1], layer.y, 0)
    x1 = min(box[2], layer.x + width, canvas.shape[1])
    y1 = min(box[3], layer.y + height, canvas.shape[0])
    if x1 <= x0 or y1 <= y0:
        return
    inside = np.s_[y0 - layer.y : y1 - layer.y, x0 - layer.x : x1 - layer.x]
    alpha = layer.alpha[inside].astype(np.uint16)[..., None]
    patch = canvas[y0:y1, x0:x1]
    patch[:] = (patch * (255 - alpha) + layer.color[inside] * alpha + 127) // 255


def _ground(
    rng: np.random.Generator, layout: Layout, at: tuple[Floats, Floats, Floats, Floats], footprint: Floats
) -> Floats32:
    x, y, s, v = at
    look, half = layout.look, layout.walkway.half_width
    coarse, fine = noise_tile(rng), noise_tile(rng, coarsest=32, octaves=5, gain=0.9)
    tint = np.ones((*x.shape, 3))
    if look.verge_kind == "grass":
        verge = grass(coarse, fine, x, y, footprint)
        patches = 1 + 0.05 * sample(coarse, x, y, 3.0)
        tint = patches[..., None] ** np.array([1.6, 0.3, -0.6])
    else:
        grains = np.clip(0.03 / footprint, 0.2, 1.0)
        speckle = 0.03 * sample(coarse, x, y, 6.0) + 0.12 * grains * sample(fine, x, y, 90.0)
        verge = np.asarray(1 + speckle, dtype=np.float32)
    albedo = np.asarray(np.array(look.verge) * tint * verge[..., None], dtype=np.float32)
    stains = 1 + 0.05 * sample(coarse, s, v, 14.0) + 0.025 * sample(fine, s, v, 50.0)
    wear = 1 + 0.04 * np.cos(np.clip(v / half, -1, 1) * math.pi)
    path = (paving(rng, look, s, v, footprint) * stains * wear)[..., None] * np.array(look.paving)
    cover = np.clip((half - np.abs(v)) / footprint + 0.5, 0, 1)[..., None]
    # In some places the grass grows over the edge.
    curb_line = half + 0.14 + (0.05 * sample(coarse, s, v, 20.0) if look.verge_kind == "grass" else 0.0)
    curb = np.clip((curb_line - np.abs(v)) / footprint + 0.5, 0, 1)[..., None]
    curb_color = np.array(look.paving) * 1.12 * stains[..., None]
    beside = albedo * (1 - curb) + curb_color * curb
    return np.asarray(beside * (1 - cover) + path * cover, dtype=np.float32)


def _sky(
    rng: np.random.Generator,
    layout: Layout,
    albedo: Floats32,
    ground: npt.NDArray[np.bool_],
    distance: Floats,
) -> None:
    height, width = ground.shape
    haze = np.clip((distance - 60.0) / 160.0, 0, 0.6)[..., None]
    sky = np.array((190, 204, 220) if layout.light.kind == "sunny" else (196, 198, 200), np.float32)
    albedo[:] = albedo * (1 - haze) + sky * 0.8 * haze
    albedo[~ground] = sky
    horizon = ground.argmax(axis=0)
    if horizon.max() < 8:
        return
    leaves = noise_tile(rng, coarsest=16, octaves=6, gain=0.8)
    column = np.arange(width)
    crest = horizon - (0.05 + 0.018 * leaves[0, column % 512] + 0.012 * leaves[7, column // 3 % 512]) * height
    rows = np.arange(height)[:, None]
    wood = (rows > crest[None, :]) & (rows <= horizon[None, :] + 2)
    shade = 1 + 0.2 * leaves[rows % 512, column[None, :] % 512]
    albedo[wood] = (np.array((74, 92, 68), np.float32) * shade[..., None])[wood]


def _stand_backdrop(rng: np.random.Generator, layout: Layout, albedo: Floats32) -> None:
    look, camera, way = layout.look, layout.camera, layout.walkway
    if look.backdrop == "park":
        return
    v = way.half_width + look.backdrop_gap
    s = np.linspace(way.reach[0] - 40, way.reach[1] + 40, 400)
    feet = np.array([(*way.world(float(value), v), 0.0) for value in s])
    _, depth = camera.project(feet)
    usable = s[depth > 3.0]
    if usable.size < 2:
        return
    first, last = float(usable.min()), float(usable.max())
    per_meter = 30 if look.backdrop != "brick" else 44
    front = facade(rng, look, (last - first, look.backdrop_height), per_meter)
    z = look.backdrop_height
    left, right = way.world(first, v), way.world(last, v)
    corners = np.array([(*left, z), (*right, z), (*right, 0.0), (*left, 0.0)])
    target, _ = camera.project(corners)
    height, width = front.shape[:2]
    source = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    homography = cv2.getPerspectiveTransform(source, target.astype(np.float32))
    size = (camera.width, camera.height)
    warped = cv2.warpPerspective(front, homography, size, flags=cv2.INTER_AREA)
    mask = np.zeros((camera.height, camera.width), np.uint8)
    outline = np.rint(np.clip(target, -30000, 30000) * (1 << SHIFT)).astype(np.int32)
    cv2.fillConvexPoly(mask, outline, (255,), cv2.LINE_AA, SHIFT)
    cover = mask.astype(np.float32)[..., None] / 255
    albedo[:] = albedo * (1 - cover) + warped * cover


def place_props(rng: np.random.Generator, layout: Layout) -> list[Prop]:
    """Place trees, lamps and benches beside the walkway, never on it."""
    way, look = layout.walkway, layout.look
    (first, last), half = way.visible, way.half_width
    props: list[Prop] = []
    far_room = look.backdrop_gap if look.backdrop != "park" else 9.0
    for _ in range(look.trees):
        # Most trees stand behind the walkway. One in four stands in front, where its trunk hides walkers.
        size, s = float(rng.uniform(4.0, 6.5)), float(rng.uniform(first, last))
        near = -(half + float(rng.uniform(0.8, 2.0)))
        far = half + float(rng.uniform(0.9, max(1.0, far_room - 0.4)))
        v = near if rng.random() < 0.25 and _crown_is_clear(layout, s, near, size) else far
        props.append(Prop("tree", s, v, size))
    spacing = (last - first) / max(1, look.lamps)
    offset, side = rng.uniform(0.2, 0.8), float(rng.choice([-1.0, 1.0], p=[0.6, 0.4]))
    for k in range(look.lamps):
        props.append(Prop("lamp", first + (k + offset) * spacing, side * (half + 0.35), 4.2))
    for _ in range(look.benches):
        props.append(Prop("bench", float(rng.uniform(first, last)), half + 0.7, 1.6))
    if rng.random() < 0.6:
        props.append(Prop("bin", float(rng.uniform(first, last)), -(half + 0.5), 0.95))
    return props


def _crown_is_clear(layout: Layout, s: float, v: float, size: float) -> bool:
    """Whether the crown of a tree in front of the walkway stays above the walkers' heads in the picture."""
    way = layout.walkway
    x, y = way.world(s, v)
    crown, _ = layout.camera.project(np.array([x, y, size * 0.36]))
    hx, hy = way.world(s, way.half_width)
    head, _ = layout.camera.project(np.array([hx, hy, 1.9]))
    return bool(crown[1] < head[1])


def _illumination(
    rng: np.random.Generator,
    layout: Layout,
    props: list[Prop],
    at: tuple[Floats, Floats],
    ground: npt.NDArray[np.bool_],
) -> Floats32:
    camera, light = layout.camera, layout.light
    x, y = at
    gain = np.ones((camera.height, camera.width), np.float32)
    leaves = noise_tile(rng, coarsest=32, octaves=4, gain=0.7)
    for prop in props:
        px, py = layout.walkway.world(prop.s, prop.v)
        if prop.kind == "tree":
            top = prop.size * 0.68
            cx, cy = px - top * light.sun[0] / light.sun[2], py - top * light.sun[1] / light.sun[2]
            spread = prop.size * 0.36
            reach = np.sqrt((x - cx) ** 2 + (y - cy) ** 2) / spread
            edge = 0.12 if light.kind == "sunny" else 0.5
            shade = np.clip((1.0 + 0.14 * sample(leaves, x, y, 24.0) - reach) / edge, 0, 1)
            gain *= np.where(ground, 1 - light.shadow * 0.9 * shade, 1.0).astype(np.float32)
        elif prop.kind == "lamp" and light.kind == "dusk":
            reach2 = (x - px) ** 2 + (y - py) ** 2
            gain *= np.where(ground, 1 + 0.45 * np.exp(-reach2 / 9.0), 1.0).astype(np.float32)
    rows, columns = np.mgrid[0 : camera.height, 0 : camera.width]
    radius2 = ((columns / camera.width - 0.5) ** 2 + (rows / camera.height - 0.5) ** 2) * 2
    return np.asarray(gain * (1 - light.vignette * radius2), dtype=np.float32)


def _draw_prop(rng: np.random.Generator, layout: Layout, prop: Prop, light: Floats32) -> Layer | None:
    camera = layout.camera
    px, py = layout.walkway.world(prop.s, prop.v)
    foot, depth = camera.project(np.array([px, py, 0.0]))
    if depth < 2.0:
        return None
    scale = camera.focal / float(depth)
    color = np.zeros((camera.height, camera.width, 3), np.uint8)
    alpha = np.zeros((camera.height, camera.width), np.uint8)
    row = int(np.clip(foot[1], 0, camera.height - 1))
    column = int(np.clip(foot[0], 0, camera.width - 1))
    exposure = layout.light.exposure * float(light[row, column])
    sin, cos = math.sin(layout.walkway.angle), math.cos(layout.walkway.angle)
    gain = tuple(exposure * t for t in layout.light.tint)

    def paint(points: list[tuple[float, float, float]], radii: list[float], tone: Rgb) -> None:
        """Fill the convex hull of spheres given relative to the foot (along the path, across it, up; meters)."""
        world = np.array([(px + a * cos - c * sin, py + a * sin + c * cos, z) for a, c, z in points])
        xy, _ = camera.project(world)
        turn = np.linspace(0, 2 * math.pi, 13)[:-1]
        ring = np.stack([np.cos(turn), np.sin(turn)], axis=1)
        cloud = (xy[:, None, :] + (np.array(radii) * scale)[:, None, None] * ring).reshape(-1, 2)
        hull = cv2.convexHull(np.rint(cloud * (1 << SHIFT)).astype(np.int32))
        shaded = tuple(min(255.0, c * g) for c, g in zip(tone, gain, strict=True))
        cv2.fillConvexPoly(color, hull, shaded, cv2.LINE_8, SHIFT)
        cv2.fillConvexPoly(alpha, hull, (255,), cv2.LINE_AA, SHIFT)

    if prop.kind == "tree":
        trunk = prop.size * 0.5
        paint([(0, 0, 0), (0.05, 0, trunk)], [0.17, 0.1], (84, 70, 56))
        paint([(-0.05, 0, 0.05), (0.0, 0, trunk)], [0.08, 0.05], (104, 88, 70))
        sun = layout.light.sun
        green = np.array((66, 88, 48)) * rng.uniform(0.85, 1.15, 3)
        away = camera.rotation[2]
        tufts = rng.normal(0, 1, (520, 3))
        radius = rng.uniform(0.3, 1.0, 520) ** 0.5 * prop.size * 0.32
        lobes = 1 + 0.12 * np.sin(3 * np.arctan2(tufts[:, 2], tufts[:, 0]))
        tufts *= (radius * lobes / np.linalg.norm(tufts, axis=1))[:, None] * (1.0, 1.0, 0.85)
        # Draw far tufts first, because near ones hide them and catch the light.
        for a, c, z in tufts[np.argsort(-tufts @ away)].tolist():
            facing = (a * sun[0] + c * sun[1] + z * sun[2]) / (prop.size * 0.32)
            tone = green * (0.82 + 0.42 * facing + rng.uniform(-0.16, 0.16))
            r, g, b = np.maximum(tone, 8).tolist()
            paint([(a, c, z + prop.size * 0.68)], [prop.size * float(rng.uniform(0.01, 0.03))], (r, g, b))
    elif prop.kind == "lamp":
        paint([(0, 0, 0), (0, 0, prop.size)], [0.06, 0.045], (70, 72, 74))
        paint([(0, 0, 0), (0, 0, 0.4)], [0.1, 0.08], (58, 60, 62))
        head = (250.0, 236.0, 190.0) if layout.light.kind == "dusk" else (190.0, 190.0, 184.0)
        paint([(-0.18, 0, prop.size), (0.18, 0, prop.size)], [0.11, 0.11], head)
    elif prop.kind == "bench":
        for a in (-0.65, 0.65):
            paint([(a, -0.2, 0), (a, -0.2, 0.42)], [0.03, 0.03], (54, 54, 56))
            paint([(a, 0.2, 0), (a, 0.24, 0.85)], [0.03, 0.03], (54, 54, 56))
        for c, z in ((-0.18, 0.43), (0.0, 0.44), (0.18, 0.45), (0.22, 0.6), (0.24, 0.74), (0.26, 0.86)):
            paint([(-0.85, c, z), (0.85, c, z)], [0.04, 0.04], (122, 92, 60))
    else:
        paint([(0, 0, 0.05), (0, 0, 0.8)], [0.26, 0.28], (62, 74, 66))
        paint([(0, 0, 0.84), (0, 0, 0.9)], [0.29, 0.27], (44, 50, 48))
    rows, columns = np.nonzero(alpha)
    if rows.size == 0:
        return None
    y0, y1, x0, x1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    return Layer(float(depth), int(x0), int(y0), color[y0:y1, x0:x1].copy(), alpha[y0:y1, x0:x1].copy())
