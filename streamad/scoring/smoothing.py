"""Causal smoothing of scores: the same arithmetic live and in calibration."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt


class ExponentialSmoother:
    """Causal exponential average with a time constant in seconds: the frame rate does not matter.

    s ← s + (1 − exp(−Δt/τ))·(x − s). The first score after a reset passes unchanged. A NaN answers NaN and
    changes nothing; the next score then counts for the whole time since the last one that was seen.

    Args:
        time_constant_seconds: τ ≥ 0; 0 passes every score unchanged.
    """

    def __init__(self, time_constant_seconds: float) -> None:
        if not (math.isfinite(time_constant_seconds) and time_constant_seconds >= 0):
            raise ValueError(f"the time constant must be 0 (no smoothing) or more seconds, got {time_constant_seconds}")
        self._tau = time_constant_seconds
        self._state = math.nan
        self._seen_at = math.nan

    def update(self, score: float, pts_seconds: float) -> float:
        """Smoothed score of the frame at `pts_seconds`; NaN for NaN."""
        if self._tau == 0 or math.isnan(score):
            return score
        if math.isnan(self._state):
            self._state = score
        else:
            elapsed = max(pts_seconds - self._seen_at, 0.0)
            self._state += -math.expm1(-elapsed / self._tau) * (score - self._state)
        self._seen_at = pts_seconds
        return self._state

    def reset(self) -> None:
        """Forget the past (a new clip, a gap in the stream)."""
        self._state = math.nan
        self._seen_at = math.nan


def smooth(scores: npt.NDArray[np.float64], *, fps: float, time_constant_seconds: float) -> npt.NDArray[np.float64]:
    """(T,) scores of one clip, smoothed as `ExponentialSmoother` smooths frames at i/fps seconds."""
    if time_constant_seconds == 0:
        return scores
    smoother = ExponentialSmoother(time_constant_seconds)
    return np.array([smoother.update(float(s), i / fps) for i, s in enumerate(scores)], dtype=np.float64)
