"""Normalizers: from raw scores to scores that can be compared, by the names of the evaluation protocols."""

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
    """`running`: min-max over the frames so far, this one included; in [0, 1].

    While all scores so far are equal (the first always is) the answer is 0: nothing unusual has been seen. A
    new highest score answers 1, so early frames often do: a causal min-max is noisy until it has seen the
    usual range. −inf answers 0 and +inf 1; they do not enter the range.

    Args:
        warm_up: the first so many finite scores enter the range but answer NaN. 0 (the protocol's rule)
            scores all.
    """

    def __init__(self, warm_up: int = 0) -> None:
        if warm_up < 0:
            raise ValueError(f"warm_up must be 0 or more frames, got {warm_up}")
        self._warm_up = warm_up
        self._seen = 0
        self._low = math.inf
        self._high = -math.inf

    def update(self, score: float) -> float:
        """Place of the score in the range so far, 0..1."""
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

    It needs the video's future, so no live system can have it, and it flatters: a video without any anomaly
    still reaches 1. NaN stays NaN. −inf gives 0 and +inf 1, and neither enters the range. A video whose
    finite scores are all the same gives 0 for them.

    Args:
        scores: (T,) raw scores.

    Raises:
        ValueError: the scores are not 1-D.
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
        scores: one 1-D array a video, raw scores; NaN = no score.
        normalization: `raw` as they are; `per_video` min-max of each video; `running` causal min-max,
            starting afresh with each video; `calibrated` by `calibration`.
        calibration: for `calibrated`; None there means that the scores are calibrated already and pass
            unchanged.

    Returns:
        One float64 array a video, of its length.

    Raises:
        ValueError: an unknown name, a calibration with another name than `calibrated`, or scores that are not
            1-D.
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
