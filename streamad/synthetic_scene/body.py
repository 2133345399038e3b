"""People: proportions, clothes and poses of walking, running, riding, sitting and bending down.

Proportions are fractions of body height (Drillis and Contini's segment lengths, rounded). The gait is coupled
to the distance covered: the hip's swing follows from the stride length, so that a standing foot stays in place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from streamad.synthetic_scene.camera import Floats
from streamad.synthetic_scene.layout import Rgb
from streamad.synthetic_scene.shapes import Part, Recipe

THIGH, SHIN, ANKLE, FOOT = 0.245, 0.243, 0.036, 0.125
SHOULDER, HIP_HALF, SHOULDER_HALF = 0.30, 0.05, 0.108
UPPER_ARM, FOREARM = 0.172, 0.165

PELVIS, NECK, CHIN, CROWN, SHOULDER_L, SHOULDER_R, ELBOW_L, ELBOW_R, HAND_L, HAND_R = range(10)
HIP_L, HIP_R, KNEE_L, KNEE_R, ANKLE_L, ANKLE_R, TOE_L, TOE_R = range(10, 18)
HAIR, NAPE, BACK_TOP, BACK_LOW, BAG_TOP, BAG_LOW = range(18, 24)
POINTS = 24

Point = tuple[float, float, float]


@dataclass(frozen=True)
class Person:
    """A person's build and clothes. `recipe` draws the points that the pose functions return.

    Attributes:
        height: Height, meters.
        stride: Length of two steps at 1.3 m/s, meters.
        swing: Arm swing relative to the usual.
        recipe: Body parts with their colors.
    """

    height: float
    stride: float
    swing: float
    recipe: Recipe


@dataclass(frozen=True)
class Gait:
    """Pose of a body at one moment.

    Attributes:
        phase: Phase of the stride, radians.
        stride: Length of two steps at the current speed, meters; 0 means standing still.
        running: From 0 (walking) to 1 (running).
        bend: From 0 (upright) to 1 (bent down to the ground).
    """

    phase: float
    stride: float
    running: float = 0.0
    bend: float = 0.0


def stride_length(person: Person, speed: float, running: float) -> float:
    """Length of two steps (meters) at a speed (m/s). People speed up by both longer and faster steps."""
    if speed < 0.05:
        return 0.0
    if running > 0.5:
        return person.height * 0.78 * math.sqrt(speed)
    return person.stride * math.sqrt(speed / 1.3)


def carried(person: Person, gait: Gait) -> Floats:
    """(POINTS, 3) points of a walking, running, standing or bending person, feet on z = 0, meters."""
    h = person.height
    leg = (THIGH + SHIN) * h
    # A runner is in the air for part of the stride, so the legs sweep less than the stride length.
    amplitude = math.asin(min(0.85, gait.stride * (1 - 0.28 * gait.running) / (4 * leg)))
    lean = math.radians(3 + 11 * gait.running + 62 * gait.bend)
    moving = min(1.0, gait.stride / 0.4)
    legs: list[tuple[Point, Point, Point]] = []
    for side in (0.0, math.pi):
        phase = gait.phase + side
        forward = math.sin(phase)
        # The knee bends most while the leg moves forward, that is, while sin(phase) increases.
        lifted = max(0.0, math.cos(phase + 0.35 * (1 - gait.running)))
        hip = amplitude * (forward + 0.12 + 0.2 * gait.running) + math.radians(42) * gait.bend
        knee = math.radians(
            6 + (52 + 42 * gait.running) * lifted * moving + 16 * gait.running * moving + 66 * gait.bend
        )
        knee_x, knee_z = THIGH * h * math.sin(hip), -THIGH * h * math.cos(hip)
        shin = hip - knee
        ankle_x, ankle_z = knee_x + SHIN * h * math.sin(shin), knee_z - SHIN * h * math.cos(shin)
        toe = 0.9 * min(0.0, shin) * moving + 0.25 * max(0.0, forward) * moving
        legs.append(
            (
                (knee_x, 0.0, knee_z),
                (ankle_x, 0.0, ankle_z),
                (ankle_x + FOOT * h * math.cos(toe), 0.0, ankle_z + FOOT * h * math.sin(toe) - 0.02 * h),
            )
        )
    lowest = min(min(ankle[2] - ANKLE * h, toe[2] - 0.012 * h) for _, ankle, toe in legs)
    flight = 0.035 * h * gait.running * moving * max(0.0, math.cos(2 * gait.phase))
    pelvis = (0.0, 0.0, -lowest + flight)
    arms = []
    reach = person.swing * moving * (0.42 + 0.38 * gait.running)
    for side in (math.pi, 0.0):
        swing = reach * math.sin(gait.phase + side)
        upper = swing - 0.08 - 0.15 * gait.running + 0.2 * gait.bend
        elbow = math.radians(16 + 72 * gait.running) + 0.35 * max(0.0, swing) * moving
        arms.append((upper, upper + elbow * (1 - 0.7 * gait.bend)))
    return _assemble(h, pelvis, lean, legs, arms)


def riding(person: Person, crank: float, saddle: Point, bottom: Point, grips: tuple[Point, Point]) -> Floats:
    """(POINTS, 3) points of a person on a bicycle.

    Args:
        person: The rider.
        crank: Angle of the cranks, radians.
        saddle: Saddle in the bicycle's axes, meters.
        bottom: Bottom bracket in the bicycle's axes, meters.
        grips: Left and right handlebar grip.
    """
    h = person.height
    pelvis = (saddle[0], 0.0, saddle[2] + 0.06)
    legs = []
    for side in (0.0, math.pi):
        pedal_x = bottom[0] + 0.17 * math.cos(-crank + side)
        pedal_z = bottom[2] + 0.17 * math.sin(-crank + side)
        ankle = (pedal_x - 0.05, 0.0, pedal_z + ANKLE * h + 0.02)
        knee = _two_links(pelvis, ankle, THIGH * h, SHIN * h, ahead=True)
        legs.append(
            tuple(
                (p[0] - pelvis[0], 0.0, p[2] - pelvis[2]) for p in (knee, ankle, (pedal_x + 0.1, 0.0, pedal_z + 0.03))
            )
        )
    points = _assemble(h, pelvis, math.radians(27), legs, [(0.9, 1.2), (0.9, 1.2)])  # type: ignore[arg-type]
    for shoulder, elbow, hand, grip in (
        (SHOULDER_L, ELBOW_L, HAND_L, grips[0]),
        (SHOULDER_R, ELBOW_R, HAND_R, grips[1]),
    ):
        start = points[shoulder]
        middle = _two_links((float(start[0]), 0.0, float(start[2])), grip, UPPER_ARM * h, FOREARM * h, ahead=False)
        points[elbow] = (middle[0], (start[1] + grip[1]) / 2, middle[2])
        points[hand] = grip
    return points


def sitting(person: Person, seat: Point) -> Floats:
    """(POINTS, 3) points of a person at a steering wheel, with the pelvis on `seat` (meters)."""
    h = person.height
    leg: tuple[Point, Point, Point] = (
        (THIGH * h * 0.97, 0.0, 0.03),
        (THIGH * h * 1.15, 0.0, -SHIN * h * 0.9),
        (THIGH * h * 1.15 + FOOT * h, 0.0, -SHIN * h * 0.95),
    )
    return _assemble(h, seat, math.radians(-6), [leg, leg], [(0.7, 1.5), (0.75, 1.5)])


def _assemble(
    h: float,
    pelvis: Point,
    lean: float,
    legs: list[tuple[Point, Point, Point]],
    arms: list[tuple[float, float]],
) -> Floats:
    px, py, pz = pelvis
    up_x, up_z = math.sin(lean), math.cos(lean)

    def trunk(up: float, ahead: float = 0.0) -> Point:
        return px + h * (up * up_x + ahead * up_z), py, pz + h * (up * up_z - ahead * up_x)

    neck, chin = trunk(SHOULDER + 0.045), trunk(SHOULDER + 0.085, 0.012)
    rows: list[Point] = [trunk(0.02), neck, chin, trunk(SHOULDER + 0.145, 0.008)]
    sx, _, sz = trunk(SHOULDER)
    rows += [(sx, py + SHOULDER_HALF * h, sz), (sx, py - SHOULDER_HALF * h, sz)]
    elbows, hands = [], []
    for sign, (upper, lower) in zip((1.0, -1.0), arms, strict=True):
        ex, ez = sx + UPPER_ARM * h * math.sin(upper), sz - UPPER_ARM * h * math.cos(upper)
        elbows.append((ex, py + sign * (SHOULDER_HALF + 0.02) * h, ez))
        hx, hz = ex + FOREARM * h * math.sin(lower), ez - FOREARM * h * math.cos(lower)
        hands.append((hx, py + sign * (SHOULDER_HALF + 0.012) * h, hz))
    rows += elbows + hands
    rows += [(px, py + HIP_HALF * h, pz), (px, py - HIP_HALF * h, pz)]
    for joint in range(3):
        for sign, leg in zip((1.0, -1.0), legs, strict=True):
            x, _, z = leg[joint]
            rows.append((px + x, py + sign * HIP_HALF * h * (1.0 if joint == 0 else 0.85), pz + z))
    rows += [trunk(SHOULDER + 0.162, -0.004), trunk(SHOULDER + 0.12, -0.03)]
    rows += [trunk(SHOULDER - 0.03, -0.085), trunk(SHOULDER - 0.2, -0.09)]
    bag_x, bag_y, bag_z = hands[1]
    rows += [(bag_x, bag_y - 0.02 * h, bag_z - 0.05 * h), (bag_x, bag_y - 0.02 * h, bag_z - 0.15 * h)]
    return np.array(rows)


def _two_links(start: Point, end: Point, first: float, second: float, *, ahead: bool) -> Point:
    """Joint between two links of given lengths in the x-z plane, ahead of or behind the connecting line."""
    dx, dz = end[0] - start[0], end[2] - start[2]
    distance = min(max(math.hypot(dx, dz), 1e-6), (first + second) * 0.999)
    angle = math.atan2(dz, dx)
    inner = math.acos(max(-1.0, min(1.0, (first**2 + distance**2 - second**2) / max(2 * first * distance, 1e-9))))
    turn = angle + inner if ahead else angle - inner
    return start[0] + first * math.cos(turn), 0.0, start[2] + first * math.sin(turn)


_TOPS: list[Rgb] = [
    (38, 42, 58), (28, 28, 30), (70, 74, 80), (120, 124, 128), (200, 198, 190), (146, 44, 42), (52, 84, 128),
    (88, 98, 66), (168, 142, 104), (112, 60, 88), (206, 176, 72), (58, 110, 104), (174, 186, 200),
    (226, 224, 220),
]  # fmt: skip
_TROUSERS: list[Rgb] = [
    (36, 40, 54), (30, 30, 32), (62, 76, 104), (86, 100, 128), (74, 70, 64), (138, 122, 94), (50, 54, 52),
]  # fmt: skip
_SKINS: list[Rgb] = [(214, 172, 146), (196, 150, 122), (158, 112, 84), (112, 76, 56), (226, 190, 168)]
_HAIRS: list[Rgb] = [(32, 26, 22), (58, 42, 30), (96, 70, 44), (150, 120, 78), (130, 128, 126), (24, 24, 26)]


def dress(rng: np.random.Generator, *, sporty: bool = False) -> Person:
    """Draw a random person: build, clothes, hair, and what they carry.

    Args:
        rng: Random generator.
        sporty: Whether to draw shorts and a T-shirt (for a runner).
    """
    h = float(np.clip(rng.normal(1.71, 0.09), 1.48, 1.95))
    bulk = float(rng.uniform(0.88, 1.2))
    top = _vary(rng, _TOPS[int(rng.integers(len(_TOPS)))])
    legs = _vary(rng, _TROUSERS[int(rng.integers(len(_TROUSERS)))])
    skin, hair = _SKINS[int(rng.integers(len(_SKINS)))], _HAIRS[int(rng.integers(len(_HAIRS)))]
    short_sleeves = sporty or rng.random() < 0.35
    lower = str(rng.choice(["trousers", "coat", "skirt"], p=[0.68, 0.18, 0.14])) if not sporty else "shorts"
    fore = skin if short_sleeves else top
    shin = skin if lower in ("skirt", "shorts") else legs
    shoe = (40.0, 38.0, 38.0) if rng.random() < 0.7 else (190.0, 188.0, 184.0)
    hat = rng.random() < 0.18
    darker: Rgb = (top[0] * 0.9, top[1] * 0.9, top[2] * 0.9)
    wide = bulk * h
    parts: list[Part] = []

    def limb(a: int, b: int, ra: float, rb: float, color: Rgb, *, shade: bool = False, lift: float = 0.0) -> None:
        parts.append(Part("hull", (a, b), (ra * wide, rb * wide), color, lift, shade))

    for hip, knee, ankle, toe in ((HIP_L, KNEE_L, ANKLE_L, TOE_L), (HIP_R, KNEE_R, ANKLE_R, TOE_R)):
        limb(hip, knee, 0.055, 0.037, legs, shade=True)
        limb(knee, ankle, 0.036, 0.024, shin)
        limb(ankle, toe, 0.024, 0.017, shoe)
    for shoulder, elbow, hand in ((SHOULDER_L, ELBOW_L, HAND_L), (SHOULDER_R, ELBOW_R, HAND_R)):
        limb(shoulder, elbow, 0.034, 0.027, darker)
        limb(elbow, hand, 0.025, 0.017, fore)
        parts.append(Part("hull", (hand, hand), (0.02 * wide, 0.02 * wide), skin, shadow=False))
    torso = (SHOULDER_L, SHOULDER_R, HIP_L, HIP_R)
    parts.append(Part("hull", torso, tuple(r * wide for r in (0.042, 0.042, 0.052, 0.052)), top))
    middle = (0.062 * wide, 0.06 * wide)
    parts.append(Part("hull", (NECK, PELVIS), middle, top, lift=0.01, shade=True, shadow=False))
    if lower in ("coat", "skirt"):
        color = top if lower == "coat" else legs
        spheres = (HIP_L, HIP_R, KNEE_L, KNEE_R)
        radii = tuple(r * wide for r in (0.056, 0.056, 0.05, 0.05))
        parts.append(Part("hull", spheres, radii, color, lift=0.12))
    parts.append(Part("hull", (NECK, CHIN), (0.03 * h, 0.032 * h), skin, shadow=False))
    parts.append(Part("hull", (CHIN, CROWN), (0.042 * h, 0.05 * h), skin, lift=0.02))
    crown = _vary(rng, _TOPS[int(rng.integers(len(_TOPS)))]) if hat else hair
    long_hair = rng.random() < 0.35
    low, thin = (BACK_TOP, 0.034) if long_hair and not hat else (NAPE, 0.04)
    # A cap on top that is visible from all sides, and the back of the head.
    parts.append(Part("hull", (HAIR, HAIR), (0.044 * h, 0.044 * h), crown, lift=0.3, shadow=False))
    back = crown if low == NAPE else hair
    parts.append(Part("hull", (NAPE, low), (0.043 * h, thin * h), back, shadow=False))
    carried_things = rng.random()
    if not sporty and carried_things < 0.24:
        color = _vary(rng, _TOPS[int(rng.integers(len(_TOPS)))])
        limb(BACK_TOP, BACK_LOW, 0.062, 0.066, color, shade=True, lift=-0.02)
    elif not sporty and carried_things < 0.42:
        limb(BAG_TOP, BAG_LOW, 0.032, 0.05, _vary(rng, _TROUSERS[int(rng.integers(len(_TROUSERS)))]))
    return Person(h, h * float(rng.uniform(0.68, 0.77)), float(rng.uniform(0.7, 1.25)), Recipe(tuple(parts)))


def _vary(rng: np.random.Generator, color: Rgb) -> Rgb:
    r, g, b = (np.array(color) * rng.uniform(0.88, 1.12, 3)).tolist()
    return r, g, b
