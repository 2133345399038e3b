"""Synthetic anomalies from normal descriptors, to measure how well each measure separates them from normal video."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.appearance import turned
from streamad.detectors.motion.layout import LOOK, MEASURES, PATCH_SIZE, PLACE, SPEED, VELOCITY

Floats = npt.NDArray[np.float32]

MOVES = 0.5
"""Share of the usual speed from which a patch is considered part of a passing object."""

PATCHES_OF_AN_OBJECT = 9
"""Maximum number of patches that form one object: 3×3, 40 working pixels wide."""

FASTER = (1.5, 3.0)
"""Factors on the speed: a runner or a bicycle among walkers."""


def synthetic_anomalies(
    frames: list[Floats], ratios: list[Floats], count: int, rng: np.random.Generator
) -> list[tuple[Floats, ...]]:
    """Make objects of normal frames unusual, in one way for each measure.

    An object is a moving patch and what moves around it. Made faster, or sent another way by a quarter, half or three
    quarters of a turn, it is what operators want to know about on most cameras, whatever the scene. Laid on its side,
    it looks like another object: as much of it moves, and its edges are as strong, but it is wide instead of tall.
    Learning what is normal by separating it from synthetic data is due to Steinwart, Hush and Scovel (2005, "A
    classification framework for anomaly detection").

    Args:
        frames: (n, length) descriptors of each frame.
        ratios: (n,) their speeds divided by the usual speed.
        count: Maximum number of objects.
        rng: Random generator.

    Returns:
        For each object, (patches, length) descriptors in the order of `layout.MEASURES`.
    """
    made: list[tuple[Floats, ...]] = []
    for number in rng.permutation(len(frames))[:count]:
        values = frames[number]
        moving = np.flatnonzero(ratios[number] > MOVES)
        if not len(moving):
            continue
        center = values[rng.choice(moving), PLACE]
        away = np.abs(values[:, PLACE] - center).max(axis=1)
        nearest = np.argsort(away, kind="stable")[:PATCHES_OF_AN_OBJECT]
        thing = values[nearest[away[nearest] <= PATCH_SIZE]]
        parts = tuple(thing.copy() for _ in MEASURES)
        faster = np.float32(rng.uniform(*FASTER))
        parts[0][:, SPEED] *= faster
        parts[0][:, VELOCITY] *= faster
        parts[1][:, VELOCITY] = np.roll(parts[1][:, VELOCITY], rng.integers(1, 4), axis=1)
        parts[2][:, LOOK] = turned(parts[2][:, LOOK], int(rng.choice([1, 3])))
        made.append(parts)
    return made
