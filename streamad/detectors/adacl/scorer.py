"""From frames to ADACL's scores; needs no torch."""

from __future__ import annotations

from streamad.detectors.cell_scorer import CellScorer


class AdaclScorer(CellScorer):
    """ADACL for one camera: the regressed label of each moving cell, unclipped (the papers clip it to [0, 1])."""
