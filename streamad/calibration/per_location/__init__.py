"""Local calibration: a cell's score is held against what is normal at its place."""

from streamad.calibration.per_location.fit import fit_local
from streamad.calibration.per_location.samples import CellSamples, joined
from streamad.calibration.per_location.score import LocalScore
from streamad.calibration.per_location.spec import LocalSpec
from streamad.calibration.per_location.statistics import LocalStatistics, pooled

__all__ = ["CellSamples", "LocalScore", "LocalSpec", "LocalStatistics", "fit_local", "joined", "pooled"]
