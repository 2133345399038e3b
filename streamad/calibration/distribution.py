"""ScoreDistribution: the distribution of normal scores, and the calibrated score −log10(p) derived from it."""

from __future__ import annotations

import math
from bisect import bisect_right
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from streamad.calibration.gpd import excess_at, fit_shape, minus_log_survival, scale_of
from streamad.errors import CalibrationError

BODY_POINTS = 256
"""Maximum number of points kept of the body: p between neighbors is then off by at most 1/512, and the file stays
readable."""

TAIL_SHARE = 0.05
"""Share of frames that the tail is fitted to …"""
TAIL_FRAMES = (10, 500)
"""… but no fewer and no more than these: enough to estimate a scale, few enough to be a tail."""

_MIN_TAIL = 1e-12  # of the spread of scores
_LN10 = math.log(10.0)


@dataclass(frozen=True)
class ScoreDistribution:
    """Distribution of the raw scores of normal frames.

    p(x) is the share of normal frames that score at least as high as x. The body uses mid-ranks with linear
    interpolation between points. Above the last point, p follows a generalized Pareto tail with shape ≥ 0. Below the
    first, 1 − p falls as 1/(1 + distance/scale). p is continuous and strictly decreasing everywhere, so the calibrated
    score −log10(p) preserves the order of raw scores (as far as float64 can distinguish them), even beyond the largest
    normal score.

    Attributes:
        scores: Raw scores at the points of the body, strictly increasing; the tail begins at the last one.
        exceedance: p at these points, strictly decreasing, in (0, 1).
        tail_scale: Scale β > 0 of the tail, raw units.
        tail_shape: Shape ξ in [0, 1) of the tail.
        low_scale: Scale > 0 of the decrease below the first point, raw units.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    scores: tuple[float, ...]
    exceedance: tuple[float, ...]
    tail_scale: float
    tail_shape: float
    low_scale: float

    def __post_init__(self) -> None:
        if not self.scores or len(self.scores) != len(self.exceedance):
            raise CalibrationError(
                "distribution.scores and distribution.exceedance must have the same length, at least 1, got "
                f"{len(self.scores)} and {len(self.exceedance)}"
            )
        if any(b <= a for a, b in zip(self.scores, self.scores[1:], strict=False)):
            raise CalibrationError("distribution.scores must increase strictly")
        if any(b >= a for a, b in zip(self.exceedance, self.exceedance[1:], strict=False)):
            raise CalibrationError("distribution.exceedance must decrease strictly")
        if not (self.exceedance[-1] > 0 and self.exceedance[0] < 1):
            raise CalibrationError("distribution.exceedance must be strictly between 0 and 1")
        if not (self.tail_scale > 0 and self.low_scale > 0 and 0 <= self.tail_shape < 1):
            raise CalibrationError(
                "distribution.tail_scale and low_scale must be > 0 and tail_shape in [0, 1), got "
                f"{self.tail_scale}, {self.low_scale} and {self.tail_shape}"
            )

    def calibrated(self, score: float) -> float:
        """Calibrated score −log10(p) ≥ 0 of a raw score: 3 means that 1 of 1000 normal frames scores at least as high.

        NaN gives NaN, −inf gives 0, +inf gives +inf.
        """
        if math.isnan(score):
            return math.nan
        xs, ps = self.scores, self.exceedance
        if score >= xs[-1]:
            tail = minus_log_survival(score - xs[-1], self.tail_scale, self.tail_shape)
            return (tail - math.log(ps[-1])) / _LN10
        if score < xs[0]:
            return -math.log1p(-self._below(score)) / _LN10
        i = bisect_right(xs, score)
        share = (score - xs[i - 1]) / (xs[i] - xs[i - 1])
        return -math.log10(ps[i - 1] + share * (ps[i] - ps[i - 1]))

    def calibrated_array(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """`calibrated` for an array of any shape; returns float64 of the same shape."""
        raw = np.asarray(scores, dtype=np.float64)
        xs, ps = np.array(self.scores), np.array(self.exceedance)
        with np.errstate(over="ignore"):
            ratio = np.maximum(raw - xs[-1], 0.0) / self.tail_scale
            tail = ratio if self.tail_shape == 0 else np.log1p(self.tail_shape * ratio) / self.tail_shape
            depth = np.maximum(xs[0] - raw, 0.0) / self.low_scale
        low = -np.log1p(-(1.0 - ps[0]) / (1.0 + depth))
        # Not np.interp: its slope overflows between points closer than 1e-308.
        right = np.clip(np.searchsorted(xs, raw, "right"), 1, max(1, len(xs) - 1))
        left = right - 1
        right = np.minimum(right, len(xs) - 1)
        gap = np.where(right > left, xs[right] - xs[left], 1.0)
        share = np.clip((np.clip(raw, xs[0], xs[-1]) - xs[left]) / gap, 0.0, 1.0)
        body = -np.log(ps[left] + share * (ps[right] - ps[left]))
        answer = np.where(raw >= xs[-1], tail - math.log(ps[-1]), np.where(raw < xs[0], low, body)) / _LN10
        return np.asarray(np.where(np.isnan(raw), np.nan, answer), dtype=np.float64)

    def quantile(self, share: float) -> float:
        """Raw score that this share of normal frames stays below (0 < share < 1); for drift, plots, and reports.

        Raises:
            ValueError: `share` is not strictly between 0 and 1.
        """
        if not 0 < share < 1:
            raise ValueError(f"the share of a quantile must be strictly between 0 and 1, got {share}")
        p = 1.0 - share
        xs, ps = self.scores, self.exceedance
        if p <= ps[-1]:
            return xs[-1] + excess_at(math.log(ps[-1] / p), self.tail_scale, self.tail_shape)
        if p > ps[0]:
            return xs[0] - self.low_scale * ((1.0 - ps[0]) / share - 1.0)
        return float(np.interp(share, 1.0 - np.array(ps), np.array(xs)))

    def _below(self, score: float) -> float:
        """Share of normal frames below a score that is lower than all points; never 0, so that order is preserved."""
        return (1.0 - self.exceedance[0]) / (1.0 + (self.scores[0] - score) / self.low_scale)


def fit_distribution(scores: npt.NDArray[np.float64]) -> ScoreDistribution:
    """Fit the distribution to the (n,) finite scores of normal frames, at least two of which differ.

    Raises:
        CalibrationError: There are fewer than two scores, or all are equal.
    """
    values, counts = np.unique(scores, return_counts=True)
    n = scores.size
    if values.size < 2:
        what = "only 1 frame has a score" if n == 1 else f"all {n} frames have the same score"
        raise CalibrationError(
            f"cannot calibrate: {what}; at least two different scores are required",
            hint="use more normal video, or check that the picture changes",
        )
    at_least = n - np.concatenate(([0], np.cumsum(counts)[:-1]))  # frames that score >= values[i]
    exceedance = (at_least - 0.5 * counts) / n
    wanted = min(max(round(TAIL_SHARE * n), TAIL_FRAMES[0]), TAIL_FRAMES[1], max(n // 4, 1))
    above = at_least - counts
    # The highest value that `wanted` frames exceed, or the lowest value if nearly all frames have it.
    start = int(np.flatnonzero(above >= min(wanted, int(above[0])))[-1])
    level = float(values[start])
    excesses = scores[scores > level] - level
    shape = fit_shape(excesses)
    spread = float(values[-1] - values[0])
    # Bounded below, so that excesses over a nearly constant tail do not overflow.
    tail_scale = max(scale_of(float(excesses.mean()), shape), _MIN_TAIL * spread)
    keep = np.arange(start + 1)
    if keep.size > BODY_POINTS:
        # Evenly by rank, so that dense regions get their share of the points.
        ranks = np.linspace(exceedance[0], exceedance[start], BODY_POINTS)
        keep = np.unique(np.searchsorted(-exceedance[: start + 1], -ranks).clip(0, start))
        keep = np.unique(np.concatenate(([0], keep, [start])))
    return ScoreDistribution(
        scores=tuple(values[keep].tolist()),
        exceedance=tuple(exceedance[keep].tolist()),
        tail_scale=tail_scale,
        tail_shape=shape,
        low_scale=spread,
    )
