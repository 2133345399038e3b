"""Anomalies in testing videos: who appears when, and during which time it counts as anomalous."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from streamad.errors import UsageError
from streamad.synthetic_scene.body import Person, dress
from streamad.synthetic_scene.crowd import LUGGAGE_ASIDE, Crowd, Mover
from streamad.synthetic_scene.layout import Layout
from streamad.synthetic_scene.vehicles import Cyclist, Rigid, make_cart, make_cyclist, make_suitcase

AnomalyKind = Literal["cyclist", "cart", "runner", "against_flow", "object_left"]

ANOMALY_KINDS: tuple[AnomalyKind, ...] = get_args(AnomalyKind)

_LEAD_IN = 3.0  # seconds of normal video before the first event
_GAP = 2.0  # minimum seconds of normal video between two events
_ALONE = 1.8  # distance from its owner, in meters, at which a suitcase counts as abandoned
_STOOP = 1.6  # seconds to put down or lift a suitcase, half of them on the way down
_PACES: dict[AnomalyKind, tuple[float, float]] = {  # times the mean walking speed
    "cyclist": (2.8, 3.4),
    "cart": (2.0, 2.5),
    "runner": (2.3, 2.9),
    "against_flow": (1.1, 1.3),
    "object_left": (1.0, 1.05),
}


@dataclass(frozen=True)
class Planned:
    """One event in a video's plan.

    Attributes:
        kind: The kind of anomaly.
        start: Time at which the subject comes into view (for a suitcase: is abandoned), seconds.
        duration: Duration of the event, seconds.
        pace: Speed of the subject (for a suitcase: of the people who bring and fetch it), m/s.
        removed: Whether a suitcase is fetched at the end.
    """

    kind: AnomalyKind
    start: float
    duration: float
    pace: float
    removed: bool = True


def check_kinds(kinds: Sequence[str]) -> tuple[AnomalyKind, ...]:
    """Check the names of anomaly kinds.

    Raises:
        UsageError: If a kind is unknown; the message lists the known ones.
    """
    known = {kind: kind for kind in ANOMALY_KINDS}
    unknown = [kind for kind in kinds if kind not in known]
    if unknown:
        raise UsageError(
            f"unknown anomalies: {', '.join(map(repr, unknown))}",
            hint=f"choose from {', '.join(ANOMALY_KINDS)}",
        )
    return tuple(known[kind] for kind in kinds)  # type: ignore[index]


def plan(
    layout: Layout,
    kinds: Sequence[AnomalyKind],
    seconds: float,
    rng: np.random.Generator,
    pace: tuple[float, float] | None = None,
) -> tuple[Planned, ...]:
    """Spread events over a video, one at a time, in random order, with normal gaps of varying length.

    Args:
        layout: The scene. The length of its walkway determines how long a passage lasts.
        kinds: The events' kinds; each entry occurs once.
        seconds: Length of the video.
        rng: Random generator.
        pace: Minimum and maximum speed of the subjects, relative to the scene's mean walking speed. Default: the
            usual range of each kind.

    Raises:
        UsageError: If the events do not fit; the message gives the required seconds.
    """
    if not kinds:
        return ()
    first, last = layout.walkway.reach
    length = last - first
    drawn: list[tuple[AnomalyKind, float, float]] = []
    for position in rng.permutation(len(kinds)).tolist():
        kind = kinds[position]
        speed = layout.pace * _factor(kind, rng, pace)
        duration = float(rng.uniform(7.0, 10.0)) if kind == "object_left" else (length + 1.5) / speed
        drawn.append((kind, speed, duration))
    busy = sum(duration for _, _, duration in drawn)
    spare = seconds - busy - _LEAD_IN - _GAP * len(drawn)
    if spare < 0:
        raise UsageError(
            f"{len(kinds)} anomalies do not fit into {seconds:g} s of testing video, "
            f"they need {math.ceil(seconds - spare)} s in this scene",
            hint="make the testing part longer, split it into fewer videos, or request fewer anomalies",
        )
    shares = rng.dirichlet(np.full(len(drawn) + 1, 2.0)) * spare
    events: list[Planned] = []
    now = _LEAD_IN
    for number, (kind, speed, duration) in enumerate(drawn):
        now += float(shares[number])
        stays = kind == "object_left" and number == len(drawn) - 1 and rng.random() < 0.5
        events.append(Planned(kind, now, duration, speed, removed=not stays))
        now += duration + _GAP
    return tuple(events)


def _factor(kind: AnomalyKind, rng: np.random.Generator, pace: tuple[float, float] | None) -> float:
    """Speed relative to the scene's mean walking speed."""
    low, high = pace or _PACES[kind]
    return float(rng.uniform(low, high))


