"""Upper tails: the generalized Pareto distribution (GPD), fitted conservatively to few samples.

SciPy has the same distribution; docs/concepts/libraries.md says why it is not used at run time.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

PRIOR_SHAPE_SD = 0.1
"""Standard deviation of the prior of the shape: scores average errors over many pixels, so their tails are close to
exponential (shape 0) or lighter. A wider prior would let ten peaks decide over a thousandfold extrapolation, in which a
shape of 0.2 instead of 0 raises the threshold by twice the whole tail."""

MAX_SHAPE = 0.5
"""Upper bound of the shape: from 0.5 on, the variance is infinite and the estimate is no longer valid."""

# Asymptotic variance of the estimate times n, at shape 0 (Hosking & Wallis 1987).
_PWM_SHAPE_VARIANCE = 4.0 / 3.0


def shape_weight(samples: int) -> float:
    """Weight, 0..1, of an estimated shape against the prior of 0.

    The prior's variance divided by the sum of the prior's and the estimate's variance.
    """
    prior = PRIOR_SHAPE_SD**2
    return prior / (prior + _PWM_SHAPE_VARIANCE / max(samples, 1))


def fit_shape(excesses: Sequence[float] | npt.NDArray[np.float64]) -> float:
    """Estimate the shape ξ of a GPD, in [0, MAX_SHAPE], from excesses over a level.

    The estimate uses probability-weighted moments (Hosking & Wallis 1987) and is then shrunk toward 0, the exponential
    tail, depending on the sample size: 10 excesses have a weight of one fourteenth, 100 of three sevenths. Negative
    estimates become 0. A negative shape has an end point: scores above it all have probability 0 and could not be told
    apart, and the threshold would be right at it. The exponential tail is the cautious choice: a threshold that is too
    high keeps the budget of false alerts, one that is too low does not.
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
    """Scale β of the GPD with this shape and this mean excess: β = mean·(1 − ξ)."""
    return mean_excess * (1.0 - shape)


def minus_log_survival(excess: float, scale: float, shape: float) -> float:
    """−ln P(X ≥ excess) of a GPD, excess ≥ 0, shape ≥ 0; strictly increasing and unbounded."""
    ratio = excess / scale
    return ratio if shape == 0 else math.log1p(shape * ratio) / shape


def excess_at(minus_log: float, scale: float, shape: float) -> float:
    """Excess with this −ln survival: the inverse of `minus_log_survival`."""
    return scale * (minus_log if shape == 0 else math.expm1(shape * minus_log) / shape)
