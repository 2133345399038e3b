"""Local calibration: a cell's score is held against what is normal at its place."""

from streamad.scoring.local.fit import fit_local
from streamad.scoring.local.samples import CellSamples, joined
from streamad.scoring.local.score import LocalScore
from streamad.scoring.local.spec import LocalSpec
from streamad.scoring.local.statistics import LocalStatistics, pooled

__all__ = ["CellSamples", "LocalScore", "LocalSpec", "LocalStatistics", "fit_local", "joined", "pooled"]
