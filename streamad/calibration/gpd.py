"""Upper tails: the generalized Pareto distribution (GPD), fitted so that few samples lead to no absurdity."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PRIOR_SHAPE_SD = 0.1
"""Standard deviation of the shape that we believe before seeing data (our choice): scores average errors over
many pixels, so their tails lie near the exponential (shape 0) or below. A wider prior would let ten peaks
decide over a thousandfold extrapolation: there a shape of 0.2 instead of 0 raises the threshold by twice the
whole tail."""

MAX_SHAPE = 0.5
"""Largest shape given out: from 0.5 on the variance is infinite and the estimate no longer holds."""

# Asymptotic variance of the estimate times n, at shape 0 (Hosking & Wallis 1987).
_PWM_SHAPE_VARIANCE = 4.0 / 3.0


def shape_weight(samples: int) -> float:
    """Weight, 0..1, of an estimated shape against the prior of 0.

    The prior's variance over the sum of the prior's and the estimate's.
    """
    prior = PRIOR_SHAPE_SD**2
    return prior / (prior + _PWM_SHAPE_VARIANCE / max(samples, 1))


def fit_shape(excesses: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """Shape ξ of a GPD from excesses over a level, in [0, MAX_SHAPE].

    Probability-weighted moments (Hosking & Wallis 1987), then shrunk towards 0, the exponential tail, by the
    weight the sample's size earns: 10 excesses count for a fourteenth, 100 for three sevenths. Below 0 the
    answer is 0: a negative shape has an end point beyond which everything has probability 0, so scores above
    it could no longer be told apart, and a threshold would sit right at it; the exponential tail is the
    careful reading (too high a threshold keeps a budget of false alerts, too low a one breaks it).
    """
    ordered = np.sort(np.asarray(excesses, dtype=np.float64))
    n = ordered.size
    if n < 2 or ordered[-1] <= 0:
        return 0.0
    a0 = float(ordered.mean())
    # Unbiased estimate of E[X·(1 − F(X))].
    a1 = float((ordered * np.arange(n - 1, -1, -1)).mean() / (n - 1))
    if a0 <= 2.0 * a1:
        return 0.0
    estimate = 2.0 - a0 / (a0 - 2.0 * a1)
    return min(max(shape_weight(n) * estimate, 0.0), MAX_SHAPE)


def scale_of(mean_excess: float, shape: float) -> float:
    """Scale β of the GPD of this shape whose mean is `mean_excess`: β = mean·(1 − ξ)."""
    return mean_excess * (1.0 - shape)


def minus_log_survival(excess: float, scale: float, shape: float) -> float:
    """−ln P(X ≥ excess) of a GPD, excess ≥ 0, shape ≥ 0; strictly increasing without bound."""
    ratio = excess / scale
    return ratio if shape == 0 else math.log1p(shape * ratio) / shape


def excess_at(minus_log: float, scale: float, shape: float) -> float:
    """The excess whose −ln survival is `minus_log`: the inverse of `minus_log_survival`."""
    return scale * (minus_log if shape == 0 else math.expm1(shape * minus_log) / shape)
