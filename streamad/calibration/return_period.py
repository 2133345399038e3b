"""How often normal video is expected to hold a score as high: what a score means to an operator."""

from __future__ import annotations

from dataclasses import dataclass

from streamad.calibration.budget import AlertCurve
from streamad.formatting import span


@dataclass(frozen=True)
class ReturnPeriod:
    """One alert in so much normal video, were the threshold at this score.

    What the calibration video did not show is not claimed: a score that it never held was "not seen" in its length,
    however much longer the fitted tail would make it.

    Attributes:
        seconds: normal video between two such alerts, on average; where `not_seen`, the length of the calibration
            video.
        at_most: the score is below the lowest one at which alerts were counted: it is more frequent still.
        not_seen: the calibration video never held a score as high.
    """

    seconds: float
    at_most: bool
    not_seen: bool

    def __str__(self) -> str:
        """As a phrase: "once in 3 hours", "at least once in 12 s", "not seen in 7 hours"."""
        if self.not_seen:
            return f"not seen in {span(self.seconds)}"
        return f"at least once in {span(self.seconds)}" if self.at_most else f"once in {span(self.seconds)}"


def return_period_of(score: float, curve: AlertCurve) -> ReturnPeriod:
    """From the alerts that the rule would give at this threshold, its duration and cooldown included.

    A count of frames would call a person who stands there for ten seconds a hundred events.

    Args:
        score: raw, finite.
        curve: alerts against threshold.
    """
    if score > curve.highest_peak:
        return ReturnPeriod(curve.exposure_seconds, at_most=False, not_seen=True)
    # Held at least once, so no rarer than that, whatever the tail makes of it.
    seconds = curve.exposure_seconds / max(curve.expected_at(score), 1.0)
    return ReturnPeriod(seconds, at_most=score < curve.levels[0], not_seen=False)
