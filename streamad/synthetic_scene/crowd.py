"""Movement of people: walkers with the flow who keep their distance, pause, and make way for faster subjects."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Literal

import numpy as np

from streamad.synthetic_scene.body import Gait, Person, carried, dress, stride_length
from streamad.synthetic_scene.layout import Layout
from streamad.synthetic_scene.shapes import Placed
from streamad.synthetic_scene.vehicles import Cyclist, Rigid

Role = Literal["walker", "cyclist", "cart", "runner", "against_flow", "suitcase"]

_ACCELERATION = 1.1  # m/s², when a walker starts and stops
_SIDESTEP = 0.75  # m/s, when a walker makes way
LUGGAGE_ASIDE = 0.42
"""Distance of a carried suitcase to the right of a person's middle, meters."""
_ENTRY = 3.0  # meters beyond the last visible point where things enter and leave


@dataclass
class Mover:
    """Anything that stands or moves on the walkway.

    Attributes:
        role: Kind of subject. All except "walker" are anomalous at some time.
        body: Its shape.
        s, v: Position along and across the flow, meters.
        pace: Preferred speed, m/s.
        direction: +1 with the flow, -1 against it.
        lane: The v to which it returns, meters.
        speed: Current speed along `direction`, m/s.
        drift: Current lateral speed, m/s.
        traveled: Distance covered, meters; drives the gait and the cranks.
        phase: Phase of the gait, radians.
        pause: Remaining time of standing still, seconds.
        bend: From 0 (upright) to 1 (bent down).
        steadfast: Whether it keeps its pace and lane while others make way.
        luggage: A suitcase in its hand.
        yaw: Heading relative to the flow, radians.
    """

    role: Role
    body: Person | Cyclist | Rigid
    s: float
    v: float
    pace: float
    direction: int = 1
    lane: float = 0.0
    speed: float = 0.0
    drift: float = 0.0
    traveled: float = 0.0
    phase: float = 0.0
    pause: float = 0.0
    bend: float = 0.0
    steadfast: bool = False
    luggage: Rigid | None = None
    yaw: float = 0.0
    identity: int = field(default=0)

    @property
    def radius(self) -> float:
        """Half the space that it needs across the walkway, meters."""
        return self.body.radius if isinstance(self.body, Rigid) else 0.3

    def figures(self, layout: Layout) -> list[Placed]:
        """Figures to draw at the current time."""
        x, y = layout.walkway.world(self.s, self.v)
        turn = self.yaw + (math.pi if self.direction < 0 else 0.0)
        # v increases to the left of the flow if the flow follows the path's angle, otherwise to the right.
        heading = layout.walkway.heading + turn
        if isinstance(self.body, Rigid):
            return [Placed(self.body.recipe, self.body.body, x, y, heading)]
        if isinstance(self.body, Cyclist):
            return [Placed(self.body.recipe, self.body.points(self.traveled), x, y, heading)]
        running = 1.0 if self.role == "runner" else 0.0
        gait = Gait(self.phase, stride_length(self.body, self.speed, running), running, self.bend)
        figures = [Placed(self.body.recipe, carried(self.body, gait), x, y, heading)]
        if self.luggage is not None:
            side = layout.walkway.forward * self.direction
            bx, by = layout.walkway.world(self.s, self.v - LUGGAGE_ASIDE * side)
            figures.append(Placed(self.luggage.recipe, self.luggage.body, bx, by, heading))
        return figures


