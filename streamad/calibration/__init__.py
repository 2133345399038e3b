"""Calibration: from the scores of normal video to a threshold that keeps a budget of false alerts."""

from streamad.calibration.budget import alert_peaks, sustained_score
from streamad.calibration.calibrate import calibrate
from streamad.calibration.calibration import Calibration
from streamad.calibration.distribution import ScoreDistribution
from streamad.calibration.per_location import PerLocationScore, PerLocationSpec, PerLocationStatistics
from streamad.calibration.policy import AlertPolicy, AlertPolicySpec
from streamad.calibration.return_period import ReturnPeriod

__all__ = [
    "AlertPolicy",
    "AlertPolicySpec",
    "Calibration",
    "PerLocationScore",
    "PerLocationSpec",
    "PerLocationStatistics",
    "ReturnPeriod",
    "ScoreDistribution",
    "alert_peaks",
    "calibrate",
    "sustained_score",
]
