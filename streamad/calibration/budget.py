"""From a budget of false alerts to a threshold: apply the alert policy to recorded scores and extrapolate its rate.

This computes on arrays what `streamad.alerts.state_machine` does frame by frame; a test holds the two together. An
alert opens at the first frame whose *alert level* reaches the threshold and closes at the first later frame that scores
below `release`. If the score rises again within `cooldown_seconds`, it is still the same alert.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from streamad.calibration.gpd import (
    MAX_SHAPE,
    PRIOR_SHAPE_SD,
    excess_at,
    fit_shape,
    minus_log_survival,
    scale_of,
    shape_weight,
)
from streamad.calibration.policy import AlertPolicy, AlertPolicySpec
from streamad.errors import CalibrationError
from streamad.formatting import counted, number, span

Scores = npt.NDArray[np.float64]

SECONDS_A_DAY = 86_400.0

FIRST_DAY_ALERTS = 24.0
"""Budget in alerts a day, one an hour, that is set until enough was seen for a lower one …"""
REACH = 3.0
"""… which may have a period of this many times the video. One alert is then expected in three times what was watched: a
threshold between what was seen and little more, where the shape of the tail hardly matters. A day's period from ten
minutes of video is 144 times, and such thresholds were so high that no anomaly reached them."""

NEARLY = 1.01
"""One percent less video than that is enough: the first moment of each clip is missing from eight hours."""

_LEVELS = 96
"""Number of thresholds at which the alerts of the calibration video are counted."""
_CLUSTERS = (10, 100)
"""Fewest and most alerts that the tail is fitted to, if the video has that many …"""
_MOST_BLOCKS = 1 / 3
"""… but no more than this share of the cooldown-long blocks, because more would not be a tail."""
_PRIOR_CLUSTERS = 5
"""Weight, in alerts, of the frames' mean excess in the scale of the tail (see `fit_alert_curve`)."""
_INTERVAL_DRAWS = 4000
_CONTRADICTED_BELOW = 0.05  # expected alerts; see `AlertCurve.threshold`
_SLACK = 1e-6  # frames; far above rounding, far below a frame


def vouched_budget(alerts_per_day: float, exposure_seconds: float) -> float:
    """Return the lowest budget, in alerts a day, that may be set for a requested one after this much normal video.

    Args:
        alerts_per_day: The requested budget, > 0; never less than it is returned.
        exposure_seconds: Length of the video > 0.
    """
    vouched = min(FIRST_DAY_ALERTS, SECONDS_A_DAY / (REACH * exposure_seconds))
    return vouched if vouched > NEARLY * alerts_per_day else alerts_per_day


def seconds_to_budget(alerts_per_day: float, exposure_seconds: float) -> float:
    """Return how much more normal video `vouched_budget` needs for the requested budget, in seconds; 0: none."""
    if vouched_budget(alerts_per_day, exposure_seconds) <= alerts_per_day:
        return 0.0
    return SECONDS_A_DAY / (REACH * alerts_per_day) - exposure_seconds


def budget_words(alerts_per_day: float, vouched: float, missing_seconds: float) -> str:
    """Describe a budget: "1 false alert a day", "first day: at most 1 false alert an hour; 1 a day after 6 hours more".

    Args:
        alerts_per_day: The requested budget.
        vouched: The budget that is set now, alerts a day.
        missing_seconds: Normal video that the requested one needs.
    """
    if vouched <= alerts_per_day:
        return f"{counted(alerts_per_day, 'false alert')} a day"
    now = f"so far: at most {counted(float(f'{vouched:.2g}'), 'false alert')} a day"
    if vouched == FIRST_DAY_ALERTS:
        now = "first day: at most 1 false alert an hour"
    return f"{now}; {number(alerts_per_day)} a day after {span(missing_seconds)} more"


def sustained_score(scores: Scores, *, fps: float, min_duration_seconds: float, gap_seconds: float = 2.0) -> Scores:
    """Compute, for every frame of one clip, the lowest score of all frames with pts in [t − min_duration, t].

    Args:
        scores: (T,) raw scores; NaN = no score.
        fps: Frames per second; frame i has pts i/fps.
        min_duration_seconds: Length d of the window in seconds, both ends included.
        gap_seconds: A longer time than this between two scores restarts the history. Frames without a score in a
            shorter gap are skipped.

    Returns:
        (T,) float64. NaN if the frame itself has no score, and until the history covers the window (its first score has
        pts ≤ t − d).
    """
    # The slack makes 0.3 s · 10 fps = 2.9999… cover 3 frames.
    lag = min_duration_seconds * fps
    covered = math.ceil(lag - _SLACK)
    window = math.floor(lag + _SLACK) + 1
    sustained = np.full(len(scores), np.nan)
    for start, stop in _histories(scores, fps, gap_seconds):
        part = scores[start:stop]
        lowest = _running_minimum(np.where(np.isnan(part), np.inf, part), window)
        lowest[:covered] = np.nan
        lowest[np.isnan(part)] = np.nan
        sustained[start:stop] = lowest
    return sustained


