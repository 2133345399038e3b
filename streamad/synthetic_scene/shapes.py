"""Figures made of rounded solids, and the painter that projects and draws them.

A part is the convex hull of a few spheres (a limb has two, a torso four), a flat face (a side of a box) or a
ring (a wheel). To draw a part, its spheres are projected and the hull of their circles is filled. This is cheap and
correct from every side, and a shadow is the same figure sheared onto the ground.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from streamad.synthetic_scene.camera import Camera, Floats
from streamad.synthetic_scene.layout import Light, Rgb

Canvas = npt.NDArray[np.uint8]
Polygon = npt.NDArray[np.int32]
Box = tuple[float, float, float, float]

SHIFT = 4
"""Fractional bits of coordinates in OpenCV's drawing functions."""

_HALF_TURN = np.exp(1j * np.linspace(-math.pi / 2, math.pi / 2, 5))
_OUTLINE = np.concatenate([-_HALF_TURN, _HALF_TURN])  # around one end, then around the other, as complex numbers
_CIRCLE = np.stack([np.cos(a := np.linspace(0, 2 * math.pi, 9)[:-1]), np.sin(a)], axis=1)


@dataclass(frozen=True)
class Part:
    """One solid of a figure.

    Attributes:
        kind: "hull" (of spheres), "face" (a flat polygon, drawn only if its front is visible) or "ring" (a closed
            line).
        points: Indices into the figure's points.
        radii: Radius of each sphere, meters; for a ring, half the line thickness, once.
        color: RGB 0..255 under full light.
        lift: Offset toward the camera in the drawing order, relative to its depth, meters.
        shade: Whether to draw a lit side.
        shadow: Whether the part casts a shadow.
    """

    kind: Literal["hull", "face", "ring"]
    points: tuple[int, ...]
    radii: tuple[float, ...]
    color: Rgb
    lift: float = 0.0
    shade: bool = False
    shadow: bool = True


