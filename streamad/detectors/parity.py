"""Scores of frames from outputs alone, to compare engines by what they are for."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.base import detector_parts, load_part
from streamad.frame import CellBoxes
from streamad.preprocessing import ModelInput

Outputs = npt.NDArray[np.float32]


def scores_of(manifest: Manifest) -> Callable[[Outputs], npt.NDArray[np.float64]]:
    """From a batch of outputs to scores, by the detector's own scorer, without the median over time.

    A batch of cells is taken for one frame in which all of them move: one score. Whole frames and clips have one each.
    """
    build = load_part(detector_parts(manifest.detector).scorer)

    def score(outputs: Outputs) -> float:
        count = len(outputs)
        cells = manifest.tiling.kind == "cells"
        tiles = ModelInput(
            camera="parity",
            index=0,
            pts_seconds=0.0,
            received_at=0.0,
            batch=np.empty((count, 0, 0, 0), np.float32),
            cells=np.stack([np.zeros(count, np.intp), np.arange(count)], axis=1) if cells else None,
            boxes=CellBoxes.between((1, count), range(2), range(count + 1)),
        )
        return float(build(manifest, "parity").score(tiles, outputs).score)  # a fresh scorer: no median

    def scores(outputs: Outputs) -> npt.NDArray[np.float64]:
        if manifest.tiling.kind == "cells":
            return np.array([score(outputs)])
        return np.array([score(outputs[k : k + 1]) for k in range(len(outputs))])

    return scores
