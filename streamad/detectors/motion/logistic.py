"""How fast the odds of an anomaly rise with a measure."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

PRIOR = 0.1
"""Precision of the slope's normal prior around 0, in standard deviations of the measure. It only matters if normal
video and anomalies do not overlap, and keeps the slope finite then. Chosen among 0.1, 1 and 5."""

_STEPS = 100
_FARTHEST = 3.0


def logistic_slope(normal: Doubles, anomalies: Doubles, independent: float) -> float:
    """Return the slope of a logistic regression of "is an anomaly" on one measure; 0 if it would be negative.

    Both classes have the same weight, however many samples they have.

    Args:
        normal: (n,) measure in normal video that the model was not fitted to.
        anomalies: (m,) measure in anomalies.
        independent: Number of independent observations that the samples are worth; it sets the weight of the prior.
    """
    both = np.concatenate([normal, anomalies])
    center, spread = both.mean(), both.std()
    if spread < 1e-6:
        return 0.0
    x = (both - center) / spread
    is_anomaly = np.concatenate([np.zeros(len(normal)), np.ones(len(anomalies))])
    weights = np.concatenate([np.full(len(normal), 0.5 / len(normal)), np.full(len(anomalies), 0.5 / len(anomalies))])
    weights *= independent
    design = np.stack([np.ones_like(x), x], axis=1)
    ridge = np.diag([1e-6, PRIOR])
    found = np.zeros(2)
    for _ in range(_STEPS):  # Newton's method with bounded steps
        odds = 1 / (1 + np.exp(-np.clip(design @ found, -40, 40)))
        gradient = design.T @ (weights * (odds - is_anomaly)) + ridge @ found
        curvature = (design * (weights * odds * (1 - odds))[:, None]).T @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        size = float(np.abs(step).max())
        found -= step * min(1.0, _FARTHEST / max(size, 1e-12))
        if size < 1e-8:
            break
    return max(0.0, float(found[1] / spread))