@dataclass(frozen=True)
class Recipe:
    """Parts of a figure, with arrays for drawing all two-sphere parts at once."""

    parts: tuple[Part, ...]
    limbs: npt.NDArray[np.intp] = field(init=False, repr=False)
    limb_radii: Floats = field(init=False, repr=False)
    centers: npt.NDArray[np.intp] = field(init=False, repr=False)
    lifts: Floats = field(init=False, repr=False)
    colors: Floats = field(init=False, repr=False)
    limb_of: tuple[int, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        pairs = [p for p in self.parts if _is_limb(p)]
        object.__setattr__(self, "limbs", np.array([p.points for p in pairs], dtype=np.intp).reshape(-1, 2))
        object.__setattr__(self, "limb_radii", np.array([p.radii for p in pairs]).reshape(-1, 2))
        object.__setattr__(self, "centers", np.array([(p.points[0], p.points[len(p.points) // 2]) for p in self.parts]))
        object.__setattr__(self, "colors", np.array([p.color for p in self.parts], dtype=np.float64))
        numbers = iter(range(len(pairs)))
        limb_of = tuple(next(numbers) if _is_limb(p) else -1 for p in self.parts)
        object.__setattr__(self, "limb_of", limb_of)
        object.__setattr__(self, "lifts", np.array([p.lift for p in self.parts]))


def _is_limb(part: Part) -> bool:
    return part.kind == "hull" and len(part.points) == 2


def join(*pieces: tuple[Recipe, int]) -> Recipe:
    """Combine the recipes of figures whose points are concatenated. Each recipe comes with its number of points."""
    parts: list[Part] = []
    offset = 0
    for recipe, count in pieces:
        for p in recipe.parts:
            moved = tuple(i + offset for i in p.points)
            parts.append(Part(p.kind, moved, p.radii, p.color, p.lift, p.shade, p.shadow))
        offset += count
    return Recipe(tuple(parts))


@dataclass(frozen=True)
class Placed:
    """A figure at a position in the world.

    Attributes:
        recipe: Its parts.
        points: (P, 3) in the figure's own axes: x ahead, y to the left, z up, meters.
        x, y: World position, meters.
        heading: World angle of "ahead", radians.
    """

    recipe: Recipe
    points: Floats
    x: float
    y: float
    heading: float

    @property
    def matrix(self) -> Floats:
        """(4, 4) matrix from the figure's axes to the world's."""
        sin, cos = math.sin(self.heading), math.cos(self.heading)
        return np.array([[cos, -sin, 0, self.x], [sin, cos, 0, self.y], [0, 0, 1, 0], [0, 0, 0, 1.0]])


class Painter:
    """Draws placed figures for one camera and light on a supersampled RGB canvas."""

    def __init__(self, camera: Camera, light: Light) -> None:
        self._camera = camera
        self._light = light
        self._unit = 1 << SHIFT
        sun = np.array(light.sun)
        shear = np.eye(4)
        shear[0, 2], shear[1, 2], shear[2, 2] = -sun[0] / sun[2], -sun[1] / sun[2], 0.0
        self._shadow_matrix = camera.matrix @ shear
        in_view = camera.rotation @ sun
        flat = in_view[:2] / max(float(np.hypot(in_view[0], in_view[1])), 1e-6)
        self._lit_side = 0.32 * complex(flat[0], flat[1])
        self._contrast = 0.16 if light.kind == "sunny" else 0.09

    def shadow(self, canvas: Canvas, figure: Placed) -> None:
        """Darken the ground where the figure blocks the sun."""
        xy, depth, scale = self._project(self._shadow_matrix, figure)
        if depth.min() < 0.5:
            return
        softness = max(1, round(self._light.softness * float(scale.mean())))
        radius = 0.12 * float(scale.mean()) + 2 * softness + 2
        window = _window(xy, radius, canvas.shape)
        if window is None:
            return
        x0, y0, x1, y1 = window
        mask = np.zeros((y1 - y0, x1 - x0), np.uint8)
        # A sphere's shadow on the ground is as wide as the sphere, but foreshortened by the view.
        squash = max(0.35, math.sin(self._camera.tilt))
        xy = xy - (x0, y0)
        anchors, arcs = self._arcs(figure.recipe, xy, scale)
        limbs = self._fixed(anchors + arcs.real + 1j * squash * arcs.imag)
        for part, limb in zip(figure.recipe.parts, figure.recipe.limb_of, strict=True):
            if not part.shadow:
                continue
            polygon = limbs[limb] if limb >= 0 else self._outline(part, xy, scale)
            if part.kind == "ring":
                thickness = max(1, round(part.radii[0] * 2 * float(scale.mean())))
                cv2.polylines(mask, [polygon], True, (255,), thickness, cv2.LINE_8, SHIFT)
            else:
                cv2.fillConvexPoly(mask, polygon, (255,), cv2.LINE_8, SHIFT)
        side = 2 * softness + 1
        mask = np.asarray(cv2.blur(mask, (side, side)), dtype=np.uint8)
        gain = cv2.convertScaleAbs(mask, alpha=-self._light.shadow, beta=255.0)
        # convertScaleAbs takes the absolute value; the argument stays positive because shadow < 1.
        patch = canvas[y0:y1, x0:x1]
        cv2.multiply(patch, cv2.merge([gain, gain, gain]), dst=patch, scale=1 / 255)

    def draw(self, canvas: Canvas, figure: Placed, brightness: Rgb) -> list[Polygon]:
        """Draw a figure.

        Args:
            canvas: (H, W, 3) uint8 RGB, modified in place.
            figure: The figure.
            brightness: Gain on its colors, per channel.

        Returns:
            The drawn polygons, int32 with `SHIFT` fractional bits. The silhouette is their union.
        """
        recipe = figure.recipe
        xy, depth, scale = self._project(self._camera.matrix @ figure.matrix, figure, apply=False)
        if depth.min() < 0.5:
            return []
        far = xy.max(axis=0)
        if far.min() < -60 or (xy.min(axis=0) > (canvas.shape[1] + 60, canvas.shape[0] + 60)).any():
            return []
        anchors, arcs = self._arcs(recipe, xy, scale)
        limbs = self._fixed(anchors + arcs)
        # The lit side is a narrower copy shifted toward the sun.
        lit = self._fixed(anchors + 0.6 * arcs + self._lit_side * np.abs(arcs))
        tones = np.minimum(recipe.colors * brightness, 255.0)
        bright = np.minimum(tones * (1.0 + self._contrast) + 3.0, 255.0).tolist()
        plain = tones.tolist()
        order = np.argsort(recipe.lifts - depth[recipe.centers].mean(axis=1), kind="stable")
        drawn: list[Polygon] = []
        for index in order.tolist():
            part, limb, color = recipe.parts[index], recipe.limb_of[index], plain[index]
            polygon = limbs[limb] if limb >= 0 else self._outline(part, xy, scale)
            if part.kind == "ring":
                thickness = max(1, round(2 * part.radii[0] * float(scale[part.points[0]])))
                cv2.polylines(canvas, [polygon], True, color, thickness, cv2.LINE_AA, SHIFT)
            elif part.kind == "face" and _turned_away(polygon):
                continue
            else:
                cv2.fillConvexPoly(canvas, polygon, color, cv2.LINE_AA, SHIFT)
            drawn.append(polygon)
            if part.shade and limb >= 0:
                cv2.fillConvexPoly(canvas, lit[limb], bright[index], cv2.LINE_8, SHIFT)
        return drawn

    def _project(self, matrix: Floats, figure: Placed, *, apply: bool = True) -> tuple[Floats, Floats, Floats]:
        full = matrix @ figure.matrix if apply else matrix
        homogeneous = figure.points @ full[:, :3].T + full[:, 3]
        depth = homogeneous[:, 2]
        safe = np.maximum(depth, 0.1)
        return homogeneous[:, :2] / safe[:, None], depth, self._camera.focal / safe

    def _arcs(
        self, recipe: Recipe, xy: Floats, scale: Floats
    ) -> tuple[npt.NDArray[np.complex128], npt.NDArray[np.complex128]]:
        """Outlines of all limbs as complex numbers: (N, 10) centers and (N, 10) offsets from them."""
        ends = (xy[:, 0] + 1j * xy[:, 1])[recipe.limbs]  # (N, 2)
        radii = recipe.limb_radii * scale[recipe.limbs]
        along = ends[:, 1] - ends[:, 0]
        length = np.abs(along)
        direction = np.where(length > 1e-9, along / np.maximum(length, 1e-9), 1.0)
        each = _HALF_TURN.size
        arcs = np.repeat(radii, each, axis=1) * (direction[:, None] * _OUTLINE)
        return np.repeat(ends, each, axis=1), arcs

    def _fixed(self, points: npt.NDArray[np.complex128]) -> npt.NDArray[np.int32]:
        """Convert (N, K) complex numbers to (N, K, 2) fixed-point coordinates."""
        real = np.ascontiguousarray(points).view(np.float64).reshape(*points.shape, 2)
        return np.rint(real * self._unit).astype(np.int32)

    def _outline(self, part: Part, xy: Floats, scale: Floats) -> Polygon:
        index = list(part.points)
        if part.kind != "hull":
            return np.rint(xy[index] * self._unit).astype(np.int32)
        radii = (np.array(part.radii) * scale[index])[:, None, None]
        circles = (xy[index][:, None, :] + radii * _CIRCLE).reshape(-1, 2)
        hull = cv2.convexHull(np.rint(circles * self._unit).astype(np.int32))
        return np.asarray(hull, dtype=np.int32).reshape(-1, 2)


def bounds(polygons: Sequence[Polygon]) -> Box | None:
    """Bounding box (x0, y0, x1, y1) of polygons in canvas pixels; None for an empty list."""
    if not polygons:
        return None
    points = np.concatenate(polygons)
    low, high = points.min(axis=0) / (1 << SHIFT), points.max(axis=0) / (1 << SHIFT)
    return float(low[0]), float(low[1]), float(high[0]), float(high[1])


def _turned_away(polygon: Polygon) -> bool:
    # Faces list their corners counterclockwise as seen from outside. With y down, a front has negative area.
    (ax, ay), (bx, by), (cx, cy) = polygon[:3].tolist()
    return bool((bx - ax) * (cy - ay) - (by - ay) * (cx - ax) >= 0)


def _window(xy: Floats, margin: float, shape: tuple[int, ...]) -> tuple[int, int, int, int] | None:
    x0, y0 = np.floor(xy.min(axis=0) - margin).astype(int).tolist()
    x1, y1 = np.ceil(xy.max(axis=0) + margin).astype(int).tolist()
    x0, y0, x1, y1 = max(x0, 0), max(y0, 0), min(x1, shape[1]), min(y1, shape[0])
    return (x0, y0, x1, y1) if x1 - x0 > 1 and y1 - y0 > 1 else None
