"""Fitting the model to the descriptors of a camera's normal video; numpy alone."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.density import MotionModel, nearest
from streamad.detectors.motion.layout import (
    CLOSEST,
    PLACE,
    RARITIES,
    SHAPE,
    SLOWEST,
    SPEED,
)
from streamad.detectors.motion.scorer import frame_score
from streamad.errors import UsageError

Floats = npt.NDArray[np.float32]

BLOCK_SECONDS = 8.0
"""Length of the blocks whose maxima are counted (our choice: about the time that a thing takes to cross a picture, so
that maxima of different blocks are of different things)."""

SHORTEST_BLOCK_SECONDS = 1.0
WANTED_BLOCKS = 8
"""Where the video has fewer blocks than this, they are made shorter, down to a second: little video is better fitted to
than refused."""

SPACING = 20.0
"""Distance of the anchors of the usual speed, working pixels: a cell."""

BANDWIDTH = 12.0
"""Standard deviation of the kernel between them, working pixels: as smooth as the spacing allows."""

GATHERED = 40.0
"""Standard deviation of the neighbourhood from which the usual speed at an anchor is counted, working pixels: about the
height of a thing."""

BACKING = 4.0
"""Descriptors of the whole picture that are added to each neighbourhood, so that a place which has few takes the
picture's usual speed (per cell of the neighbourhood's size; our choice)."""

USUAL = 0.75
"""Quantile of the speeds that is called usual: much of what is described stands, or is a limb at rest."""

NEARNESS = 0.002
"""Units of a measure to a working pixel: places as far apart as ten things' heights differ as much as standing and
walking do (our choice; 0, 0.002, 0.005 and 0.02 were compared on rendered scenes)."""

COMPONENTS = 12
"""Principal components of a surround: nine tenths of its variance."""

MOST_EXAMPLES = 4000
"""Most examples of a kind: what 2 cores search in about a millisecond for a frame."""

APART = 0.15
"""Side of the cells of space of which one example is kept, units of a measure: examples are to cover what was normal,
not to repeat what is common."""

SHAPE_DOUBT = 2.0
"""Taken off the rarity of a shape: a shape that was not seen is more often a new group or posture than something to be
told of (our choice: on rendered scenes 0 costs other anomalies 3 points of AUC, 1 half a point, 2 nothing)."""

CELLS = 5
"""Cells that make a frame's score (our choice; 1, 3 and 8 were compared, see docs/results/motion.md)."""

LEAST_BLOCKS = 4
LEAST_CELLS = 500
"""Least that anything can be learned from: a few seconds of video in which something moves, and as many cells as one
person gives in them."""

RULE_OF_THREE = 3.0
"""What was not seen in n blocks happens, at 95 %, in fewer than 3 / n of them (Hanley and Lippman-Hand 1983)."""

EULER = 0.5772156649


