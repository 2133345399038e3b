"""AlertPolicy: when a score becomes an alert, resolved from its configuration and a calibration.

The same object decides in live watching, for files, in evaluation, and in the simulation that calibrates a budget of
false alerts. It is defined here, below `streamad.alerts`, because calibration simulates it; the state machine that
applies it frame by frame is `streamad.alerts.state_machine`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from streamad.errors import UsageError

if TYPE_CHECKING:
    from streamad.calibration.calibration import Calibration
    from streamad.calibration.per_location import PerLocationStatistics
    from streamad.calibration.return_period import ReturnPeriod


class AlertPolicySpec(BaseModel):
    """When a camera's score becomes an alert: the `rules` of the configuration.

    There are two ways to an alert: a score that stays high for a while, and one that is higher still for a moment.
    Neither threshold is a setting: both come from the calibration and its one alert budget. The two relative values are
    fractions of the distance from the camera's normal score (the calibration's median) to the threshold, so they mean
    the same for every detector, whatever the scale or sign of its scores.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_duration_seconds: float = Field(
        0.8,
        ge=0,
        le=3600,
        description="how long the score must stay at or over the threshold before an alert opens",
    )
    fast_duration_seconds: float = Field(
        0.12,
        ge=0,
        le=3600,
        description="how long it must stay at or over the higher, fast threshold, which calibration sets within the "
        "same budget; from min_duration_seconds on, there is no fast threshold",
    )
    cooldown_seconds: float = Field(
        10.0,
        ge=0,
        le=86400,
        description="a rise within this time after an alert closed reopens that alert instead of opening a new one",
    )
    hysteresis: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="an open alert ends below threshold - hysteresis x (threshold - normal median score)",
    )
    critical_margin: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="critical from threshold + critical_margin x (threshold - normal median score); "
        "null: from the calibration's own critical score",
    )
    gap_seconds: float = Field(
        2.0,
        gt=0,
        le=3600,
        description="an open alert closes after this long without a score, and when it ended this long ago",
    )

    @classmethod
    def of(cls, **values: float) -> AlertPolicySpec:
        """Build a spec from values that a user gave one by one.

        Raises:
            UsageError: A value is out of bounds.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            first = error.errors()[0]
            name = ".".join(map(str, first["loc"]))
            raise UsageError(f"{name}: {first['msg'].lower()}, got {first['input']}") from None

    def at(
        self,
        threshold: float,
        *,
        baseline: float,
        fast_margin: float | None = None,
        critical: float | None = None,
        calibration: Calibration | None = None,
        foreign: str | None = None,
    ) -> AlertPolicy:
        """Resolve the policy at a threshold.

        Args:
            threshold: Raw score from which a frame is anomalous.
            baseline: Raw score of a normal frame (the calibration's median). At or above the threshold, no fraction of
                the distance can be taken: the alert then closes at the threshold, and only `critical` can make it
                critical.
            fast_margin: Distance from the baseline to the fast threshold, relative to that to the threshold. Default:
                there is no fast threshold.
            critical: Raw score from which an alert is critical, used if `critical_margin` is null.
            calibration: The calibration that threshold and baseline come from. Default: the threshold was given by the
                user.
            foreign: Why the calibration may belong to another camera.

        Raises:
            ValueError: A value is not finite.
        """
        span = max(0.0, threshold - baseline)
        if self.critical_margin is not None and span > 0:
            critical = threshold + self.critical_margin * span
        return AlertPolicy(
            threshold=threshold,
            release=release_of(threshold, baseline, self.hysteresis),
            critical_threshold=None if critical is None else max(critical, threshold),
            baseline=baseline,
            min_duration_seconds=self.min_duration_seconds,
            fast_margin=fast_margin if self.has_fast_way else None,
            fast_duration_seconds=self.fast_duration_seconds,
            cooldown_seconds=self.cooldown_seconds,
            gap_seconds=self.gap_seconds,
            calibration=calibration,
            foreign=foreign,
        )

    @property
    def has_fast_way(self) -> bool:
        """Whether an alert may open after `fast_duration_seconds`."""
        return self.fast_duration_seconds < self.min_duration_seconds

    def of_calibration(self, calibration: Calibration, *, foreign: str | None = None) -> AlertPolicy:
        """Resolve the policy at a calibration's threshold."""
        return self.at(
            calibration.threshold,
            baseline=calibration.median,
            fast_margin=calibration.fast_margin,
            critical=calibration.critical,
            calibration=calibration,
            foreign=foreign,
        )


@dataclass(frozen=True, slots=True)
class AlertPolicy:
    """When a raw score becomes an alert, and how that score is displayed.

    Attributes:
        threshold: Raw score from which a frame is anomalous.
        release: Raw score below which an open alert closes; at most `threshold`.
        baseline: Raw score of a normal frame.
        critical_threshold: Peak from which an alert is critical; None: never.
        min_duration_seconds: How long the score must stay at or over the threshold; 0: one frame suffices.
        fast_margin: Distance from the baseline to the fast threshold, relative to that to the threshold, 1 or more;
            None: there is no fast threshold.
        fast_duration_seconds: How long the score must stay at or over the fast threshold.
        cooldown_seconds: How long after an alert's end a rise belongs to it.
        gap_seconds: A time between scored frames that is longer than this counts as a gap. An alert closes this long
            after its end, if the cooldown is longer.
        calibration: The calibration that threshold and baseline come from; None if the user gave the threshold.
        foreign: Why the calibration may belong to another camera; None if nothing suggests it.

    Raises:
        ValueError: A value is not finite or out of range.
    """

    threshold: float
    release: float
    baseline: float
    critical_threshold: float | None = None
    min_duration_seconds: float = 0.8
    fast_margin: float | None = None
    fast_duration_seconds: float = 0.12
    cooldown_seconds: float = 10.0
    gap_seconds: float = 2.0
    calibration: Calibration | None = None
    foreign: str | None = None

    def __post_init__(self) -> None:
        _require(math.isfinite(self.threshold), "threshold must be finite", self.threshold)
        _require(
            math.isfinite(self.release) and self.release <= self.threshold,
            f"release must be at most {self.threshold}",
            self.release,
        )
        for name in ("min_duration_seconds", "fast_duration_seconds", "cooldown_seconds"):
            value = getattr(self, name)
            _require(math.isfinite(value) and value >= 0, f"{name} must be 0 or more", value)
        _require(self.gap_seconds > 0, "gap_seconds must be more than 0", self.gap_seconds)
        if self.fast_margin is not None:
            _require(
                math.isfinite(self.fast_margin) and self.fast_margin >= 1,
                "fast_margin must be 1 or more",
                self.fast_margin,
            )
        if self.critical_threshold is not None:
            _require(
                self.critical_threshold >= self.threshold,
                f"critical_threshold must be {self.threshold} or more",
                self.critical_threshold,
            )

    @property
    def fast_threshold(self) -> float | None:
        """Raw score from which `fast_duration_seconds` suffice, at least `threshold`; None: no score."""
        if self.fast_margin is None:
            return None
        return max(self.threshold, self.baseline + self.fast_margin * (self.threshold - self.baseline))

    @property
    def per_location(self) -> PerLocationStatistics | None:
        """Statistics that every patch is scored relative to; None: scores are the model's own."""
        return None if self.calibration is None else self.calibration.local

    def display_score(self, score: float) -> float:
        """Convert a raw score to the displayed one.

        The displayed score is calibrated (−log10 of its share in normal video), or raw without a calibration.
        """
        return score if self.calibration is None else self.calibration.calibrated(score)

    def return_period(self, score: float) -> ReturnPeriod | None:
        """How often normal video reaches a raw score; None without a calibration or without a score."""
        return None if self.calibration is None else self.calibration.return_period(score)


def release_of(threshold: float, baseline: float, hysteresis: float) -> float:
    """Raw score below which an open alert closes: threshold − hysteresis·(threshold − baseline)."""
    return threshold - hysteresis * max(0.0, threshold - baseline)


def _require(holds: bool, expectation: str, value: float) -> None:
    if not holds:
        raise ValueError(f"{expectation}, got {value}")
