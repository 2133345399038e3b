"""Calibration: a camera's normal scores, the alert threshold derived from them, and the calibration file."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict, InstanceOf, TypeAdapter, ValidationError

from streamad.calibration.budget import (
    NEARLY,
    REACH,
    SECONDS_A_DAY,
    AlertCurve,
    budget_words,
    seconds_to_budget,
    vouched_budget,
)
from streamad.calibration.distribution import ScoreDistribution
from streamad.calibration.per_location import PerLocationStatistics
from streamad.calibration.policy import AlertPolicySpec, release_of
from streamad.calibration.return_period import ReturnPeriod, return_period_of
from streamad.errors import CalibrationError, UsageError
from streamad.files import pending_path, read_json, write_json
from streamad.formatting import counted, number, span
from streamad.zones import ZoneList, zones_json

FORMAT = "streamad-calibration"
VERSION = 1

RULE_OF_THREE = 3.0
"""If no event occurs in a time T, up to 3/T events per unit of time are possible with 95 % confidence (−ln 0.05 ≈
3)."""

HIGHEST_LEVEL = 1.2
"""As long as the video does not support the budget, the threshold lies at most this many times as far above the
median as the highest alert level of the video. The tail of a few peaks reaches up to twice as far, where events are
missed. Of 1.0 to 1.3, the lowest with which no more false alerts were raised than with the highest
(docs/results/motion.md, "How far above normal video")."""

CRITICAL_RARITY = 10.0
"""A critical alert is expected this many times less often than the budget."""


@dataclass(frozen=True)
class Calibration:
    """Normal scores of one model on one camera, and the alert threshold for a budget of false alerts.

    All thresholds are raw scores. Created by `calibrate`, stored as JSON.

    Attributes:
        model: Name of the model that produced the scores.
        model_sha256: SHA-256 of that model, 64 hexadecimal digits.
        source: Description of the normal video; never a URL with a password.
        created: UTC time, ISO 8601.
        fps: Frames per second of the scores.
        frames: Number of frames with a score.
        unscored_frames: Number of frames without a score (NaN).
        clips: Number of clips with at least one score.
        duration_seconds: `frames` / `fps`.
        min_duration_seconds: How long every frame must reach the threshold before an alert opens.
        fast_duration_seconds: How long every frame must reach the fast threshold before one opens.
        fast_margin: Distance from the median to the fast threshold, relative to that to the threshold; None: there is
            no fast threshold.
        cooldown_seconds: How long after a close a rise reopens the alert.
        hysteresis: Fraction of the distance from the threshold to the median at which an alert closes, 0..1.
        median: Median score of normal frames.
        distribution: Distribution of the scores of normal frames; yields the calibrated score.
        alert_curve: Alerts in the calibration video as a function of the threshold, with its tail.
        alerts_per_day: The budget: the requested number of false alerts per day.
        vouched_alerts_per_day: The budget that the threshold is set for: the requested one, or a larger one until
            enough video was seen (`vouched_budget`).
        threshold: Score at which an alert opens.
        threshold_low: Lower end of the threshold's 95 % interval, at this fast margin.
        threshold_high: Upper end of that interval.
        release: Score below which an alert closes.
        critical: Score from which an alert is critical: reached ten times less often than the budget.
        extrapolation: The period of the vouched budget divided by the length of the video; above 1, the threshold is
            extrapolated.
        resolvable_alerts_per_day: The lowest rate that this much video supports (rule of three, 95 %).
        data_warnings: Warnings about the data.
        warnings: `data_warnings`, and warnings about this budget.
        local: Statistics of every cell of the picture, if the scores are per-location scores
            (`streamad.calibration.per_location`). All thresholds are then scores of `PerLocationScore`. Default: scores
            are the model's own.
        zones: The zones that the scores were made with; empty: the whole picture counted.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    model: str
    model_sha256: str
    source: str
    created: str
    fps: float
    frames: int
    unscored_frames: int
    clips: int
    duration_seconds: float
    min_duration_seconds: float
    fast_duration_seconds: float
    fast_margin: float | None
    cooldown_seconds: float
    hysteresis: float
    median: float
    distribution: ScoreDistribution
    alert_curve: AlertCurve
    alerts_per_day: float
    vouched_alerts_per_day: float
    threshold: float
    threshold_low: float
    threshold_high: float
    release: float
    critical: float
    extrapolation: float
    resolvable_alerts_per_day: float
    data_warnings: tuple[str, ...]
    warnings: tuple[str, ...]
    local: InstanceOf[PerLocationStatistics] | None = None
    zones: ZoneList = ()

    def __post_init__(self) -> None:
        for name in (
            "fps",
            "duration_seconds",
            "alerts_per_day",
            "vouched_alerts_per_day",
            "extrapolation",
            "resolvable_alerts_per_day",
        ):
            if not getattr(self, name) > 0:
                raise CalibrationError(f"{name} must be > 0, got {getattr(self, name)}")
        for name in ("min_duration_seconds", "fast_duration_seconds", "cooldown_seconds", "unscored_frames"):
            if not getattr(self, name) >= 0:
                raise CalibrationError(f"{name} must be >= 0, got {getattr(self, name)}")
        if self.fast_margin is not None and not self.fast_margin >= 1:
            raise CalibrationError(f"fast_margin must be >= 1, got {self.fast_margin}")
        if not 0 <= self.hysteresis <= 1:
            raise CalibrationError(f"hysteresis must lie in 0..1, got {self.hysteresis}")
        if not self.release <= self.threshold < self.critical:
            raise CalibrationError(
                f"release <= threshold < critical must hold, got {self.release}, {self.threshold} and {self.critical}"
            )
        if not re.fullmatch(r"[0-9a-f]{64}", self.model_sha256):
            raise CalibrationError(f"model_sha256 must be 64 lower-case hexadecimal digits, got {self.model_sha256!r}")

    def calibrated(self, score: float) -> float:
        """Calibrated score −log10(p) of one raw score; see `ScoreDistribution.calibrated`."""
        return self.distribution.calibrated(score)

    @property
    def rules(self) -> AlertPolicySpec:
        """The alert policy that this is the calibration for."""
        return AlertPolicySpec(
            min_duration_seconds=self.min_duration_seconds,
            fast_duration_seconds=self.fast_duration_seconds,
            cooldown_seconds=self.cooldown_seconds,
            hysteresis=self.hysteresis,
        )

    @property
    def shown_threshold(self) -> float:
        """The threshold as displayed everywhere: as a calibrated score."""
        return self.calibrated(self.threshold)

    @property
    def summary(self) -> str:
        """The threshold as a calibrated score, with its budget: "threshold 4.99 for 1 false alert a day"."""
        return f"threshold {number(self.shown_threshold)}{', ' if self.seconds_to_budget else ' for '}{self.budget}"

    @property
    def seconds_to_budget(self) -> float:
        """Normal video that is missing for the requested budget, seconds; 0 if the threshold is set for it."""
        if self.vouched_alerts_per_day <= self.alerts_per_day:
            return 0.0
        return seconds_to_budget(self.alerts_per_day, self.alert_curve.exposure_seconds)

    @property
    def budget(self) -> str:
        """What the threshold is set for, and when the requested budget will be reached: "1 false alert a day",
        "first day: at most 1 false alert an hour; 1 a day after 7.67 hours more".
        """
        return budget_words(self.alerts_per_day, self.vouched_alerts_per_day, self.seconds_to_budget)

    def calibrated_array(self, scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """`calibrated` for an array of any shape."""
        return self.distribution.calibrated_array(scores)

    def return_period(self, score: float) -> ReturnPeriod | None:
        """How often normal video reaches this score; None for NaN and +inf."""
        return return_period_of(score, self.alert_curve) if np.isfinite(score) else None

    def quantile(self, share: float) -> float:
        """Raw score that this share (0..1) of normal frames stays below."""
        return self.distribution.quantile(share)

    def with_budget(self, alerts_per_day: float) -> Calibration:
        """Return the same calibration with the threshold for another budget; no video is scored again.

        Raises:
            UsageError: The budget is not a positive finite number.
        """
        return replace(
            self,
            **decide(
                self.alert_curve,
                alerts_per_day=alerts_per_day,
                median=self.median,
                hysteresis=self.hysteresis,
                frames=self.frames,
                duration_seconds=self.duration_seconds,
                data_warnings=self.data_warnings,
            ),
        )

    def require_model(self, sha256: str) -> None:
        """Check that this calibration belongs to the model with this hash.

        Raises:
            CalibrationError: It belongs to another model.
        """
        if sha256.lower() != self.model_sha256:
            raise CalibrationError(
                f"the calibration belongs to model {self.model!r} with sha256 {self.model_sha256[:12]}…, "
                f"not to this model with sha256 {sha256[:12]}…: its threshold is meaningless here",
                hint="calibrate this model: streamad calibrate",
            )

    def to_json(self, local_file: str | None = None) -> dict[str, Any]:
        """Convert the calibration to a JSON document.

        Args:
            local_file: Name of the file with the per-location statistics; the document stores its hash.
        """
        document: dict[str, Any] = json.loads(json.dumps(asdict(replace(self, local=None, zones=())), allow_nan=False))
        # Files without statistics or zones stay as they were before these existed.
        del document["local"], document["zones"]
        if self.zones:
            document["zones"] = zones_json(self.zones)
        if self.local is not None and local_file is not None:
            document["local"] = {"file": local_file, "sha256": self.local.sha256}
        return {"format": FORMAT, "version": VERSION, **document}

    @classmethod
    def from_json(cls, document: Any, *, name: str = "calibration", folder: Path | None = None) -> Calibration:
        """Read a JSON document.

        Args:
            document: The result of `json.loads`.
            name: Name of the file, for messages.
            folder: Folder of the file with the per-location statistics, if there are any.

        A document of streamad 0.2 states one budget, for which its threshold is set, and has no fast threshold.

        Raises:
            CalibrationError: The document is not a calibration, has another version, or has a missing, unknown, or
                invalid key; names file and key.
        """
        if not isinstance(document, dict) or document.get("format") != FORMAT:
            raise CalibrationError(
                f"{name} is not a calibration: key 'format' must be {FORMAT!r}",
                hint="create one with: streamad calibrate",
            )
        version = document.get("version")
        if version != VERSION:
            newer = isinstance(version, int) and version > VERSION
            raise CalibrationError(
                f"{name}: key 'version' is {version!r}, only version {VERSION} is supported",
                hint="update streamad" if newer else "calibrate again: streamad calibrate",
            )
        body = {key: value for key, value in document.items() if key not in ("format", "version", "local")}
        if "alerts_per_day" in body:
            body.setdefault("vouched_alerts_per_day", body["alerts_per_day"])
        if "min_duration_seconds" in body:
            body = {"fast_duration_seconds": body["min_duration_seconds"], "fast_margin": None, **body}
        local = _local_of(document["local"], name, folder) if "local" in document else None
        try:
            return replace(_ADAPTER.validate_json(json.dumps(body), strict=True), local=local)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in first["loc"]) or "(document)"
            raise CalibrationError(
                f"{name}: key {key!r}: {first['msg']}", hint="calibrate again: streamad calibrate"
            ) from error

    @classmethod
    def load(cls, path: Path) -> Calibration:
        """Read a file written by `save`.

        Raises:
            CalibrationError: The file is missing, unreadable, not JSON, or not a calibration.
        """
        try:
            document = read_json(path)
        except OSError as error:
            raise CalibrationError(
                f"cannot read the calibration {path}: {error.strerror or error}",
                hint="create one with: streamad calibrate",
            ) from error
        except ValueError as error:  # not JSON, not UTF-8, or too large
            raise CalibrationError(
                f"{path} is not a JSON document: {error}", hint="calibrate again: streamad calibrate"
            ) from error
        return cls.from_json(document, name=str(path), folder=path.parent)

    def save(self, path: Path, announce: Callable[[Path, Collection[str]], None] | None = None) -> None:
        """Write the calibration as JSON, atomically; per-location statistics are stored beside it as NAME.local.npz.

        Statistics that replace others are stored as NAME.local.2.npz, and vice versa. The JSON document names its file,
        so the two match at every moment.

        Args:
            path: The file.
            announce: Called when everything is written, before the new file replaces the old one, with the temporary
                path of the new file and the names of the files beside it that will be removed.

        Raises:
            OutputError: The file cannot be written.
        """
        names = local_paths(path)
        beside = names[0]
        if self.local is not None:
            file, sha256 = _local_reference(path)
            is_other = sha256 != self.local.sha256
            beside = names[1] if (file == names[0].name) == is_other else names[0]
            self.local.save(beside)
        old = [
            name for name in names if self.local is None or name != beside
        ]  # from an earlier calibration of this name
        pending = path if announce is None else pending_path(path)
        write_json(pending, self.to_json(beside.name))
        if announce is not None:
            announce(pending, [name.name for name in old])
            pending.replace(path)
        for name in old:
            name.unlink(missing_ok=True)


