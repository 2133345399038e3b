"""Drift: whether a camera's normal scores still follow the distribution that it was calibrated on.

Each score is converted to its exceedance p, the share of the calibration's frames that score at least as high. While
nothing has changed, p is uniform on (0, 1). Two means are tested: that of p itself (the body), and that of a ramp that
covers the highest fifth of frames. A third, over the highest fiftieth, is reported but not tested: high scores come in
bursts, of which an hour has only a few, and in simulations a test on those warned three times as often as specified.

Scores of neighboring frames are strongly correlated, so frames are not independent trials. Frames are averaged over
blocks of one minute, a window of one hour has sixty blocks, and the block means are compared with their expectation by
a t statistic (batch means, Conway 1963; to account for correlation between blocks, the largest scatter among batches of
one to six blocks is used). The calibration is itself a sample of so many blocks, and its sampling error is part of the
variance: a calibration on ten minutes does not cause warnings just because another hour differs a little. Windows do
not overlap. The significance level of a test is the accepted rate of false warnings divided by the number of windows in
a year and by the two means (Bonferroni). A change must be significant *and* large enough to matter.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from streamad.calibration.calibration import Calibration

YEAR_SECONDS = 365.25 * 86_400
RAMPS = (0.2, 0.02)
"""Exceedance below which the two ramps rise from 0 to 1."""
EXPECTED = np.array([0.5, RAMPS[0] / 2, RAMPS[1] / 2])

LEAST_BODY, LEAST_RATIO = 0.1, 1.5
"""Changes that matter: of the mean exceedance, and of the ramp as a factor."""
TESTED = 2

BATCHES = (1, 2, 3, 6)
"""Blocks per batch. If batches of any of these sizes scatter more than independent blocks would, there is correlation
over that time. The largest scatter is used, with the limit for the fewest batches."""

RATIO_FRAMES, RATIO_LEAST = 3000, 500
QUANTILES = (0.5, 0.9, 0.99)
"""Quantiles of the calibration whose running shares of frames are exported as metrics: over about 3000 frames,
available after 500."""


class DriftSpec(BaseModel):
    """When a camera's scores count as drifted."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    enabled: bool = Field(True, description="false: no warnings; the metric remains")
    window_minutes: float = Field(
        60.0, ge=1, le=10_080, description="length of scored video that is compared with the calibration at a time"
    )
    block_seconds: float = Field(
        60.0,
        ge=1,
        le=3600,
        description="scores are averaged over blocks of this length, because neighboring frames are correlated",
    )
    false_warnings_per_year: float = Field(
        4.0, gt=0, le=10_000, description="accepted number of warnings per year while nothing has changed"
    )

    @property
    def blocks(self) -> int:
        """Number of blocks in a window, at least 60: ten batches of six."""
        return max(60, round(60 * self.window_minutes / self.block_seconds))


@dataclass(frozen=True, slots=True)
class DriftReport:
    """The result for one window of scores.

    Attributes:
        has_drifted: The change is significant and large.
        mean_exceedance: Mean share of calibration frames that score at least as high. 0.5: unchanged; lower: scores are
            higher.
        high_ratio: Share of frames in the calibration's highest fifth, relative to the expected share.
        top_ratio: The same for the highest fiftieth.
        statistic: The larger of the two absolute t statistics.
        limit: The value that the statistic must exceed.
    """

    has_drifted: bool
    mean_exceedance: float
    high_ratio: float
    top_ratio: float
    statistic: float
    limit: float

    def __str__(self) -> str:
        """The result as a message with advice."""
        higher = self.high_ratio >= 1 if abs(self.high_ratio - 1) > 0.2 else self.mean_exceedance < 0.5
        what = "higher" if higher else "lower"
        result = "expect more false alerts than the budget" if higher else "anomalies may be missed"
        return (
            f"normal scores are {what} than when calibrated ({self.high_ratio:.2g} times as many in the highest fifth, "
            f"{self.top_ratio:.2g} in the highest fiftieth): {result}. Calibrate on the recent past: "
            "streamad calibrate MODEL --recent 24h"
        )


