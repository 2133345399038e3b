"""Fitting the model to the descriptors of a camera's normal video, with NumPy only."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt

from streamad.calibration.calibration import HIGHEST_LEVEL
from streamad.detectors.motion.density import TIME_OF, MotionModel, distances
from streamad.detectors.motion.layout import CELL, CLOSEST
from streamad.detectors.motion.overdue import OVERDUE
from streamad.detectors.motion.sampler import EARLIER, Moments, MotionSampler
from streamad.detectors.motion.scorer import frame_scores
from streamad.detectors.motion.stay_limits import NEVER, usual_stay
from streamad.errors import UsageError

Floats = npt.NDArray[np.float32]

MAX_EXAMPLES = 8000
"""Maximum number of examples: what one core compares with a frame in about a millisecond. 4000 and 16 000 gave the same
mean AUC on the panel, to 0.001."""

NEARNESS = 1.5 / CELL
"""Distance per working pixel between places: neighbors of a cell are examples for it, at a price. 1 to 3 units a cell
gave the same mean AUC on the panel, to 0.002."""

AROUND = 7
"""Side of the square of cells that the usual movement of a place is taken from."""

BACKING = 200.0
"""Descriptors of the whole picture added to those around a place, so that a place with few takes the picture's."""

SURPRISE_POWER = 0.5
"""How far normal video is from other normal video around a place scales the usual movement there, to this power. 0, 0.5
and 1 gave mean AUCs of 0.9656, 0.9676 and 0.9673 on the panel (docs/results/motion.md)."""

BANDWIDTH = 6.0
"""Standard deviation of the kernel between anchors, working pixels: there is an anchor at every cell."""

LEAST_SPREAD = 0.2
"""Smallest spread of a direction, in units of that of the speed: where all go one way, the error of the flow is not an
anomaly, while what goes the other way is 5 units away."""

TOP_CELLS = 2
"""Cells that make up a frame's score. On the panel, 1 to 3 were equally good, 10 and 20 found fewer events."""

STRETCH_SECONDS = (8.0, 600.0)
STRETCHES = 32
"""The video is cut into stretches, and what is normal in one is judged by the others: pieces of at least 8 s, longer
than an object takes to cross the picture. Hours are cut into 32 stretches, but of at most ten minutes."""