@dataclass(frozen=True, slots=True)
class Sample:
    """One frame of normal video.

    Attributes:
        values: (n, length) descriptors of its cells.
        clip: number of its clip.
        seconds: its time in the clip.
    """

    values: Floats
    clip: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A model and what fitting it told.

    Attributes:
        model: the model.
        still: score of a frame in which nothing moves.
        blocks: blocks of time that the maxima are from.
        block_seconds: their length.
        scores: (frames,) score of every sample by a model that was not shown its block.
    """

    model: MotionModel
    still: float
    blocks: int
    block_seconds: float
    scores: Floats


def fit(
    samples: list[Sample],
    working: tuple[int, int],
    *,
    seed: int = 17,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Fit the model.

    Args:
        samples: frames of normal video, in order.
        working: (height, width) of the working frame, pixels.
        seed: of the choice among examples.
        progress: called with (steps done, steps in all).

    Raises:
        UsageError: too little moves, or for too short a time.
    """
    moving = [sample for sample in samples if len(sample.values)]
    block_of, block_seconds = _blocks(moving)
    blocks = sorted(set(block_of))
    count = sum(len(sample.values) for sample in moving)
    if len(blocks) < LEAST_BLOCKS or count < LEAST_CELLS:
        raise UsageError(
            f"too little moves in the normal video: {count} cells in {len(blocks)} pieces of {block_seconds:g} s, "
            f"{LEAST_CELLS} in {LEAST_BLOCKS} are needed",
            hint="give more video, of a time when people or vehicles pass",
        )
    rng = np.random.default_rng(seed)
    values = np.concatenate([sample.values for sample in moving])
    owner = np.repeat(block_of, [len(sample.values) for sample in moving])
    anchors, usual = _usual_speeds(values, working)
    mean, components = _principal(values[:, SHAPE], rng)
    blank = MotionModel(
        anchors=anchors,
        usual=usual,
        sharpness=np.array([1 / (2 * BANDWIDTH**2)], np.float32),
        nearness=np.array([NEARNESS], np.float32),
        velocities=np.zeros((1, 6), np.float32),
        mean=mean,
        components=components,
        shapes=np.zeros((1, components.shape[1] + 2), np.float32),
        location=np.zeros(3, np.float32),
        scale=np.ones(3, np.float32),
        cap=np.full(3, 1e9, np.float32),
    )
    velocity_of, shape_of = blank.velocity_points(values), blank.shape_points(values)
    velocity_kept, shape_kept = _spread(velocity_of, rng), _spread(shape_of, rng)
    velocities, shapes = velocity_of[velocity_kept], shape_of[shape_kept]

    # Measures of every block by examples of the others alone.
    measures = np.empty((len(values), len(RARITIES)), np.float32)
    measures[:, 0] = blank.speed_ratios(values)
    for done, block in enumerate(blocks):
        mine = owner == block
        for column, points, kept, examples in (
            (1, velocity_of, velocity_kept, velocities),
            (2, shape_of, shape_kept, shapes),
        ):
            measures[mine, column] = nearest(points[mine], examples[owner[kept] != block])
        if progress is not None:
            progress(done + 1, len(blocks))

    starts = np.cumsum([0] + [len(sample.values) for sample in moving])
    logs = np.log(np.maximum(measures, CLOSEST))
    frames = np.array(
        [[frame_score(logs[a:b, k], CELLS, 0.0) for k in range(len(RARITIES))] for a, b in pairwise(starts)]
    )
    maxima = np.stack([frames[block_of == block].max(axis=0) for block in blocks])
    location, scale = gumbel(maxima)
    location = location + np.array([0.0, 0.0, SHAPE_DOUBT], np.float32) * scale
    vouched = math.log(len(blocks) / RULE_OF_THREE)
    model = MotionModel(
        **{
            **blank.state(),
            "velocities": velocities,
            "shapes": shapes,
            "location": location,
            "scale": scale,
            "cap": np.array([1e9, vouched, vouched], np.float32),
        }
    )
    rarities = model.rarities(measures).max(axis=1)
    scores = np.array([frame_score(rarities[a:b], CELLS, 0.0) for a, b in pairwise(starts)])
    still = float(scores.min())
    order = iter(scores)
    every = np.array([next(order) if len(sample.values) else still for sample in samples], np.float32)
    return Fitted(model, still, len(blocks), block_seconds, every)


def _blocks(samples: list[Sample]) -> tuple[npt.NDArray[np.intp], float]:
    """Number of the block of time that each sample lies in, and the length of a block, seconds."""
    if not samples:
        return np.zeros(0, np.intp), BLOCK_SECONDS
    lengths: dict[int, float] = {}
    for sample in samples:
        lengths[sample.clip] = max(sample.seconds, lengths.get(sample.clip, 0.0))
    seconds = float(np.clip(sum(lengths.values()) / WANTED_BLOCKS, SHORTEST_BLOCK_SECONDS, BLOCK_SECONDS))
    keys = [(sample.clip, int(sample.seconds / seconds)) for sample in samples]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return np.array([numbers[key] for key in keys], np.intp), round(seconds, 3)


