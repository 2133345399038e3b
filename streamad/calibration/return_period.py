"""Return period: how often normal video is expected to reach a score, which is what a score means to an operator."""

from __future__ import annotations

from dataclasses import dataclass

from streamad.calibration.budget import AlertCurve
from streamad.formatting import span


@dataclass(frozen=True)
class ReturnPeriod:
    """The mean time in normal video between two alerts if the threshold were at this score.

    Nothing is claimed that the calibration video did not show: a score that it never reached is "not seen" in its
    length, even if the fitted tail implies a much longer period.

    Attributes:
        seconds: Mean duration of normal video between two such alerts; if `not_seen`, the length of the calibration
            video.
        at_most: The score is below the lowest threshold at which alerts were counted, so it is even more frequent.
        not_seen: The calibration video never reached the score.
    """

    seconds: float
    at_most: bool
    not_seen: bool

    def __str__(self) -> str:
        """The period as a phrase: "once in 3 hours", "at least once in 12 s", "not seen in 7 hours"."""
        if self.not_seen:
            return f"not seen in {span(self.seconds)}"
        return f"at least once in {span(self.seconds)}" if self.at_most else f"once in {span(self.seconds)}"


def return_period_of(score: float, curve: AlertCurve) -> ReturnPeriod:
    """Compute the return period from the alerts that a threshold at this score would give, with duration and cooldown.

    Counting frames instead would turn a person who stands still for ten seconds into a hundred events.

    Args:
        score: Raw score, finite.
        curve: Alerts as a function of the threshold.
    """
    if score > curve.highest_peak:
        return ReturnPeriod(curve.exposure_seconds, at_most=False, not_seen=True)
    # Reached at least once, so not rarer than that, whatever the tail says.
    seconds = curve.exposure_seconds / max(curve.expected_at(score), 1.0)
    return ReturnPeriod(seconds, at_most=score < curve.levels[0], not_seen=False)
