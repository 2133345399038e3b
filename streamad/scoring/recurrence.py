"""How often normal video is expected to hold a score as high: what a score means to an operator."""

from __future__ import annotations

from dataclasses import dataclass

from streamad.scoring.budget import AlertCurve


@dataclass(frozen=True)
class Recurrence:
    """One alert in so much normal video, were the threshold at this score.

    Attributes:
        seconds: normal video between two such alerts, on average.
        at_most: the score is lower than the alerts of the calibration video were counted: it is more frequent still.
        extrapolated: longer than the calibration video, so a tail says it, not a count.
    """

    seconds: float
    at_most: bool
    extrapolated: bool

    def __str__(self) -> str:
        """In plain words: "once in 3 hours (beyond the calibration video)"."""
        words = f"at least once in {span(self.seconds)}" if self.at_most else f"once in {span(self.seconds)}"
        return f"{words} (beyond the calibration video)" if self.extrapolated else words


def recurrence_of(score: float, curve: AlertCurve, duration_seconds: float) -> Recurrence:
    """From the alerts that the rule would give at this threshold, its duration and cooldown included.

    A count of frames would call a person who stands there for ten seconds a hundred events.

    Args:
        score: raw, finite.
        curve: alerts against threshold.
        duration_seconds: of the calibration video.
    """
    seconds = curve.exposure_seconds / curve.expected_at(score)
    return Recurrence(seconds, score < curve.levels[0], seconds > duration_seconds)


def span(seconds: float) -> str:
    """A length of time in plain words: '64 s', '2.4 hours', '3 days'."""
    for unit, size in (("days", 86_400.0), ("hours", 3_600.0), ("minutes", 60.0)):
        if seconds >= 2 * size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds:.3g} s"