def alert_level(scores: Scores, policy: AlertPolicy, *, fps: float) -> Scores:
    """Compute, for every frame of one clip, the highest threshold at which the policy would have an alert open.

    It is the score sustained for `min_duration_seconds` or, if that is more, the one sustained for
    `fast_duration_seconds`, whose height above the baseline counts 1 / `fast_margin` times. The two ways to an alert
    thus have one threshold and one budget.

    Args:
        scores: (T,) raw scores; NaN = no score.
        policy: Its durations, baseline, margin and gap count, not its threshold.
        fps: Frames per second; frame i has pts i/fps.

    Returns:
        (T,) float64, NaN where no alert can open yet.
    """

    def sustained(seconds: float) -> Scores:
        return sustained_score(scores, fps=fps, min_duration_seconds=seconds, gap_seconds=policy.gap_seconds)

    level = sustained(policy.min_duration_seconds)
    if policy.fast_margin is None:
        return level
    fast = sustained(policy.fast_duration_seconds)
    height = fast - policy.baseline
    return np.fmax(level, np.where(height > 0, policy.baseline + height / policy.fast_margin, fast))


def fast_margin(clips: Sequence[Scores], rules: AlertPolicySpec, *, fps: float, median: float) -> float | None:
    """Return how much farther the fast threshold is from the median than the threshold: as much as the highest score
    that normal video sustains for `fast_duration_seconds` exceeds the one that it sustains for `min_duration_seconds`.

    On the panel (docs/results/motion.md), thresholds that are extrapolated for each way, or taken at the second highest
    peak, find fewer events.

    Args:
        clips: (T,) raw scores of every clip; NaN = no score.
        rules: The two durations.
        fps: Frames per second of the scores.
        median: Median of all scores.

    Returns:
        The margin, 1 or more; None if the rules have one way only, or nothing is sustained above the median.
    """
    if not rules.has_fast_way:
        return None

    def highest(seconds: float) -> float:
        values = [
            sustained_score(clip, fps=fps, min_duration_seconds=seconds, gap_seconds=rules.gap_seconds)
            for clip in clips
        ]
        return max((float(np.nanmax(v)) for v in values if not np.isnan(v).all()), default=median) - median

    slow = highest(rules.min_duration_seconds)
    return max(1.0, highest(rules.fast_duration_seconds) / slow) if slow > 0 else None


def _histories(scores: Scores, fps: float, gap_seconds: float) -> list[tuple[int, int]]:
    """Return [start, stop) of the stretches of a clip without gaps; each begins and ends with a score."""
    scored = np.flatnonzero(~np.isnan(scores))
    if scored.size == 0:
        return []
    breaks = np.flatnonzero(np.diff(scored) > gap_seconds * fps + _SLACK)
    starts = scored[np.concatenate(([0], breaks + 1))]
    stops = scored[np.concatenate((breaks, [scored.size - 1]))] + 1
    return list(zip(starts.tolist(), stops.tolist(), strict=True))


def _running_minimum(values: Scores, window: int) -> Scores:
    """Minimum over the last `window` values (fewer at the start)."""
    lowest = values.copy()
    width = 1
    while width < window:  # doubling: the minimum over w + s values from two minima over w values
        step = min(width, window - width)
        if step >= lowest.size:
            # The window is longer than the array: every value is already the minimum of all values before it.
            break
        lowest[step:] = np.minimum(lowest[step:], lowest[:-step])
        width += step
    return lowest


def alert_peaks(clips: Sequence[tuple[Scores, Scores]], policy: AlertPolicy, *, fps: float) -> list[float]:
    """Apply an alert policy to recorded clips.

    Args:
        clips: (scores, `alert_level`) of every clip; each clip starts without history.
        policy: The alert policy.
        fps: Frames per second; frame i has pts i/fps.

    Returns:
        The highest level of every alert. A reopening within the cooldown belongs to the same alert.
    """
    cooldown = math.ceil(policy.cooldown_seconds * fps - _SLACK)
    peaks: list[float] = []
    for scores, level in clips:
        reached = np.flatnonzero(level >= policy.threshold)
        if reached.size == 0:
            continue
        closes = np.append(scores < policy.release, True)
        for _, stop in _histories(scores, fps, policy.gap_seconds):
            closes[stop] = True  # a gap closes an alert, too
        closing = np.flatnonzero(closes)
        closed = closing[np.searchsorted(closing, reached, side="right")]
        # Frames with the same close belong to one opening; openings less than a cooldown apart are one alert.
        first = np.flatnonzero(np.diff(closed, prepend=-1))
        is_new = np.ones(first.size, dtype=bool)
        is_new[1:] = reached[first[1:]] - closed[first[:-1]] >= cooldown
        peaks.extend(np.maximum.reduceat(level[reached], first[is_new]).tolist())
    return peaks


