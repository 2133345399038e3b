"""Subjects that do not walk: a bicycle with its rider, a golf cart with its driver, a suitcase."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streamad.synthetic_scene.body import POINTS, Person, Point, dress, riding, sitting
from streamad.synthetic_scene.camera import Floats
from streamad.synthetic_scene.layout import Rgb
from streamad.synthetic_scene.shapes import Part, Recipe, join

_RIM = 14
_DARK: Rgb = (34, 34, 36)


class _Builder:
    """Collects points and the parts that refer to them."""

    def __init__(self) -> None:
        self.points: list[Point] = []
        self.parts: list[Part] = []

    def add(self, *points: Point) -> tuple[int, ...]:
        first = len(self.points)
        self.points.extend(points)
        return tuple(range(first, len(self.points)))

    def tube(self, a: Point, b: Point, radius: float, color: Rgb) -> None:
        self.parts.append(Part("hull", self.add(a, b), (radius, radius), color))

    def ring(self, center: Point, radius: float, thickness: float, color: Rgb) -> None:
        self.parts.append(Part("ring", self.add(*_rim(center, radius)), (thickness,), color))

    def disc(self, center: Point, radius: float, color: Rgb, lift: float = 0.0) -> None:
        rim = self.add(*_rim(center, radius))
        self.parts.append(Part("hull", rim, (0.045,) * _RIM, color, lift))

    def box(self, low: Point, high: Point, color: Rgb, lift: float = 0.0, slope: float = 0.0) -> None:
        """Add a box. `slope` moves the upper front edge back by that many meters."""
        (x0, y0, z0), (x1, y1, z1) = low, high
        xt = x1 - slope
        corners = self.add(
            (x0, y0, z0), (x1, y0, z0), (x1, y1, z0), (x0, y1, z0),
            (x0, y0, z1), (xt, y0, z1), (xt, y1, z1), (x0, y1, z1),
        )  # fmt: skip
        faces = ((0, 1, 5, 4), (1, 2, 6, 5), (2, 3, 7, 6), (3, 0, 4, 7), (4, 5, 6, 7))
        for face, gain in zip(faces, (0.84, 0.94, 0.84, 0.76, 1.08), strict=True):
            r, g, b = (min(255.0, channel * gain) for channel in color)
            index = tuple(corners[i] for i in face)
            self.parts.append(Part("face", index, (0.0,) * 4, (r, g, b), lift))

    def array(self) -> Floats:
        return np.array(self.points)


def _rim(center: Point, radius: float) -> list[Point]:
    turns = [2 * math.pi * k / _RIM for k in range(_RIM)]
    return [(center[0] + radius * math.cos(t), center[1], center[2] + radius * math.sin(t)) for t in turns]


_WHEEL = 0.345
_SADDLE: Point = (-0.24, 0.0, 0.95)
_BOTTOM: Point = (-0.06, 0.0, 0.28)
_GRIPS: tuple[Point, Point] = ((0.42, 0.24, 1.04), (0.42, -0.24, 1.04))


@dataclass(frozen=True)
class Cyclist:
    """A person riding a bicycle."""

    rider: Person
    recipe: Recipe
    bicycle: Floats

    def points(self, distance: float) -> Floats:
        """(P, 3) points after `distance` meters. The cranks turn once in 5.2 m."""
        crank = 2 * math.pi * distance / 5.2
        return np.concatenate([riding(self.rider, crank, _SADDLE, _BOTTOM, _GRIPS), self.bicycle])


def make_cyclist(rng: np.random.Generator) -> Cyclist:
    """Draw a random cyclist."""
    rider = dress(rng, sporty=bool(rng.random() < 0.4))
    frames: list[Rgb] = [(170, 40, 36), (40, 70, 140), (36, 36, 40), (210, 210, 206), (50, 120, 80)]
    color = frames[int(rng.integers(len(frames)))]
    b = _Builder()
    rear, front, head = (-0.53, 0.0, _WHEEL), (0.53, 0.0, _WHEEL), (0.36, 0.0, 0.88)
    for hub in (rear, front):
        b.ring(hub, _WHEEL - 0.02, 0.022, _DARK)
        b.tube((hub[0], -0.04, hub[2]), (hub[0], 0.04, hub[2]), 0.035, (120, 120, 122))
    for start, end in (
        (rear, _BOTTOM), (_BOTTOM, head), (_SADDLE, _BOTTOM), (rear, (-0.2, 0.0, 0.82)),
        ((-0.2, 0.0, 0.82), head), (head, front),
    ):  # fmt: skip
        b.tube(start, end, 0.02, color)
    b.tube(head, (0.38, 0.0, 1.04), 0.018, _DARK)
    b.tube(_GRIPS[0], _GRIPS[1], 0.018, _DARK)
    b.tube((-0.36, 0.0, 0.96), (-0.12, 0.0, 0.96), 0.05, _DARK)
    bicycle = b.array()
    recipe = join((rider.recipe, POINTS), (Recipe(tuple(b.parts)), len(bicycle)))
    return Cyclist(rider, recipe, bicycle)


@dataclass(frozen=True)
class Rigid:
    """A rigid object: the cart with its seated driver, or a suitcase.

    Attributes:
        recipe: Its parts.
        body: (P, 3) points, meters.
        radius: Half its width, meters.
    """

    recipe: Recipe
    body: Floats
    radius: float


def make_cart(rng: np.random.Generator) -> Rigid:
    """Draw a random golf cart: 2.4 m long, 1.25 m wide, 1.85 m tall, with a driver."""
    paints: list[Rgb] = [(214, 212, 204), (188, 196, 178), (70, 104, 84), (176, 58, 48), (84, 110, 150)]
    paint = paints[int(rng.integers(len(paints)))]
    roof: Rgb = (222, 220, 212) if rng.random() < 0.6 else (60, 62, 66)
    b = _Builder()
    for side in (-0.55, 0.55):
        for axle in (-0.78, 0.8):
            b.disc((axle, side, 0.24), 0.2, _DARK, lift=0.05)
            b.disc((axle, side * 1.06, 0.24), 0.07, (150, 150, 150), lift=0.1)
    b.box((-1.15, -0.58, 0.26), (0.5, 0.58, 0.56), paint)
    b.box((0.5, -0.58, 0.26), (1.22, 0.58, 0.84), paint, slope=0.3)
    b.box((-0.62, -0.52, 0.56), (0.0, 0.52, 0.72), (96, 84, 70))
    b.box((-0.72, -0.52, 0.56), (-0.6, 0.52, 1.12), (96, 84, 70))
    for side in (-0.52, 0.52):
        b.tube((0.72, side, 0.82), (0.5, side, 1.78), 0.024, _DARK)
        b.tube((-0.85, side, 0.55), (-0.8, side, 1.78), 0.024, _DARK)
    b.tube((0.62, 0.24, 0.8), (0.36, 0.24, 0.98), 0.03, _DARK)
    b.box((-1.05, -0.6, 1.78), (0.68, 0.6, 1.86), roof, lift=0.7)
    driver = dress(rng)
    body = b.array()
    seated = sitting(driver, (-0.3, 0.24, 0.74))
    recipe = join((Recipe(tuple(b.parts)), len(body)), (driver.recipe, POINTS))
    return Rigid(recipe, np.concatenate([body, seated]), 0.65)


def make_suitcase(rng: np.random.Generator, ground: Rgb) -> Rigid:
    """Draw a random suitcase: about 0.6 m wide, 0.3 m deep, 0.7 m tall, with a handle.

    Args:
        rng: Random generator.
        ground: Color of the ground below it. The suitcase is at least 45 gray levels darker or lighter.
    """
    colors: list[Rgb] = [(172, 40, 38), (36, 36, 42), (46, 74, 130), (226, 222, 210), (40, 74, 52)]
    stand_out = [c for c in colors if abs(_luma(c) - _luma(ground)) >= 45]
    color = stand_out[int(rng.integers(len(stand_out)))]
    b = _Builder()
    b.box((-0.3, -0.15, 0.04), (0.3, 0.15, 0.7), color)
    b.tube((-0.14, 0.0, 0.7), (-0.14, 0.0, 0.86), 0.014, _DARK)
    b.tube((0.14, 0.0, 0.7), (0.14, 0.0, 0.86), 0.014, _DARK)
    b.tube((-0.14, 0.0, 0.86), (0.14, 0.0, 0.86), 0.02, _DARK)
    return Rigid(Recipe(tuple(b.parts)), b.array(), 0.35)


def _luma(color: Rgb) -> float:
    return 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