class Director:
    """Puts a plan's events on the walkway over time.

    Args:
        layout: The scene.
        crowd: The crowd to which subjects are added.
        events: The plan.
        rng: Random generator.
    """

    def __init__(self, layout: Layout, crowd: Crowd, events: Sequence[Planned], rng: np.random.Generator) -> None:
        self._scripts: list[_Passage | _Suitcase] = []
        for number, event in enumerate(events):
            script = _Suitcase if event.kind == "object_left" else _Passage
            self._scripts.append(script(layout, crowd, event, number, rng))

    def step(self, now: float) -> None:
        """Advance to `now` seconds of the video; called once per frame, before the crowd moves."""
        for script in self._scripts:
            script.step(now)

    def subjects(self) -> list[tuple[int, Mover]]:
        """Current anomalous subjects, visible or not, as (index in the plan, mover)."""
        return [(s.number, s.subject) for s in self._scripts if s.subject is not None]


class _Passage:
    """A cyclist, cart, runner or walker against the flow passes through."""

    def __init__(self, layout: Layout, crowd: Crowd, event: Planned, number: int, rng: np.random.Generator) -> None:
        self.number = number
        self.subject: Mover | None = None
        self._crowd = crowd
        half = layout.walkway.half_width
        direction = -1 if event.kind == "against_flow" else 1
        entry = crowd.entry(direction)
        first, last = layout.walkway.reach
        run_up = (first - entry) if direction > 0 else (entry - last)
        self._begin = event.start - run_up / event.pace
        lane = float(rng.uniform(-0.55, 0.55)) * (half - 0.6)
        assert event.kind != "object_left"
        makers: dict[str, Callable[[np.random.Generator], Person | Cyclist | Rigid]] = {
            "cyclist": make_cyclist,
            "cart": make_cart,
            "runner": lambda rng: dress(rng, sporty=True),
            "against_flow": dress,
        }
        body = makers[event.kind](rng)
        self._mover: Mover | None = Mover(
            event.kind, body, entry, lane, event.pace, direction, lane, event.pace, steadfast=True
        )

    def step(self, now: float) -> None:
        if self._mover is not None and now >= self._begin:
            self.subject, self._mover = self._mover, None
            self._crowd.add(self.subject)
        elif self.subject is not None and self.subject not in self._crowd.movers:
            self.subject = None


class _Suitcase:
    """A person puts a suitcase down and walks on; later a person fetches it.

    It is anomalous from the moment its owner is `_ALONE` meters away until it is lifted again.
    """

    def __init__(self, layout: Layout, crowd: Crowd, event: Planned, number: int, rng: np.random.Generator) -> None:
        self.number = number
        self.subject: Mover | None = None
        self._crowd = crowd
        self._case: Rigid = make_suitcase(rng, layout.look.paving)
        first, last = layout.walkway.visible
        # On the near half of the walkway, where the suitcase is large enough to be seen.
        self._s = first + float(rng.uniform(0.35, 0.65)) * (last - first)
        self._v = -layout.walkway.half_width * float(rng.uniform(0.1, 0.55))
        lane = self._v + LUGGAGE_ASIDE * layout.walkway.forward
        self._owner = self._person(rng, lane, event.pace)
        self._owner.luggage = self._case
        self._fetcher = self._person(rng, lane, event.pace)
        approach = (self._s - crowd.entry(1)) / event.pace
        self._begin = event.start - _STOOP - _ALONE / event.pace - approach
        self._fetch = event.start + event.duration - _STOOP / 2 - approach if event.removed else math.inf
        self._lying = Mover("suitcase", self._case, self._s, self._v, 0.0, steadfast=True)
        self._stage = "waiting"

    def step(self, now: float) -> None:
        owner, fetcher, lying = self._owner, self._fetcher, self._lying
        match self._stage:
            case "waiting" if now >= self._begin:
                self._crowd.add(owner)
                self._stage = "brought"
            case "brought" if owner.s >= self._s:
                owner.pause, self._stage = _STOOP, "put down"
            case "put down" if owner.pause <= _STOOP / 2:
                owner.luggage, lying.s = None, owner.s
                self._crowd.add(lying)
                self._stage = "left"
            case "left" if owner.s - lying.s > _ALONE:
                self.subject, self._stage = lying, "alone"
            case _:
                pass
        # The fetcher may start while the owner is still near, so that short intervals are possible.
        if now >= self._fetch:
            self._fetch = math.inf
            self._crowd.add(fetcher)
        if self._stage == "alone" and fetcher.s >= lying.s:
            fetcher.pause, self._stage = _STOOP, "lifted"
        elif self._stage == "lifted" and fetcher.pause <= _STOOP / 2:
            self._crowd.remove(lying)
            fetcher.luggage, self.subject, self._stage = self._case, None, "gone"
        for person in (owner, fetcher):
            done = min(1.0, max(0.0, 1.0 - person.pause / _STOOP)) if person.pause > 0 else 1.0
            person.bend = math.sin(math.pi * done)

    def _person(self, rng: np.random.Generator, lane: float, pace: float) -> Mover:
        start = self._crowd.entry(1)
        return Mover("walker", dress(rng), start, lane, pace, lane=lane, speed=pace, steadfast=True)
