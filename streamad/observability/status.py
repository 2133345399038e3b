"""The status document: what `/status` answers and the live page draws. `streamad.live` fills it."""

from __future__ import annotations

import math
from typing import Any, Literal, NotRequired, TypedDict

from streamad.writing import OutputStatus

CameraState = Literal["starting", "up", "overloaded", "stale", "backoff", "ended", "failed", "stopped"]
AlertLabel = Literal["none", "pending", "warning", "critical", "cooldown"]

RECENT_SCORES = 300
"""At most this many points in `CameraStatus.recent`."""


class EngineStatus(TypedDict):
    """What runs the network, and why that was taken."""

    name: str
    device: str
    precision: str
    why: str


class ModelStatus(TypedDict):
    """A model bundle in use."""

    name: str
    sha256: str
    detector: str


class ReturnPeriodStatus(TypedDict):
    """One alert in so much normal video, were the threshold at this score.

    Keys:
        seconds: normal video between two such alerts; where `not_seen`, the length of the calibration video.
        at_most: the score is an everyday one: more frequent than the calibration counted.
        not_seen: the calibration video never held a score as high.
        text: the same as a phrase: "once in 3 hours", "not seen in 7 hours".
    """

    seconds: float
    at_most: bool
    not_seen: bool
    text: str


class DriftStatus(TypedDict):
    """Do the scores still come from what was calibrated on?

    Keys:
        ratio: share of recent frames over the calibration's 90 % quantile, over 10 %; NaN until 500 are scored.
        drifted: what the last full window says; None before the first.
        message: in words, with what to do, where they have drifted.
    """

    ratio: float
    drifted: bool | None
    message: str | None


class CameraStatus(TypedDict):
    """One camera.

    Keys:
        id: the configured id.
        state: "starting", "up", "overloaded" (up, but the machine does not keep up and drops frames), "stale"
            (connected, but no new picture), "backoff" (waiting to reconnect), "ended" (a file that was read to its
            end), "failed" (given up), "stopped" (by the operator).
        reason: typed reason of the last failure ("auth", "timeout", ...), None while up.
        message: the same in words, without credentials.
        fps: frames scored per second.
        frames: frames received since the start.
        dropped: frames dropped since the start, all reasons.
        reconnects: reconnects since the start.
        score: newest score, None where skipped or where the camera is not watched now.
        threshold: the threshold, on the same scale as the score.
        recurrence: how often normal video holds a score as high as the newest; None without score or calibration.
        foreign: why the calibration may be another camera's, so that its scores mean little here; None where nothing
            says so.
        alert: "none", "pending" (over the threshold, not yet long enough), "warning", "critical" or
            "cooldown".
        latency_seconds: newest end-to-end latency, decoded to scored.
        last_frame_at: Unix time of the newest frame.
        last_frame_seconds: how long ago that was, by a clock that no step of the wall clock changes.
        recent: [pts_seconds, score | None] pairs, oldest first, at most 300.
        size: [width, height] in pixels.
        quality: why frames are held back now ("frozen", "moved", …), None while the picture is good.
        held: frames held back since the start, by reason.
        drift: see `DriftStatus`; None without a calibration.
    """

    id: str
    state: CameraState
    reason: str | None
    message: str | None
    fps: float
    frames: int
    dropped: int
    reconnects: int
    score: float | None
    threshold: float | None
    recurrence: ReturnPeriodStatus | None
    foreign: str | None
    alert: AlertLabel
    latency_seconds: float | None
    last_frame_at: float | None
    last_frame_seconds: float | None
    recent: list[tuple[float, float | None]]
    size: tuple[int, int] | None
    quality: str | None
    held: dict[str, int]
    drift: DriftStatus | None


class EventsStatus(TypedDict):
    """The event store: `error` is None while it can be written."""

    total: int
    path: str | None
    error: str | None


class StatusDocument(TypedDict):
    """The whole document.

    Keys:
        started_at: Unix time of the start, by the wall clock as it is now.
        uptime_seconds: by a clock that no step of the wall clock changes.
        overloaded: whether the machine does not keep up with one or more cameras.
        engine: of the first model; the others' may differ where a model cannot run in the same precision.
        models: the bundles in use, each once.
        outputs: what writes beside the watching.
    """

    version: str
    started_at: float
    uptime_seconds: float
    overloaded: bool
    engine: EngineStatus
    models: list[ModelStatus]
    cameras: list[CameraStatus]
    events: EventsStatus
    outputs: NotRequired[list[OutputStatus]]


def finite(document: Any) -> Any:
    """The same JSON document with NaN and infinities as null: JSON has no word for them."""
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, dict):
        return {key: finite(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [finite(value) for value in document]
    return document
