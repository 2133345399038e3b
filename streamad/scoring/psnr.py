"""PSNR: the score of reconstruction methods, before it is turned into an anomaly score."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

MAX_PSNR_DB = 100.0
"""Upper limit of a PSNR, dB. Chosen without measurement: a perfect reconstruction has no PSNR by the formula, and
100 dB is far above what 8-bit video can reach (rounding to 256 levels alone costs about 59 dB). The limit changes no
order that occurs, and keeps scores finite."""


def psnr(mse: npt.ArrayLike, peak: float = 1.0) -> npt.NDArray[np.float64]:
    """Peak signal-to-noise ratio P = 10·log10(M² / MSE), dB.

    Source: learned-noise paper, with its M = 1 although its pixels span [−1, 1]. The peak only shifts all scores, so it
    matters only if scores of two programs are compared. A bundle names its peak. A high PSNR means normal: a frame's
    anomaly score is −P.

    Args:
        mse: Mean squared errors, any shape, in squared units of `peak`; NaN gives NaN.
        peak: M, largest pixel value, > 0.

    Returns:
        Float64 array of the shape of `mse`, at most `MAX_PSNR_DB`, which an MSE of 0 gives. +inf gives −inf.

    Raises:
        ValueError: `peak` is not positive, or an MSE is negative.
    """
    if not (np.isfinite(peak) and peak > 0):
        raise ValueError(f"peak must be a positive finite number (1 in the learned-noise paper), got {peak}")
    errors = np.asarray(mse, dtype=np.float64)
    if np.any(errors < 0):
        raise ValueError(f"a mean squared error cannot be negative, got {errors[errors < 0].min()}")
    with np.errstate(divide="ignore"):
        decibels = 20.0 * np.log10(peak) - 10.0 * np.log10(errors)
    return np.asarray(np.minimum(decibels, MAX_PSNR_DB), dtype=np.float64)
