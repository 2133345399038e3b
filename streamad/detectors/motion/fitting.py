"""Fitting the model to the descriptors of a camera's normal video, with NumPy only."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.density import MotionModel
from streamad.detectors.motion.layout import CLOSEST, LOOK, MEASURES, PLACE, SLOWEST, SPEED
from streamad.detectors.motion.logistic import logistic_slope
from streamad.detectors.motion.scorer import frame_score
from streamad.detectors.motion.synthetic_anomalies import synthetic_anomalies
from streamad.errors import UsageError

Floats = npt.NDArray[np.float32]

BLOCK_SECONDS = 8.0
"""Length of the time blocks whose maxima are counted: about the time that an object takes to cross the picture, so that
maxima of different blocks belong to different objects."""

SHORTEST_BLOCK_SECONDS = 1.0
WANTED_BLOCKS = 8
"""If the video has fewer blocks than this, they are made shorter, down to a second: fitting to little video is better
than refusing it."""

SPACING = 20.0
"""Distance between the anchors of the usual speed, working pixels: one patch."""

BANDWIDTH = 12.0
"""Standard deviation of the kernel between anchors, working pixels: as smooth as the spacing allows."""

GATHERED = 40.0
"""Standard deviation of the neighborhood from which the usual speed at an anchor is estimated, working pixels: about
the height of an object."""

BACKING = 4.0
"""Descriptors from the whole picture added to each neighborhood, per patch of its size, so that a place with few takes
the picture's usual speed."""

USUAL = 0.75
"""Quantile of the speeds that counts as usual: much of what is described stands still, or is a limb at rest."""

NEARNESS = 0.002
"""Units of a measure per working pixel: places ten object heights apart differ as much as standing and walking.
Chosen among 0, 0.002, 0.005 and 0.02 on rendered scenes."""

MAX_EXAMPLES = 4000
"""Maximum number of examples of a kind: what 2 cores search in about a millisecond per frame."""

APART = 0.15
"""Side of the cubes of space in which one example is kept, units of a measure: examples should cover what was normal
rather than repeat what is common."""

LOOK_PARTS = 48
"""Principal components of appearance that are kept. Of 8 to 64, compared on objects pasted into Ped2's normal clips, 32
to 64 are equally good."""

LOOK_NEARNESS = 0.005
"""Units of the appearance measure per working pixel. 0 to 0.02 are equally good: in most views, perspective changes
little from one object to the next."""

LOOK_RIDGE = 1e-3
"""Share of the largest variance that is added to each, so that what hardly ever varies does not count without bound."""

MAX_LOOKS = 2000
"""Maximum number of examples of appearance; 4000 and 12000 were no better."""

MEASURED_LOOKS = 20_000
"""Maximum number of descriptors that the principal components are computed from."""

TOP_PATCHES = 5
"""Patches that make up a frame's score. Chosen among 1, 3, 5 and 8, see docs/results/motion.md."""

MIN_BLOCKS = 4
MIN_PATCHES = 500
"""Minimum to learn from: a few seconds of video in which something moves, and as many patches as one person fills in
them."""

FOLDS = 6
"""Parts of the normal video, each of which is scored by a model of the others: each model has five sixths of what the
final one has."""

LARGEST_CLIP = 1 / 3
"""Largest share of the video that one clip may have if the parts consist of whole clips."""

MADE = 1200
"""Synthetic anomalies, over all parts."""

MIN_SPEED_SLOPE = 1.0
"""Minimum slope of the speed: what moves twice as fast is twice as likely an anomaly, even if seconds of video, each
part unlike the others, cannot show it."""

SCORED_PATCHES = 4096
"""Patches that are measured together when a long video is scored: enough for fast matrix products."""

NO_EVIDENCE = 0.5
"""Quantile of the normal frames' measures up to which there is no evidence: a usual frame. Chosen among 0.1, 0.25 and
0.5."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One frame of normal video.

    Attributes:
        values: (n, length) descriptors of its patches.
        clip: Number of its clip.
        seconds: Its time in the clip.
    """

    values: Floats
    clip: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Fitted:
    """A fitted model, with what fitting it showed.

    Attributes:
        model: The model.
        still: Score of a frame in which nothing moves.
        blocks: Number of time blocks in which something moves.
        block_seconds: Their length.
        scores: (frames,) score of every sample by a model that was not fitted to its part of the video, each frame by
            itself, not yet averaged over time.
        parts: Start of each part of the video: number of the clip, and seconds in it.
        others: For each part, the model that was fitted to the other parts.
    """

    model: MotionModel
    still: float
    blocks: int
    block_seconds: float
    scores: Floats
    parts: tuple[tuple[int, float], ...]
    others: tuple[MotionModel, ...]

    def scored(self, samples: Iterable[Sample]) -> Iterator[tuple[Sample, float]]:
        """Yield the samples, each with its score by a model that was not fitted to its part of the video.

        Args:
            samples: Frames of the video that the model was fitted to, including those that were left out.
        """
        waiting: list[Sample] = []
        part, patches = 0, 0
        for sample in samples:
            mine = max(0, bisect_right(self.parts, (sample.clip, sample.seconds)) - 1)
            if waiting and (mine != part or patches >= SCORED_PATCHES):
                yield from self._scored_by(self.others[part], waiting)
                waiting, patches = [], 0
            part = mine
            waiting.append(sample)
            patches += len(sample.values)
        if waiting:
            yield from self._scored_by(self.others[part], waiting)

    def _scored_by(self, model: MotionModel, samples: list[Sample]) -> Iterator[tuple[Sample, float]]:
        evidence = model.evidence(model.measures(np.concatenate([sample.values for sample in samples]))).max(axis=1)
        ends = np.cumsum([0] + [len(sample.values) for sample in samples])
        for sample, (start, end) in zip(samples, pairwise(ends), strict=True):
            yield sample, frame_score(evidence[start:end], TOP_PATCHES, self.still)


