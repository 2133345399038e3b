"""Scores: their record, their normalisers, their calibration from normal video."""

from streamad.scoring.budget import AlertRule, alert_peaks, sustained_score
from streamad.scoring.calibrate import calibrate
from streamad.scoring.calibration import Calibration
from streamad.scoring.distribution import ScoreDistribution
from streamad.scoring.frame_score import FrameScore
from streamad.scoring.local import LocalScore, LocalSpec, LocalStatistics
from streamad.scoring.normalizers import (
    NORMALIZATIONS,
    Normalization,
    RunningNormalizer,
    normalize,
    per_video,
)
from streamad.scoring.psnr import psnr
from streamad.scoring.recurrence import Recurrence

__all__ = [
    "NORMALIZATIONS",
    "AlertRule",
    "Calibration",
    "FrameScore",
    "LocalScore",
    "LocalSpec",
    "LocalStatistics",
    "Normalization",
    "Recurrence",
    "RunningNormalizer",
    "ScoreDistribution",
    "alert_peaks",
    "calibrate",
    "normalize",
    "per_video",
    "psnr",
    "sustained_score",
]