@dataclass(frozen=True)
class AlertCurve:
    """The number of alerts in the calibration video as a function of the threshold: counted, then extrapolated by a
    tail.

    Attributes:
        levels: Raw thresholds, strictly increasing; the tail begins at the last one.
        counts: Number of alerts in the whole video at these thresholds, strictly decreasing.
        tail_scale: Scale β > 0 of the generalized Pareto tail of the alerts' peaks above the last level, raw units.
        tail_shape: Shape ξ in [0, 1) of that tail.
        highest_peak: Highest alert level of the video, raw units.
        exposure_seconds: Time in which an alert could have opened (the alert level was defined).
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    levels: tuple[float, ...]
    counts: tuple[float, ...]
    tail_scale: float
    tail_shape: float
    highest_peak: float
    exposure_seconds: float

    def __post_init__(self) -> None:
        if not self.levels or len(self.levels) != len(self.counts):
            raise CalibrationError(
                "alert_curve.levels and alert_curve.counts must have the same length, at least 1, got "
                f"{len(self.levels)} and {len(self.counts)}"
            )
        if any(b <= a for a, b in zip(self.levels, self.levels[1:], strict=False)):
            raise CalibrationError("alert_curve.levels must increase strictly")
        if any(b >= a for a, b in zip(self.counts, self.counts[1:], strict=False)) or self.counts[-1] <= 0:
            raise CalibrationError("alert_curve.counts must be positive and decrease strictly")
        if not (self.tail_scale > 0 and 0 <= self.tail_shape < 1 and self.exposure_seconds > 0):
            raise CalibrationError(
                "alert_curve.tail_scale and exposure_seconds must be > 0 and tail_shape in [0, 1), got "
                f"{self.tail_scale}, {self.exposure_seconds} and {self.tail_shape}"
            )

    def expected(self, alerts_per_day: float) -> float:
        """Number of alerts in the calibration video that corresponds to a rate."""
        return alerts_per_day * self.exposure_seconds / SECONDS_A_DAY

    def threshold(self, expected: float) -> float:
        """Raw threshold that gives `expected` > 0 alerts in the calibration video.

        Below 1 expected alert, the threshold is extrapolated. The lowest level is returned if more alerts are requested
        than were counted there. Below 0.05 expected alerts (1 − e^−0.05 < 5 %), a threshold that the video itself
        reached would contradict the video, so the threshold is then at least one scale above the highest peak.
        """
        return self._threshold(expected, self.tail_scale, self.tail_shape)

    def expected_at(self, score: float) -> float:
        """Number of alerts in the calibration video with a threshold at this raw score: the inverse of `threshold`.

        Below the lowest level, the count at that level is returned.
        """
        if score > self.levels[-1]:
            minus_log = minus_log_survival(score - self.levels[-1], self.tail_scale, self.tail_shape)
            return max(self.counts[-1] * math.exp(-minus_log), 1e-300)
        return math.exp(float(np.interp(score, self.levels, np.log(self.counts))))

    def interval(self, expected: float) -> tuple[float, float]:
        """95 % interval of `threshold(expected)`.

        The interval is parametric, because most calibrations have too few clips for resampling: the number of alerts,
        the scale, and the shape of the tail are drawn from their sampling distributions (gamma, gamma, normal) with a
        fixed seed. It assumes that the family of the tail is right and that future days are like the video.
        """
        rng = np.random.default_rng(20_240)
        clusters = self.counts[-1]
        n = max(expected, clusters)
        rates = rng.gamma(n, 1.0 / n, _INTERVAL_DRAWS)
        scales = self.tail_scale / rng.gamma(
            clusters + _PRIOR_CLUSTERS, 1.0 / (clusters + _PRIOR_CLUSTERS), _INTERVAL_DRAWS
        )
        sd = PRIOR_SHAPE_SD * math.sqrt(1.0 - shape_weight(int(clusters)))  # of the posterior
        shapes = np.clip(rng.normal(self.tail_shape, sd, _INTERVAL_DRAWS), 0.0, MAX_SHAPE)
        mean = 1.0 - self.tail_shape
        draws = [
            # The data fix the mean excess: a heavier shape goes with a smaller scale.
            self._threshold(expected / rate, scale * (1.0 - shape) / mean, shape)
            for rate, scale, shape in zip(rates, scales, shapes, strict=True)
        ]
        low, high = np.quantile(draws, [0.025, 0.975])
        return float(low), float(high)

    def _threshold(self, expected: float, scale: float, shape: float) -> float:
        levels, counts = self.levels, self.counts
        if expected <= counts[-1]:
            fitted = levels[-1] + excess_at(math.log(counts[-1] / expected), scale, shape)
            return max(fitted, self.highest_peak + scale) if expected < _CONTRADICTED_BELOW else fitted
        if expected >= counts[0]:
            return levels[0]
        # Counts fall about exponentially with the level, so interpolate in their logarithm.
        return float(np.interp(-math.log(expected), -np.log(counts), levels))


def fit_alert_curve(
    clips: Sequence[Scores],
    rules: AlertPolicySpec,
    *,
    fps: float,
    median: float,
    fallback_scale: float,
    fast_margin: float | None = None,
    ceilings: Sequence[Scores] | None = None,
) -> AlertCurve:
    """Count alerts over a ladder of thresholds and fit the tail of their peaks.

    If the budget is met within the video, the count decides. Above the level that about a tenth of the cooldown-long
    blocks reach (10 to 100 alerts, fewer in short videos), the alert policy itself declusters the peaks, and their
    excesses are fitted (peaks over threshold: Davison & Smith 1990). Peaks of clusters and single frames have the same
    tail in the limit (Leadbetter 1983), so a few peaks can borrow from many frames: the mean excess of all alert
    levels over their 0.9 quantile counts as much as 5 peaks. The shape is shrunk toward 0 (see `gpd.fit_shape`).

    Args:
        clips: (T,) raw scores of every clip.
        rules: The alert policy without its threshold.
        fps: Frames per second of the scores.
        median: Median of all scores.
        fallback_scale: Scale > 0 to use if alert levels have no spread of their own.
        fast_margin: See `AlertPolicy`.
        ceilings: (T,) levels of every clip that frames of alerts count up to, NaN elsewhere (see `calibrate`). A peak
            at one of them is a censored observation: it is counted at all levels up to there, and the mean excess is
            the maximum-likelihood one of a censored exponential, the sum of all excesses over the number of those that
            are known.

    Raises:
        CalibrationError: No clip is long enough for an alert to open.
    """

    def policy_at(level: float) -> AlertPolicy:
        return rules.at(level, baseline=median, fast_margin=fast_margin)

    pairs, cut = [], set[float]()
    for clip, scores in enumerate(clips):
        reached = alert_level(scores, policy_at(median), fps=fps)
        if ceilings is not None:
            np.minimum(reached, ceilings[clip], out=reached, where=~np.isnan(ceilings[clip]))
            cut.update(reached[reached == ceilings[clip]].tolist())
        pairs.append((scores, reached))
    levels = np.sort(np.concatenate([reached[~np.isnan(reached)] for _, reached in pairs]))
    n = levels.size
    if n == 0:
        raise CalibrationError(
            f"cannot calibrate: no clip has {rules.min_duration_seconds:g} s of scored frames without a gap, "
            "so no alert could have opened",
            hint="use longer clips, or lower min_duration_seconds",
        )
    # Frames at or above a level, from the highest frame to the median.
    ranks = np.unique(np.geomspace(1, max(n // 2, 1), _LEVELS).round().astype(int))
    counted: list[tuple[float, int]] = []  # levels decreasing, alerts increasing
    for level in np.unique(levels[n - ranks])[::-1].tolist():
        alerts = len(alert_peaks(pairs, policy_at(level), fps=fps))
        # At lower levels, alerts merge into longer ones. Levels that give no more alerts are useless.
        if not counted or alerts > counted[-1][1]:
            counted.append((level, alerts))
    exposure = n / fps
    blocks = exposure / max(rules.cooldown_seconds, rules.min_duration_seconds, 1.0 / fps)
    wanted = min(max(round(blocks / 10), _CLUSTERS[0]), _CLUSTERS[1])
    wanted = min(wanted, max(round(blocks * _MOST_BLOCKS), 1))
    start = next((i for i, (_, alerts) in enumerate(counted) if alerts >= wanted), len(counted) - 1)
    level, _ = counted[start]
    peaks = np.array(alert_peaks(pairs, policy_at(level), fps=fps))
    is_known = ~np.isin(peaks, list(cut))
    shape = fit_shape(peaks[is_known] - level)
    frames = levels[~np.isin(levels, list(cut))]
    high = float(np.quantile(frames, 0.9)) if frames.size else level
    over = frames[frames > high] - high
    frame_excess = float(over.mean()) if over.size else fallback_scale
    mean = (float((peaks - level).sum()) + _PRIOR_CLUSTERS * frame_excess) / (int(is_known.sum()) + _PRIOR_CLUSTERS)
    kept = counted[start:][::-1]
    return AlertCurve(
        levels=tuple(level for level, _ in kept),
        counts=tuple(float(alerts) for _, alerts in kept),
        tail_scale=scale_of(mean, shape),
        tail_shape=shape,
        highest_peak=float(levels[-1]),
        exposure_seconds=exposure,
    )
