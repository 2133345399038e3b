"""Calibration: from the scores of normal video to a threshold that meets a budget of false alerts."""

from streamad.calibration.budget import AlertCurve, alert_peaks, sustained_score
from streamad.calibration.calibrate import calibrate, calibrate_bundle
from streamad.calibration.calibration import Calibration
from streamad.calibration.distribution import ScoreDistribution
from streamad.calibration.drift import DriftMonitor, DriftReport, DriftSpec
from streamad.calibration.per_location import PerLocationScore, PerLocationSpec, PerLocationStatistics
from streamad.calibration.per_location_fit import CellSamples, fit_per_location
from streamad.calibration.policy import AlertPolicy, AlertPolicySpec
from streamad.calibration.return_period import ReturnPeriod

__all__ = [
    "AlertCurve",
    "AlertPolicy",
    "AlertPolicySpec",
    "Calibration",
    "CellSamples",
    "DriftMonitor",
    "DriftReport",
    "DriftSpec",
    "PerLocationScore",
    "PerLocationSpec",
    "PerLocationStatistics",
    "ReturnPeriod",
    "ScoreDistribution",
    "alert_peaks",
    "calibrate",
    "calibrate_bundle",
    "fit_per_location",
    "sustained_score",
]