MIN_STRETCHES = 3
MIN_CELLS = 300
"""Minimum to learn from: some seconds of video in which something moves, in at least three stretches."""


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model, with what fitting it showed.

    Attributes:
        model: The model.
        stretches: Number of stretches of time in which something moves.
        stretch_seconds: Their length.
        usual_stay: Longest usual stay, seconds; None if too little was seen for it.
        scores: (described,) score of every described frame by the examples of other stretches, each frame by itself,
            not yet averaged over time.
    """

    model: MotionModel
    stretches: int
    stretch_seconds: float
    usual_stay: float | None
    scores: Floats


def fit(sampler: MotionSampler, *, seed: int = 17, progress: Callable[[int, int], None] | None = None) -> Fitted:
    """Fit the model, and score every frame by what other stretches of time show.

    What the sampler knew before is one more stretch, earlier than all others.

    Args:
        sampler: What was seen of the normal video.
        seed: Seed of the choice among examples.
        progress: Called with the frames scored, and their total.

    Raises:
        UsageError: Too little moves, or for too short a time.
    """
    stretch_of, seconds = stretches(sampler.clips, sampler.seconds)
    counts, moments = sampler.counts, sampler.moments
    moving = np.unique(stretch_of[counts > 0])
    cells_seen = 0 if moments is None else int(moments.counts.sum())
    kept, at, cells = sampler.sample()
    is_first = not (at == EARLIER).any()
    if moments is None or cells_seen < MIN_CELLS or (len(moving) < MIN_STRETCHES and is_first):
        raise UsageError(
            f"too little moves in the normal video: {cells_seen} moving cells in {len(moving)} stretches of "
            f"{seconds:g} s; {MIN_CELLS} in {MIN_STRETCHES} are needed",
            hint="give more video from times when people or vehicles pass",
        )
    chosen = choose_examples(cells, at, np.random.default_rng(seed))
    model = learned(moments, kept[chosen])
    stretch = np.where(at < 0, EARLIER, stretch_of[at])
    of = stretch[chosen]  # ascending, as `choose_examples` orders by time
    squares = distances(model.points(kept), model.examples, stretch, of).astype(np.float64) ** 2

    @cache
    def without(number: int) -> MotionModel:
        others = stretch != number
        return scaled_by_surprise(model, cells[others], squares[others], kept[chosen]) if others.any() else model

    scores = np.zeros(len(counts), np.float32)
    for run, values in sampler.read():
        own = np.repeat(stretch_of[run], counts[run])
        away = np.empty(len(values), np.float32)
        for number in np.unique(own):
            mine, other = own == number, without(int(number))
            away[mine] = distances(other.points(values[mine]), other.examples, own[mine], of)
        scores[run] = frame_scores(away, counts[run], TOP_CELLS)
        if progress is not None:
            progress(run.stop, len(counts))
    model = scaled_by_surprise(model, cells, squares, kept[chosen])
    usual = usual_stay(sampler.stays, sampler.runs, OVERDUE)
    highest = HIGHEST_LEVEL * float(scores.max(initial=CLOSEST))
    model = model.with_stays(usual, highest / OVERDUE)
    return Fitted(model, len(moving), seconds, usual if usual < NEVER else None, scores)


def stretches(clips: npt.NDArray[np.int32], seconds: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.intp], float]:
    """Return the number of the stretch of time that each frame belongs to, and the length of a stretch, seconds.

    Args:
        clips: (frames,) number of each frame's clip, ascending.
        seconds: (frames,) its time in the clip.
    """
    if not len(clips):
        return np.zeros(0, np.intp), STRETCH_SECONDS[0]
    first = np.flatnonzero(np.diff(clips, prepend=-1))
    lengths = np.maximum.reduceat(seconds, first)
    wanted = float(np.clip(lengths.sum() / STRETCHES, *STRETCH_SECONDS))
    pieces = np.maximum(1, np.rint(lengths / wanted)).astype(np.intp)
    clip_of = np.repeat(np.arange(len(first)), np.diff(first, append=len(clips)))
    within = (seconds / np.maximum(lengths, 1e-9)[clip_of] * pieces[clip_of]).astype(np.intp)
    start = np.cumsum(pieces) - pieces
    return start[clip_of] + np.clip(within, 0, pieces[clip_of] - 1), round(wanted, 3)


def choose_examples(
    cells: npt.NDArray[np.intp], at: npt.NDArray[np.int64], rng: np.random.Generator
) -> npt.NDArray[np.intp]:
    """Return which candidates become examples, in order of time: as many of every cell at most, chosen at random.

    Args:
        cells: (n,) number of each candidate's cell.
        at: (n,) its frame.
        rng: Source of the choice.
    """
    order = rng.permutation(len(cells))
    order = order[np.argsort(cells[order], kind="stable")]
    first = np.flatnonzero(np.diff(cells[order], prepend=-1))
    sizes = np.diff(first, append=len(order))
    rank = np.arange(len(order)) - np.repeat(first, sizes)
    most = next((k for k in range(int(sizes.max()), 1, -1) if np.minimum(sizes, k).sum() <= MAX_EXAMPLES), 1)
    kept = order[rank < most][:MAX_EXAMPLES]
    return kept[np.argsort(at[kept], kind="stable")]


def learned(moments: Moments, kept: Floats) -> MotionModel:
    """Return a model with these examples, (m, length) descriptors, that knows no stay to be unusual."""
    rows, cols = moments.counts.shape
    spread, usual = _usual(moments)
    grid = np.indices((rows, cols)).reshape(2, -1).T
    blank = MotionModel(
        anchors=((grid + 0.5) * CELL).astype(np.float32),
        usual=np.log(np.column_stack([usual.reshape(-1, 3), np.full(len(grid), NEVER)])).astype(np.float32),
        sharpness=np.array([1 / (2 * BANDWIDTH**2)], np.float32),
        spread=spread.astype(np.float32),
        nearness=np.array([NEARNESS], np.float32),
        examples=np.zeros((0, 12), np.float32),
        stay_scale=np.ones(1, np.float32),
    )
    return MotionModel(**{**blank.state(), "examples": blank.points(kept)})


def scaled_by_surprise(
    model: MotionModel, cells: npt.NDArray[np.intp], squares: npt.NDArray[np.float64], kept: Floats
) -> MotionModel:
    """Return a model whose usual movement is larger where normal video is far from other normal video.

    Args:
        model: The model.
        cells: (n,) numbers of the cells of some normal descriptors.
        squares: (n,) their squared distances to the examples of other stretches.
        kept: (m, length) descriptors that are its examples.
    """
    rows, cols = (int(count) for count in np.rint(model.anchors.max(axis=0) / CELL + 0.5))
    total, count = (
        sum_around(np.bincount(cells, weights, minlength=rows * cols).reshape(rows, cols).astype(np.float64))
        for weights in (squares, None)
    )
    mean = squares.mean()
    there = np.sqrt((total + BACKING * mean) / (count + BACKING) / mean)
    table = model.usual.copy()
    table[:, :2] += SURPRISE_POWER * np.log(there).reshape(-1, 1)
    scaled = replace(model, usual=table.astype(np.float32))
    return replace(scaled, examples=scaled.points(kept))


def sum_around(field: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Sum a field over the square of cells around each."""
    return np.asarray(
        cv2.boxFilter(field, -1, (AROUND, AROUND), normalize=False, borderType=cv2.BORDER_CONSTANT), np.float64
    )


def _usual(moments: Moments) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return the spread (10,) of the movement, and the (rows, cols, 3) usual movement over both times and pace."""
    counts = moments.counts.sum()
    mean = np.maximum(moments.squares.sum(axis=(0, 1)) / counts, 1e-6)  # (10,)
    spread, usual = np.empty(len(mean)), []
    for time in range(2):
        mine = np.flatnonzero(time == TIME_OF)
        speed = mean[mine[-1]]
        spread[mine] = np.maximum(np.sqrt(mean[mine] / speed), LEAST_SPREAD)
        total = mean[mine].sum()
        there = sum_around(moments.squares[..., mine].sum(axis=-1)) + BACKING * total
        usual.append(np.sqrt(there / (sum_around(moments.counts) + BACKING) / total * speed))
    pace = moments.speeds.sum() / max(moments.shares.sum(), 1e-6)
    share = BACKING * moments.shares.sum() / counts
    usual.append(np.maximum((sum_around(moments.speeds) + share * pace) / (sum_around(moments.shares) + share), 1e-3))
    return spread, np.stack(usual, axis=-1)
