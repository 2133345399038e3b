"""Normalizers: turn raw scores into comparable ones; named after the evaluation protocols."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from streamad.calibration.calibration import Calibration

Normalization = Literal["raw", "per_video", "running", "calibrated"]
NORMALIZATIONS: tuple[Normalization, ...] = get_args(Normalization)


class RunningNormalizer:
    """`running`: min-max over the frames so far, including the current one; in [0, 1].

    While all scores so far are equal, as at the first frame, the result is 0. A new highest score gives 1, which early
    frames often reach: a causal min-max is noisy until it has seen the usual range. −inf gives 0 and +inf gives 1;
    neither changes the range.

    Args:
        warm_up: Number of finite scores at the start that set the range but give NaN. 0, the protocol's rule, scores
            every frame.
    """

    def __init__(self, warm_up: int = 0) -> None:
        if warm_up < 0:
            raise ValueError(f"warm_up must be 0 or more frames, got {warm_up}")
        self._warm_up = warm_up
        self._seen = 0
        self._low = math.inf
        self._high = -math.inf

    def update(self, score: float) -> float:
        """Return the score's position in the range so far, 0..1."""
        if math.isnan(score):
            return math.nan
        if math.isfinite(score):
            self._seen += 1
            self._low = min(self._low, score)
            self._high = max(self._high, score)
        if self._seen <= self._warm_up:
            return math.nan
        if math.isinf(score):
            return 1.0 if score > 0 else 0.0
        if self._high == self._low:
            return 0.0
        return (score - self._low) / (self._high - self._low)

    def reset(self) -> None:
        """Forget the range."""
        self._seen = 0
        self._low = math.inf
        self._high = -math.inf


def per_video(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Min-max over one whole video; in [0, 1].

    It needs the whole video, so no live system can use it, and it flatters: a video without any anomaly still reaches
    1. NaN stays NaN. −inf gives 0 and +inf gives 1; neither changes the range. If all finite scores are equal, they
    give 0.

    Args:
        scores: (T,) raw scores.

    Raises:
        ValueError: The scores are not 1-D.
    """
    raw = np.asarray(scores, dtype=np.float64)
    if raw.ndim != 1:
        raise ValueError(f"per_video takes the 1-D scores of one video, got shape {raw.shape}")
    finite = raw[np.isfinite(raw)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 0.0)
    scaled = (raw - low) / (high - low) if high > low else np.where(np.isnan(raw), np.nan, 0.0)
    scaled = np.where(np.isposinf(raw), 1.0, np.where(np.isneginf(raw), 0.0, scaled))
    return np.asarray(scaled, dtype=np.float64)


def normalize(
    scores: Sequence[npt.ArrayLike], normalization: Normalization, calibration: Calibration | None = None
) -> list[npt.NDArray[np.float64]]:
    """Normalize the scores of a whole set of videos.

    Args:
        scores: Raw scores, one 1-D array per video; NaN: no score.
        normalization: `raw`: unchanged; `per_video`: min-max of each video; `running`: causal min-max, reset for each
            video; `calibrated`: by `calibration`.
        calibration: Calibration for `calibrated`; None: the scores are already calibrated and are returned unchanged.

    Returns:
        One float64 array per video, of the same length.

    Raises:
        ValueError: The normalization is unknown, a calibration is given for one other than `calibrated`, or the scores
            are not 1-D.
    """
    if normalization not in NORMALIZATIONS:
        raise ValueError(f"unknown normalization {normalization!r}; choose one of {', '.join(NORMALIZATIONS)}")
    if calibration is not None and normalization != "calibrated":
        raise ValueError(f"a calibration was given, but the normalization is {normalization!r}")
    videos = [np.array(video, dtype=np.float64) for video in scores]
    for number, video in enumerate(videos):
        if video.ndim != 1:
            raise ValueError(f"scores of video {number} must be 1-D, got shape {video.shape}")
    if normalization == "per_video":
        return [per_video(video) for video in videos]
    if normalization == "running":
        running = RunningNormalizer()
        normalized = []
        for video in videos:
            running.reset()
            normalized.append(np.array([running.update(s) for s in video.tolist()], dtype=np.float64))
        return normalized
    if normalization == "calibrated" and calibration is not None:
        return [calibration.calibrated_array(video) for video in videos]
    return videos
