"""From frames to ALPS's scores; needs no torch."""

from __future__ import annotations

from streamad.detectors.cell_scorer import CellScorer


class AlpsScorer(CellScorer):
    """ALPS for one camera: the squared error of each moving cell's reconstruction from its perturbed latent."""
