"""How fast the odds rise with a measure that something is an anomaly and not normal video."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]

PRIOR = 0.1
"""Precision of the slope's normal prior around 0, in standard deviations of the measure: it only matters where normal
video and anomalies do not overlap, and keeps the slope finite there (our choice; 0.1, 1 and 5 were compared)."""

_STEPS = 100
_FARTHEST = 3.0


def logistic_slope(normal: Doubles, anomalies: Doubles, independent: float) -> float:
    """Slope of a logistic regression of "is an anomaly" on one measure; 0 where it would fall.

    Both sides weigh the same, however many there are.

    Args:
        normal: (n,) the measure in normal video that the model was not shown.
        anomalies: (m,) the measure in anomalies.
        independent: how many independent observations they are worth, by which the prior is weighed.
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
    for _ in range(_STEPS):  # Newton's method, its steps bounded
        odds = 1 / (1 + np.exp(-np.clip(design @ found, -40, 40)))
        gradient = design.T @ (weights * (odds - is_anomaly)) + ridge @ found
        curvature = (design * (weights * odds * (1 - odds))[:, None]).T @ design + ridge
        step = np.linalg.solve(curvature, gradient)
        size = float(np.abs(step).max())
        found -= step * min(1.0, _FARTHEST / max(size, 1e-12))
        if size < 1e-8:
            break
    return max(0.0, float(found[1] / spread))