class DriftMonitor:
    """Monitors the scores of one camera.

    Args:
        calibration: The calibration to compare with.
        spec: Windows and the rate of false warnings.
    """

    def __init__(self, calibration: Calibration, spec: DriftSpec | None = None) -> None:
        self.spec = spec or DriftSpec()
        self._calibration = calibration
        self._levels = np.array([calibration.quantile(share) for share in QUANTILES])
        self._shares = np.zeros(len(QUANTILES))
        self._frames = 0
        self._block: list[float] = []
        self._block_from: float | None = None
        self._blocks: list[npt.NDArray[np.float64]] = []
        self.report: DriftReport | None = None
        """Report of the last full window."""

    @property
    def shares(self) -> dict[float, float]:
        """Share of recent frames above each of `QUANTILES` of the calibration; NaN until 500 frames are scored."""
        known = self._frames >= RATIO_LEAST
        return {q: float(share) if known else math.nan for q, share in zip(QUANTILES, self._shares, strict=True)}

    @property
    def ratio(self) -> float:
        """Share of recent frames above the calibration's 90 % quantile, divided by 10 %; NaN until 500 frames are
        scored.
        """
        return self.shares[0.9] / 0.1

    def update(self, pts_seconds: float, score: float) -> DriftReport | None:
        """Add the score of a normal frame (do not call it for frames of an alert or without a score).

        Returns:
            The report if this completes a window.
        """
        if not math.isfinite(score):
            return None
        self._frames += 1
        weight = max(1 / self._frames, 1 / RATIO_FRAMES)
        self._shares += weight * ((score > self._levels) - self._shares)
        if self._block_from is None or not 0 <= pts_seconds - self._block_from < 2 * self.spec.block_seconds:
            self._block_from, self._block = pts_seconds, []  # a new time base or a hole: discard the incomplete block
        elif pts_seconds - self._block_from >= self.spec.block_seconds:
            self._blocks.append(block_means(self._block))
            self._block_from, self._block = pts_seconds, []
        self._block.append(10 ** -self._calibration.calibrated(score))
        if len(self._blocks) < self.spec.blocks:
            return None
        known = self._calibration.duration_seconds / self.spec.block_seconds
        self.report = judge(np.stack(self._blocks), known_blocks=known, spec=self.spec)
        self._blocks = []
        return self.report


def block_means(exceedance: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """(3,) means of one block: of the exceedance and of the two ramps."""
    p = np.asarray(exceedance, dtype=np.float64)
    return np.array([p.mean(), *(np.maximum(0.0, 1.0 - p / ramp).mean() for ramp in RAMPS)])


def judge(blocks: npt.NDArray[np.float64], *, known_blocks: float, spec: DriftSpec) -> DriftReport:
    """Compare a window with the calibration.

    Args:
        blocks: (n, 3) means of its blocks in order, n ≥ 60.
        known_blocks: Number of blocks in the calibration's own video.
        spec: Windows and the rate of false warnings.
    """
    n = len(blocks)
    mean = blocks.mean(axis=0)
    variance = np.max([_variance_of_mean(blocks, size) for size in BATCHES], axis=0)
    # A window without bursts has a low mean and no scatter: use the scatter that the expected mean would have.
    variance[1:] *= np.maximum(1.0, EXPECTED[1:] / np.maximum(mean[1:], 1e-3))
    spread = np.sqrt(variance * (1.0 + n / max(known_blocks, 1e-9)))
    change = np.abs(mean - EXPECTED)
    statistic = np.divide(change, spread, out=np.where(change > 1e-9, np.inf, 0.0), where=spread > 0)
    limit = _t_limit(_level(spec, n), n // BATCHES[-1] - 1)
    ratios = mean[1:] / EXPECTED[1:]
    matters = np.array([change[0] >= LEAST_BODY, ratios[0] >= LEAST_RATIO or ratios[0] <= 1 / LEAST_RATIO])
    return DriftReport(
        has_drifted=bool(((statistic[:TESTED] > limit) & matters).any()),
        mean_exceedance=float(mean[0]),
        high_ratio=float(ratios[0]),
        top_ratio=float(ratios[1]),
        statistic=float(statistic[:TESTED].max()),
        limit=limit,
    )


def _variance_of_mean(blocks: npt.NDArray[np.float64], size: int) -> npt.NDArray[np.float64]:
    """(3,) variance of the mean of all blocks, estimated from the scatter of batches of `size` blocks."""
    count = len(blocks) // size
    batches = blocks[: count * size].reshape(count, size, -1).mean(axis=1)
    return np.asarray(batches.var(axis=0, ddof=1) / count, dtype=np.float64)


def _level(spec: DriftSpec, blocks: int) -> float:
    """Two-sided significance level of one test of a window."""
    windows = YEAR_SECONDS / (blocks * spec.block_seconds)
    return min(0.1, spec.false_warnings_per_year / windows / TESTED)


def _t_limit(level: float, degrees: int) -> float:
    """Two-sided quantile of Student's t from the normal quantile (Cornish-Fisher; within 2 % from 9 degrees on)."""
    z = NormalDist().inv_cdf(1 - level / 2)
    first = (z**3 + z) / 4
    second = (5 * z**5 + 16 * z**3 + 3 * z) / 96
    third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
    return z + first / degrees + second / degrees**2 + third / degrees**3