def local_paths(path: Path) -> tuple[Path, Path]:
    """The possible files of the per-location statistics of the calibration at `path`; one is in use at a time."""
    return path.with_name(f"{path.stem}.local.npz"), path.with_name(f"{path.stem}.local.2.npz")


def _local_reference(path: Path) -> tuple[str | None, str | None]:
    """File and hash of the statistics that the calibration at `path` refers to; None if it has none."""
    try:
        reference = read_json(path)["local"]
        return str(reference["file"]), str(reference["sha256"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, None


def _local_of(reference: Any, name: str, folder: Path | None) -> PerLocationStatistics:
    if not isinstance(reference, dict) or not {"file", "sha256"} <= reference.keys():
        raise CalibrationError(f"{name}: key 'local' must name a file and its sha256", hint="calibrate again")
    file = str(reference["file"])
    if folder is None or Path(file).name != file:
        raise CalibrationError(
            f"{name}: its per-location statistics {file!r} must be in the same folder", hint="calibrate again"
        )
    local = PerLocationStatistics.load(folder / file)
    if local.sha256 != reference["sha256"]:
        raise CalibrationError(
            f"{folder / file} does not belong to {name}, whose threshold is meaningless with other statistics",
            hint="keep the two files of a calibration together, or calibrate again: streamad calibrate",
        )
    return local


_ADAPTER = TypeAdapter(Calibration)


def decide(
    curve: AlertCurve,
    *,
    alerts_per_day: float,
    median: float,
    hysteresis: float,
    frames: int,
    duration_seconds: float,
    data_warnings: tuple[str, ...],
) -> dict[str, Any]:
    """Compute the fields of a `Calibration` that depend on the budget.

    Raises:
        UsageError: The budget is not a positive finite number.
    """
    if not (np.isfinite(alerts_per_day) and alerts_per_day > 0):
        raise UsageError(
            f"alerts_per_day must be a positive number, got {alerts_per_day}",
            hint="1 means one false alert per day, 0.14 one per week",
        )
    vouched = vouched_budget(alerts_per_day, curve.exposure_seconds)
    expected = curve.expected(vouched)
    is_held = NEARLY * expected < 1 / REACH and curve.highest_peak > median
    highest = median + HIGHEST_LEVEL * (curve.highest_peak - median) if is_held else np.inf
    fitted = curve.threshold(expected)
    threshold = min(fitted, highest)
    low, high = curve.interval(expected)
    rarer = curve.threshold(expected / CRITICAL_RARITY)
    warnings = _budget_warnings(curve, alerts_per_day, vouched, frames, duration_seconds)
    if fitted > highest:
        warnings += (
            f"the threshold is held at {HIGHEST_LEVEL:g} times the height of the highest normal score; the budget "
            "would take a higher one: expect more false alerts",
        )
    return {
        "alerts_per_day": float(alerts_per_day),
        "vouched_alerts_per_day": float(vouched),
        "threshold": threshold,
        "threshold_low": min(low, threshold),
        "threshold_high": max(min(high, highest), threshold),
        "release": release_of(threshold, median, hysteresis),
        "critical": rarer if rarer > threshold else threshold + curve.tail_scale,
        "extrapolation": 1.0 / expected,
        "resolvable_alerts_per_day": RULE_OF_THREE / curve.expected(1.0),
        "data_warnings": data_warnings,
        "warnings": (*data_warnings, *warnings),
    }


def _budget_warnings(
    curve: AlertCurve, alerts_per_day: float, vouched: float, frames: int, duration_seconds: float
) -> tuple[str, ...]:
    rests = f"the threshold rests on {counted(frames, 'frame')} = {span(duration_seconds)} of normal video"
    extrapolation = 1.0 / curve.expected(vouched)
    if extrapolation > 1:
        rests += f", extrapolated {number(extrapolation)}-fold"
    if vouched > alerts_per_day:
        missing = seconds_to_budget(alerts_per_day, curve.exposure_seconds)
        return (f"{rests}; {budget_words(alerts_per_day, vouched, missing)}",)
    budget = f"{counted(alerts_per_day, 'alert')} a day"
    missing = RULE_OF_THREE * SECONDS_A_DAY / alerts_per_day - curve.exposure_seconds
    if missing > 0:
        return (f"{rests}; {span(missing)} more would support {budget} (95 %)",)
    if curve.expected(alerts_per_day) > curve.counts[0]:
        most = curve.counts[0] / curve.exposure_seconds * SECONDS_A_DAY
        return (
            f"{budget} is more than this video gives at any threshold ({counted(most, 'alert')} a day): "
            "the threshold is the lowest one that was tried",
        )
    return ()
