"""Local calibration: a cell's score is held against what is normal at its place."""

from streamad.calibration.per_location.fit import fit_local
from streamad.calibration.per_location.samples import CellSamples, joined
from streamad.calibration.per_location.score import PerLocationScore
from streamad.calibration.per_location.spec import PerLocationSpec
from streamad.calibration.per_location.statistics import PerLocationStatistics, pooled

__all__ = [
    "CellSamples",
    "PerLocationScore",
    "PerLocationSpec",
    "PerLocationStatistics",
    "fit_local",
    "joined",
    "pooled",
]
