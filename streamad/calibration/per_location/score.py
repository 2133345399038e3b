"""PerLocationScore: from heat maps to one score a frame, causal."""

from __future__ import annotations

from collections import deque
from statistics import median

import numpy as np
import numpy.typing as npt

from streamad.calibration.per_location.statistics import PerLocationStatistics


class PerLocationScore:
    """The frame's score of one camera: mean evidence of its highest cells, then a causal median.

    Args:
        statistics: of the camera's normal video.
    """

    def __init__(self, statistics: PerLocationStatistics) -> None:
        self.statistics = statistics
        self._recent: deque[float] = deque(maxlen=statistics.spec.median_frames)

    def update(self, anomaly_map: npt.NDArray[np.float32]) -> tuple[float, npt.NDArray[np.float32]]:
        """The next frame's score (≥ 0), and its (rows, cols) evidence: see `PerLocationStatistics.evidence`."""
        evidence = self.statistics.evidence(anomaly_map)
        self._recent.append(highest(evidence, self.statistics.spec.share))
        return float(median(self._recent)), evidence

    def reset(self) -> None:
        """Forget the frames before."""
        self._recent.clear()


def highest(evidence: npt.NDArray[np.float32], share: float) -> float:
    """Mean of the highest `share` of all cells; where fewer were scored, the missing count as 0: nothing unusual."""
    cells = max(1, round(share * evidence.size))
    known = evidence[np.isfinite(evidence)]
    if known.size > cells:
        known = np.partition(known, known.size - cells)[-cells:]
    return float(known.sum()) / cells