def fit(
    samples: list[Sample],
    working: tuple[int, int],
    *,
    seed: int = 17,
    progress: Callable[[int, int], None] | None = None,
) -> Fitted:
    """Fit the model.

    Args:
        samples: Frames of normal video in order: all of them, or a sample.
        working: (height, width) of the working frame, pixels.
        seed: Seed of the choice among examples.
        progress: Called with the steps done and the steps in all.

    Raises:
        UsageError: Too little moves, or for too short a time.
    """
    moving = [sample for sample in samples if len(sample.values)]
    block_of, block_seconds = _blocks(moving)
    blocks = sorted(set(block_of))
    count = sum(len(sample.values) for sample in moving)
    if len(blocks) < MIN_BLOCKS or count < MIN_PATCHES:
        raise UsageError(
            f"too little moves in the normal video: {count} moving patches in {len(blocks)} stretches of "
            f"{block_seconds:g} s; {MIN_PATCHES} in {MIN_BLOCKS} are needed",
            hint="give more video from times when people or vehicles pass",
        )
    rng = np.random.default_rng(seed)
    values = np.concatenate([sample.values for sample in moving])
    starts = np.cumsum([0] + [len(sample.values) for sample in moving])

    def learned(shown: Floats) -> MotionModel:
        return _examples(shown, working, rng)

    # Measures of every part, and of anomalies made from it, by examples of the other parts only.
    fold_of = _folds(moving)
    owner = np.repeat(fold_of, np.diff(starts))
    measures = np.empty((len(values), len(MEASURES)), np.float32)
    made: list[npt.NDArray[np.float64]] = []
    folds = sorted(set(fold_of))
    others: list[MotionModel] = []
    for done, fold in enumerate(folds):
        mine = owner == fold
        other = learned(values[~mine])
        others.append(other)
        measures[mine] = other.measures(values[mine])
        frames = [sample.values for sample, of in zip(moving, fold_of, strict=True) if of == fold]
        ratios = np.split(measures[mine, 0], np.cumsum([len(frame) for frame in frames])[:-1])
        made.append(_measured_anomalies(other, synthetic_anomalies(frames, ratios, math.ceil(MADE / len(folds)), rng)))
        if progress is not None:
            progress(done + 1, len(folds) + 1)
    normal, anomalies = _frame_measures(measures, starts), np.concatenate(made)
    slopes = [MIN_SPEED_SLOPE, 0.0, 0.0]
    if len(anomalies):
        # Two, since anomalies are made from each block too.
        found = [logistic_slope(normal[:, k], anomalies[:, k], 2.0 * len(blocks)) for k in range(len(MEASURES))]
        slopes = [max(pair) for pair in zip(slopes, found, strict=True)]
    base = np.quantile(normal, NO_EVIDENCE, axis=0).astype(np.float32)
    model, *others = (
        replace(found, base=base, slope=np.array(slopes, np.float32)) for found in (learned(values), *others)
    )
    if progress is not None:
        progress(len(folds) + 1, len(folds) + 1)
    evidence = model.evidence(measures).max(axis=1)
    scores = np.array([frame_score(evidence[a:b], TOP_PATCHES, 0.0) for a, b in pairwise(starts)])
    still = float(scores.min())
    order = iter(scores)
    every = np.array([next(order) if len(sample.values) else still for sample in samples], np.float32)
    return Fitted(model, still, len(blocks), block_seconds, every, _starts_of(moving, fold_of), tuple(others))


def _examples(values: Floats, working: tuple[int, int], rng: np.random.Generator) -> MotionModel:
    """Return a model whose examples come from `values`; its evidence is not fitted yet."""
    anchors, usual = _usual_speeds(values, working)
    mean, basis = _look_parts(values[rng.permutation(len(values))[:MEASURED_LOOKS], LOOK])
    blank = MotionModel(
        anchors=anchors,
        usual=usual,
        sharpness=np.array([1 / (2 * BANDWIDTH**2)], np.float32),
        nearness=np.array([NEARNESS], np.float32),
        velocities=np.zeros((1, 6), np.float32),
        look_mean=mean,
        look_basis=basis,
        look_nearness=np.array([LOOK_NEARNESS], np.float32),
        looks=np.zeros((1, basis.shape[1] + 2), np.float32),
        base=np.zeros(len(MEASURES), np.float32),
        slope=np.ones(len(MEASURES), np.float32),
    )
    velocities = blank.velocity_points(values)
    looks = blank.look_points(values[np.sort(rng.permutation(len(values))[:MAX_LOOKS])])
    return replace(blank, velocities=velocities[_spread(velocities, rng)], looks=looks)