class Crowd:
    """All movers of one video, advanced frame by frame.

    Args:
        layout: The scene.
        rng: Random generator. Equal states give equal crowds.
    """

    def __init__(self, layout: Layout, rng: np.random.Generator) -> None:
        self._layout = layout
        self._rng = rng
        self._next = 0.0
        self._count = 0
        self.movers: list[Mover] = []

    def add(self, mover: Mover) -> None:
        """Add a mover to the walkway."""
        self._count += 1
        mover.identity = self._count
        self.movers.append(mover)

    def remove(self, mover: Mover) -> None:
        """Remove a mover from the walkway."""
        self.movers = [other for other in self.movers if other is not mover]

    def entry(self, direction: int) -> float:
        """Position along the flow at which a mover in `direction` enters, meters."""
        first, last = self._layout.walkway.reach
        return first - _ENTRY if direction > 0 else last + _ENTRY

    def step(self, dt: float) -> None:
        """Advance by `dt` seconds."""
        self._arrivals(dt)
        for mover in self.movers:
            if isinstance(mover.body, Person) and not mover.steadfast:
                self._walk(mover, dt)
            elif mover.pause > 0:
                mover.pause -= dt
                mover.speed = max(0.0, mover.speed - 3 * _ACCELERATION * dt)
            else:
                mover.speed = min(mover.pace, mover.speed + 3 * _ACCELERATION * dt)
            self._move(mover, dt)
        first, last = self._layout.walkway.reach
        low, high = first - _ENTRY - 4, last + _ENTRY + 4
        self.movers = [m for m in self.movers if low <= m.s <= high]

    def _arrivals(self, dt: float) -> None:
        self._next -= dt
        if self._next > 0:
            return
        layout, rng = self._layout, self._rng
        way = layout.walkway
        company = 2 if rng.random() < 0.22 else 1
        pace = float(np.clip(rng.normal(layout.pace, 0.13), 0.85, 1.7))
        center = float(rng.uniform(-1, 1)) * (way.half_width - 0.4 - 0.35 * (company - 1))
        for member in range(company):
            lane = center + (member - (company - 1) / 2) * 0.72
            s = self.entry(1) + float(rng.uniform(-0.25, 0.25))
            walker = Mover("walker", dress(rng), s, lane, pace, lane=lane, speed=pace)
            walker.phase = float(rng.uniform(0, 2 * math.pi))
            self.add(walker)
        rate = layout.walkers / (way.visible[1] - way.visible[0]) * layout.pace / 1.22
        self._next = float(rng.exponential(1.0 / rate))

    def _walk(self, mover: Mover, dt: float) -> None:
        rng, half = self._rng, self._layout.walkway.half_width
        if mover.pause > 0:
            mover.pause -= dt
        elif mover.role == "walker" and rng.random() < dt / 70.0:
            mover.pause = float(rng.uniform(1.0, 3.5))
        mover.lane += float(rng.normal(0, 0.09)) * math.sqrt(dt)
        mover.lane = float(np.clip(mover.lane, -half + 0.35, half - 0.35))
        target = 0.0 if mover.pause > 0 else mover.pace
        aside = float(np.clip(0.6 * (mover.lane - mover.v), -0.25, 0.25)) if mover.pause <= 0 else 0.0
        for other in self.movers:
            if other is mover:
                continue
            gap = (other.s - mover.s) * mover.direction
            closing = mover.speed - other.speed * other.direction * mover.direction
            # A walker looks two seconds ahead, and back only for fast subjects.
            ahead = 0 < gap < 0.9 + 2.0 * max(0.0, closing)
            behind = other.steadfast and -1.2 - 1.6 * max(0.0, -closing) < gap <= 0
            room = mover.radius + other.radius + (0.25 if other.steadfast else 0.12)
            across = mover.v - other.v
            if (ahead or behind) and abs(across) < room:
                side = math.copysign(1.0, across if abs(across) > 0.02 else mover.identity % 2 - 0.5)
                if abs(mover.v + side * 0.3) > half - 0.25 and abs(other.v - side * room) < half:
                    side = -side if not other.steadfast else side
                aside += side * _SIDESTEP * (1.2 if other.steadfast else 0.7)
                if ahead and not other.steadfast and gap < 0.9 and other.direction == mover.direction:
                    target = min(target, max(0.0, other.speed * 0.95))
        aside = float(np.clip(aside, -1.0, 1.0))
        change = _ACCELERATION * dt
        mover.speed += float(np.clip(target - mover.speed, -1.6 * change, change))
        mover.drift += float(np.clip(aside - mover.drift, -3 * change, 3 * change))
        if abs(mover.v + mover.drift * dt) > half - 0.2 and mover.v * mover.drift > 0:
            mover.drift = 0.0

    def _move(self, mover: Mover, dt: float) -> None:
        mover.s += mover.direction * mover.speed * dt
        mover.v += mover.drift * dt
        covered = math.hypot(mover.speed, 0.8 * mover.drift) * dt
        mover.traveled += covered
        if isinstance(mover.body, Person):
            stride = stride_length(mover.body, covered / dt, 1.0 if mover.role == "runner" else 0.0)
            if stride > 0:
                mover.phase += 2 * math.pi * covered / stride
        # Toward +v is a left turn if the flow follows the path's angle, otherwise a right turn.
        aim = math.atan2(mover.drift, max(mover.speed, 0.5)) * self._layout.walkway.forward * mover.direction
        mover.yaw += min(1.0, 4 * dt) * (aim - mover.yaw)
