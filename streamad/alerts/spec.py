"""The alerts' part of the configuration: when a score becomes an alert, and where events are kept."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from streamad.alerts.rule import AlertRule


class RuleSpec(BaseModel):
    """When a camera's score becomes an alert.

    The threshold itself is no setting: it comes from the calibration and its alert budget. The two relative
    values are fractions of the distance from the camera's normal score (the calibration's median) to the
    threshold, so they mean the same for every detector, whatever the scale or sign of its scores.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    min_duration_seconds: float = Field(
        0.5,
        ge=0,
        le=3600,
        description="an alert opens once the score has stayed over the threshold this long",
    )
    cooldown_seconds: float = Field(
        10.0,
        ge=0,
        le=86400,
        description="a rise this soon after an alert closed reopens that alert instead of raising a new one",
    )
    hysteresis: float = Field(
        0.2,
        ge=0,
        lt=1,
        description="an open alert closes under threshold - hysteresis x (threshold - normal median score)",
    )
    critical_margin: float | None = Field(
        None,
        gt=0,
        le=1000,
        description="critical from threshold + critical_margin x (threshold - normal median score); "
        "null: from the calibration's own critical score",
    )
    gap_seconds: float = Field(
        2.0, gt=0, le=3600, description="without a score for longer than this, an open alert is closed"
    )

    def build(self, camera: str, *, threshold: float, baseline: float, critical: float | None = None) -> AlertRule:
        """The rule for one camera.

        Args:
            camera: the configured id.
            threshold: the calibrated threshold, in units of the score.
            baseline: the camera's normal (median) score, same units. Where it is not under the threshold
                there is no distance to take fractions of: the alert then closes at the threshold, and only
                `critical` can make it critical.
            critical: the calibration's critical score; used where `critical_margin` is null.

        Raises:
            ValueError: threshold or baseline is not finite.
        """
        span = max(0.0, threshold - baseline)
        if self.critical_margin is not None and span > 0:
            critical = threshold + self.critical_margin * span
        return AlertRule(
            camera=camera,
            threshold=threshold,
            release=threshold - self.hysteresis * span,
            min_duration_seconds=self.min_duration_seconds,
            cooldown_seconds=self.cooldown_seconds,
            critical_threshold=None if critical is None else max(critical, threshold),
            gap_seconds=self.gap_seconds,
        )


class EventsSpec(BaseModel):
    """Where events are kept."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: Path = Field(Path("runs/events.sqlite"), description="the SQLite file that keeps the events")
    max_unsaved: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="events held in memory while the file cannot be written (about 1 KB each); beyond this "
        "the oldest are given up, counted and logged",
    )