def gumbel(maxima: npt.NDArray[np.float64]) -> tuple[Floats, Floats]:
    """Location and scale of a Gumbel distribution for each column, by L-moments (Hosking 1990).

    Args:
        maxima: (blocks, measures).
    """
    ordered = np.sort(maxima, axis=0)
    count = len(ordered)
    ranks = np.arange(count)[:, None]
    second = 2 * (ordered * ranks).sum(axis=0) / (count * (count - 1)) - ordered.mean(axis=0)
    scale = np.maximum(second / math.log(2), 1e-3)
    return (ordered.mean(axis=0) - EULER * scale).astype(np.float32), scale.astype(np.float32)


def _usual_speeds(values: Floats, working: tuple[int, int]) -> tuple[Floats, Floats]:
    """Anchors (a, 2), and the logarithm of the usual speed at each: a quantile of the speeds around it.

    Counted in histograms of the logarithm, one an anchor, smoothed over the picture.
    """
    height, width = working
    rows, cols = math.ceil(height / SPACING) + 1, math.ceil(width / SPACING) + 1
    lowest, step, bins = math.log(SLOWEST), 0.1, 80
    row, col = (np.rint(values[:, PLACE] / SPACING).astype(np.intp)).T
    bin_of = ((np.log(np.maximum(values[:, SPEED][:, 0], SLOWEST)) - lowest) / step).astype(np.intp)
    counts = np.zeros((rows, cols, bins), np.float32)
    np.add.at(counts, (np.minimum(row, rows - 1), np.minimum(col, cols - 1), np.minimum(bin_of, bins - 1)), 1.0)
    whole = counts.sum(axis=(0, 1)) / counts.sum()
    sigma = GATHERED / SPACING
    near = np.stack(
        [cv2.GaussianBlur(counts[..., k], (0, 0), sigma, borderType=cv2.BORDER_CONSTANT) for k in range(bins)], axis=-1
    )
    near += BACKING * whole
    share = np.cumsum(near, axis=-1) / near.sum(axis=-1, keepdims=True)
    at = np.minimum((share < USUAL).sum(axis=-1), bins - 1)
    upper = np.take_along_axis(share, at[..., None], -1)[..., 0]
    below = np.where(at > 0, np.take_along_axis(share, np.maximum(at - 1, 0)[..., None], -1)[..., 0], 0.0)
    part = np.clip((USUAL - below) / np.maximum(upper - below, 1e-6), 0, 1)
    places = np.stack(np.meshgrid(np.arange(rows), np.arange(cols), indexing="ij"), axis=-1).reshape(-1, 2) * SPACING
    return places.astype(np.float32), (lowest + step * (at + part)).reshape(-1).astype(np.float32)


def _principal(shapes: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
    """Mean, and the first principal components, scaled so that the shapes' total variance is 1."""
    mean = shapes.mean(axis=0)
    some = shapes[rng.permutation(len(shapes))[:8000]] - mean
    _, singular, directions = np.linalg.svd(some, full_matrices=False)
    spread = math.sqrt(max(float((singular**2).sum()) / len(some), 1e-12))
    return mean.astype(np.float32), (directions[:COMPONENTS].T / spread).astype(np.float32)


def _spread(points: Floats, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Numbers of the points kept: one of each cell of space, then a random choice of at most `MOST_EXAMPLES`."""
    shuffled = rng.permutation(len(points))
    _, first = np.unique(np.floor(points[shuffled] / APART).astype(np.int32), axis=0, return_index=True)
    kept = shuffled[first]
    if len(kept) > MOST_EXAMPLES:
        kept = rng.permutation(kept)[:MOST_EXAMPLES]
    return np.sort(kept)
