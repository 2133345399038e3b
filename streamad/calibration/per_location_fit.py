"""Fit the statistics of per-location calibration to anomaly maps of normal video."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from streamad.calibration.gpd import fit_shape
from streamad.calibration.per_location import PerLocationSpec, PerLocationStatistics
from streamad.errors import CalibrationError

BODY = (0.98, 0.9, 0.75, 0.5, 0.25)
"""Exceedance at the body points of a sample; the share of the tail is appended as the last. Few points suffice: usual
scores only have to be ordered."""

EVIDENCE = (0.01, 0.05, 0.125, 0.3, 0.6, 1.0, 1.5, 2.0, 2.5, 3.0, 4.0, 5.0, 6.0)
"""Evidence at the points of a cell's curve."""

MIN_SAMPLES = 20
_BISECTIONS = 40
_STEP = 1e-6
_SHAPE_SAMPLES = 500

Floats = npt.NDArray[np.float64]

RESERVOIR = 1024
"""Samples kept per cell: enough for 100 samples in a tail of 10 %, and 4 MiB for 32×32 cells."""


class CellSamples:
    """A uniform random sample of every cell's scores, in memory that does not grow with the video.

    Each cell has a reservoir of its own (Vitter 1985, algorithm R), because detectors that score only moving cells
    score few of them per frame.

    Args:
        shape: (rows, cols) of the anomaly maps.
        size: Samples kept per cell.
        seed: Seed of the draws; the same video gives the same sample.

    Attributes:
        values: (size, rows, cols) float32, NaN where there is no sample yet.
        counts: (rows, cols), number of scores seen per cell.
        frames: Number of frames seen.
    """

    def __init__(self, shape: tuple[int, int], *, size: int = RESERVOIR, seed: int = 0) -> None:
        self.values = np.full((size, *shape), np.nan, np.float32)
        self.counts = np.zeros(shape, np.int64)
        self.frames = 0
        self._rng = np.random.default_rng(seed)

    @property
    def shape(self) -> tuple[int, int]:
        """(rows, cols)."""
        return self.counts.shape

    def add(self, anomaly_map: npt.NDArray[np.float32]) -> None:
        """Add a frame's (rows, cols) scores; cells that are not finite count as not scored.

        Raises:
            CalibrationError: The anomaly map has another shape than the previous ones.
        """
        if anomaly_map.shape != self.shape:
            raise CalibrationError(
                f"the anomaly map has {anomaly_map.shape[0]}×{anomaly_map.shape[1]} cells, the previous ones had "
                f"{self.shape[0]}×{self.shape[1]}",
                hint="use clips of one frame size, the camera's",
            )
        self.frames += 1
        rows, cols = np.nonzero(np.isfinite(anomaly_map))
        seen = self.counts[rows, cols]
        place = np.where(seen < len(self.values), seen, self._rng.integers(0, seen + 1))
        kept = place < len(self.values)
        self.values[place[kept], rows[kept], cols[kept]] = anomaly_map[rows[kept], cols[kept]]
        self.counts[rows, cols] += 1


def join_samples(parts: Sequence[CellSamples]) -> CellSamples:
    """Concatenate the samples of several pieces of video.

    Raises:
        CalibrationError: No samples were given, or their shapes differ.
    """
    if not parts or any(part.shape != parts[0].shape for part in parts):
        raise CalibrationError(f"samples must have one grid shape, got {[part.shape for part in parts]}")
    answer = CellSamples(parts[0].shape, size=1)
    # Drop rows that no cell has filled: short pieces have many, and sorting them takes time.
    answer.values = np.concatenate([part.values[: max(int(part.counts.max(initial=0)), 1)] for part in parts])
    answer.counts = np.sum([part.counts for part in parts], axis=0)
    answer.frames = sum(part.frames for part in parts)
    return answer