def _look_parts(looks: Floats) -> tuple[Floats, Floats]:
    """Return mean and whitening basis of the square roots of appearance; see `MotionModel`."""
    roots = np.sqrt(np.maximum(looks, 0)).astype(np.float64)
    mean = roots.mean(axis=0)
    variances, parts = np.linalg.eigh(np.cov((roots - mean).T))  # ascending
    variances, parts = variances[::-1][:LOOK_PARTS], parts[:, ::-1][:, :LOOK_PARTS]
    basis = parts / np.sqrt(np.maximum(variances, 0) + LOOK_RIDGE * max(variances[0], 1e-9))
    return mean.astype(np.float32), basis.astype(np.float32)


def _frame_measures(measures: Floats, starts: npt.NDArray[np.intp]) -> npt.NDArray[np.float64]:
    """Return (frames, 3) log measures of frames whose patches begin at `starts`, pooled as a score pools patches."""
    logs = np.log(np.maximum(measures, CLOSEST))
    return np.array(
        [[frame_score(logs[a:b, k], TOP_PATCHES, 0.0) for k in range(len(MEASURES))] for a, b in pairwise(starts)],
        np.float64,
    )


def _measured_anomalies(model: MotionModel, made: list[tuple[Floats, ...]]) -> npt.NDArray[np.float64]:
    """Return (objects, 3) log measures of the anomalies that are made to show in each measure."""
    answer = np.empty((len(made), len(MEASURES)), np.float64)
    for k in range(len(MEASURES)) if made else ():
        starts = np.cumsum([0] + [len(parts[k]) for parts in made])
        answer[:, k] = _frame_measures(model.measures(np.concatenate([parts[k] for parts in made])), starts)[:, k]
    return answer


def _starts_of(samples: list[Sample], fold_of: npt.NDArray[np.intp]) -> tuple[tuple[int, float], ...]:
    """Return where the parts of `_folds` begin: at the start of a clip, or at a sample within one."""
    starts = np.flatnonzero(np.diff(fold_of, prepend=-1))
    first_of_clip = [k == 0 or samples[k - 1].clip != samples[k].clip for k in starts]
    return tuple(
        (samples[k].clip, 0.0 if whole else samples[k].seconds) for k, whole in zip(starts, first_of_clip, strict=True)
    )


def _folds(samples: list[Sample]) -> npt.NDArray[np.intp]:
    """Return the number of the part of the video of each sample: runs of clips, or of time if a clip is long."""
    count = len(samples)
    _, starts, sizes = np.unique([sample.clip for sample in samples], return_index=True, return_counts=True)
    if sizes.max() > LARGEST_CLIP * count:
        return np.arange(count) * FOLDS // count
    middle = (starts + sizes / 2) * FOLDS / count
    return np.repeat(middle.astype(np.intp), sizes)


def _blocks(samples: list[Sample]) -> tuple[npt.NDArray[np.intp], float]:
    """Return the number of each sample's time block, and the length of a block, seconds."""
    if not samples:
        return np.zeros(0, np.intp), BLOCK_SECONDS
    lengths: dict[int, float] = {}
    for sample in samples:
        lengths[sample.clip] = max(sample.seconds, lengths.get(sample.clip, 0.0))
    seconds = float(np.clip(sum(lengths.values()) / WANTED_BLOCKS, SHORTEST_BLOCK_SECONDS, BLOCK_SECONDS))
    keys = [(sample.clip, int(sample.seconds / seconds)) for sample in samples]
    numbers = {key: number for number, key in enumerate(sorted(set(keys)))}
    return np.array([numbers[key] for key in keys], np.intp), round(seconds, 3)


def _usual_speeds(values: Floats, working: tuple[int, int]) -> tuple[Floats, Floats]:
    """Return anchors (a, 2) and the logarithm of the usual speed at each: a quantile of the speeds around it.

    Counted in one histogram of the logarithm per anchor, smoothed over the picture.
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


def _spread(points: Floats, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """Return the indices of the points kept: one in each cube of space, then at most `MAX_EXAMPLES` at random."""
    shuffled = rng.permutation(len(points))
    patches = np.floor(points[shuffled] / APART).astype(np.int64).view(np.uint64)
    # Each cube of space is represented by a random number: sorting these is many times faster than sorting rows.
    keys = (patches * rng.integers(1, 2**63, points.shape[1], dtype=np.uint64)).sum(axis=1, dtype=np.uint64)
    _, first = np.unique(keys, return_index=True)
    kept = shuffled[first]
    if len(kept) > MAX_EXAMPLES:
        kept = rng.permutation(kept)[:MAX_EXAMPLES]
    return np.sort(kept)
