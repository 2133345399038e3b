"""Anomalies made of normal descriptors: what a camera's measures are asked to tell from its normal video."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.appearance import turned
from streamad.detectors.motion.layout import LOOK, MEASURES, PATCH_SIZE, PLACE, SPEED, VELOCITY

Floats = npt.NDArray[np.float32]

MOVES = 0.5
"""Share of the usual speed from which a cell is taken to be of a thing that passes (our choice)."""

PATCHES_OF_AN_OBJECT = 9
"""Most cells that are taken together as one thing: 3×3 of them, 40 working pixels wide (our choice)."""

FASTER = (1.5, 3.0)
"""Times as fast as it was: a run or a bicycle among walkers (our choice)."""


def synthetic_anomalies(
    frames: list[Floats], ratios: list[Floats], count: int, rng: np.random.Generator
) -> list[tuple[Floats, ...]]:
    """Things of normal frames, each made unusual in one way for each measure.

    A thing is a cell that moves and what moves around it. Made faster, or sent another way by a quarter, a half or
    three quarters of a turn, it is what an operator wants to hear of on most cameras, whatever the scene. Laid on its
    side, it looks like another thing: as much of it moves, and its edges are as strong, but it is wide where it was
    tall. To learn what is normal by telling it from made data is Steinwart, Hush and Scovel's (2005, "A classification
    framework for anomaly detection"); these data are our choice.

    Args:
        frames: (n, length) descriptors of each frame.
        ratios: (n,) their speeds over the usual speed.
        count: most things.
        rng: of the choice.

    Returns:
        For each thing (cells, length) descriptors in the order of `layout.MEASURES`.
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