def fit_per_location(samples: CellSamples, spec: PerLocationSpec) -> PerLocationStatistics:
    """Fit the score distribution of every cell to samples of normal video.

    The share p(x) of a cell's normal scores that are at least x is a mixture over four levels: the cell, the square of
    `spec.neighbors` cells around it, its row (objects at one distance from the camera), and the whole image. A level
    with n samples takes the share n/(n + m) of the weight that the narrower levels leave, with m =
    `spec.prior_samples`. This is the posterior mean of a Dirichlet process whose base is the wider level (Ferguson
    1973). A cell with few samples therefore stays close to the wider level: its evidence exceeds that level's by at
    most log10((n + m)/m).

    Each level models p(x) by quantiles in the body and, above the quantile at `spec.tail_share`, by a generalized
    Pareto tail with its own scale and the image's shape. As in regional frequency analysis (Hosking & Wallis 1997),
    single sites have too few extremes for a shape of their own. Both n and m count frames, although neighboring
    frames are correlated.

    Args:
        samples: Samples of `pooled` anomaly maps.
        spec: The parameters.

    Raises:
        CalibrationError: The cells have too few scores, or all scores are equal.
    """
    values, counts, frames = samples.values, samples.counts.ravel().astype(np.float64), float(samples.frames)
    every = values[np.isfinite(values)].astype(np.float64)
    if every.size < MIN_SAMPLES or every.min() == every.max():
        raise CalibrationError(
            f"cannot calibrate per location: {every.size} cell scores in {samples.frames} frames; at least "
            f"{MIN_SAMPLES} scores that differ are needed",
            hint="use more normal video in which something moves, or --no-local",
        )
    step = _STEP * float(every.max() - every.min())
    start = float(np.quantile(every, 1 - spec.tail_share))
    over = np.sort(every[every > start]) - start
    # Neighboring frames are nearly equal, so more excesses say no more about the shape.
    shape = fit_shape(over[:: max(1, over.size // _SHAPE_SAMPLES)])
    levels = [_Level(group, spec.tail_share, shape, step) for group in _groups(values, spec.neighbors)]
    members = list(_members(samples.shape, spec.neighbors))
    weights = [np.ones(counts.size)]
    for member in members[1:]:
        count = np.array([counts[cells].sum() for cells in member.cells])[member.of]
        own = np.minimum(count, frames)
        own /= own + spec.prior_samples
        weights = [weight * (1 - own) for weight in weights] + [own]
    evidence = np.array(EVIDENCE)
    curves = _inverse(evidence, levels, [m.of for m in members], weights)
    whole = _inverse(evidence, levels[:1], [np.zeros(1, int)], [np.ones(1)])
    return PerLocationStatistics(
        spec=spec,
        levels=evidence.astype(np.float32),
        curves=_rising(curves, step).reshape(evidence.size, *samples.shape).astype(np.float32),
        picture=_rising(whole, step)[:, 0].astype(np.float32),
        frames=samples.frames,
    )


class _Level:
    """The score distributions of groups of cells: the image, rows, squares, or single cells.

    Args:
        groups: (n, groups) scores, padded with NaN.
        tail_share: Share of scores that belong to the tail.
        shape: Shape of the tail.
        step: Smallest score difference that matters.
    """

    def __init__(self, groups: npt.NDArray[np.float32], tail_share: float, shape: float, step: float) -> None:
        self._shape = shape
        shares = np.array([*(p for p in BODY if p > tail_share), tail_share])
        self._levels = -np.log10(shares)
        ordered = np.sort(groups, axis=0)  # NaN last
        last = np.maximum(np.isfinite(ordered).sum(axis=0) - 1, 0)
        place = (1 - shares)[:, None] * last
        low = np.floor(place).astype(int)
        columns = np.arange(ordered.shape[1])
        lower, upper = ordered[low, columns], ordered[np.minimum(low + 1, last), columns]
        quantiles = np.nan_to_num((lower + (place - low) * (upper - lower)).astype(np.float64))
        self.quantiles = _rising(quantiles, step)
        with np.errstate(invalid="ignore"):
            excess = ordered - self.quantiles[-1]
            count = (excess > 0).sum(axis=0)
            mean = np.where(excess > 0, excess, 0).sum(axis=0) / np.maximum(count, 1)
        self.scale = np.maximum(mean, step) * (1 - shape)

    def evidence(self, raw: Floats, of: npt.NDArray[np.int_]) -> Floats:
        """−log10 p(x) of (K, cells) scores; `of` is the group of each cell."""
        quantiles, levels = self.quantiles[:, of], self._levels
        answer = np.clip(1 + (raw - quantiles[0]) / (quantiles[1] - quantiles[0]), 0, 1) * levels[0]
        for k in range(1, len(levels)):
            share = np.clip((raw - quantiles[k - 1]) / (quantiles[k] - quantiles[k - 1]), 0, 1)
            answer += share * (levels[k] - levels[k - 1])
        excess = np.maximum(raw - quantiles[-1], 0) / self.scale[of]
        return np.asarray(answer + (np.log1p(self._shape * excess) / self._shape if self._shape else excess) / _LN10)

    def reach(self, evidence: float) -> float:
        """A score at which every group has at least this evidence."""
        far = evidence * _LN10
        far = np.expm1(self._shape * far) / self._shape if self._shape else far
        return float((self.quantiles[-1] + self.scale * far).max())


_LN10 = float(np.log(10.0))


def _inverse(evidence: Floats, levels: list[_Level], of: list[npt.NDArray[np.int_]], weights: list[Floats]) -> Floats:
    """(K, cells) scores at which the mixture reaches each evidence, by bisection: the mixture decreases in x."""
    cells = of[0].size
    low = np.full(
        (evidence.size, cells), min(2 * level.quantiles[0].min() - level.quantiles[1].max() for level in levels)
    )
    high = np.full((evidence.size, cells), max(level.reach(evidence[-1] + 1) for level in levels))
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        p = sum(w * 10.0 ** -level.evidence(middle, o) for w, level, o in zip(weights, levels, of, strict=True))
        rare = -np.log10(np.maximum(p, 1e-300)) >= evidence[:, None]
        high, low = np.where(rare, middle, high), np.where(rare, low, middle)
    return high


class _Members:
    """Which cells form each group of a level, and the group of each cell."""

    def __init__(self, cells: list[npt.NDArray[np.int_]], of: npt.NDArray[np.int_]) -> None:
        self.cells, self.of = cells, of


def _members(shape: tuple[int, int], side: int) -> Iterator[_Members]:
    """The groups of each level, from wide to narrow."""
    rows, cols = shape
    number = np.arange(rows * cols)
    grid = number.reshape(shape)
    yield _Members([number], np.zeros(number.size, int))
    yield _Members(list(grid), number // cols)
    if side > 1:
        reach = side // 2
        near = [
            grid[max(0, r - reach) : r + reach + 1, max(0, c - reach) : c + reach + 1].ravel()
            for r in range(rows)
            for c in range(cols)
        ]
        yield _Members(near, number)
    yield _Members(list(number[:, None]), number)


def _groups(values: npt.NDArray[np.float32], side: int) -> Iterator[npt.NDArray[np.float32]]:
    """(n, groups) scores of each level, in the order of `_members`."""
    size, rows, cols = values.shape
    yield values.reshape(-1, 1)
    yield values.transpose(0, 2, 1).reshape(size * cols, rows)
    if side > 1:
        reach = side // 2
        padded = np.pad(values, ((0, 0), (reach, reach), (reach, reach)), constant_values=np.nan)
        windows = [padded[:, r : r + rows, c : c + cols] for r in range(side) for c in range(side)]
        yield np.concatenate(windows).reshape(-1, rows * cols)
    yield values.reshape(size, -1)


def _rising(curves: npt.NDArray[np.floating], step: float) -> npt.NDArray[np.floating]:
    """Make curves strictly increasing along the first axis, also in float32, by steps too small to matter."""
    curves = curves.copy()
    for k in range(1, len(curves)):
        least = np.nextafter((curves[k - 1] + step).astype(np.float32), np.float32(np.inf))
        curves[k] = np.maximum(curves[k], least)
    return curves
