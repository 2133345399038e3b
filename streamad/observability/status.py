"""The status document, which `/status` returns and the live page displays. `streamad.live` fills it."""

from __future__ import annotations

import math
from typing import Any, Literal, NotRequired

from typing_extensions import TypedDict  # pydantic needs it before Python 3.12

from streamad.writing import OutputStatus

CameraState = Literal["starting", "up", "overloaded", "stale", "backoff", "ended", "failed", "stopped"]
AlertLabel = Literal["none", "pending", "warning", "critical", "cooldown"]

RECENT_SCORES = 300
"""Maximum number of points in `CameraStatus.recent`."""


class EngineStatus(TypedDict):
    """The engine that runs the network, and the reason for that choice."""

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
    """Mean time in normal video between two alerts if the threshold were at this score.

    Keys:
        seconds: Mean duration of normal video between two such alerts; if `not_seen`, the length of the calibration
            video.
        at_most: The score is an everyday one, more frequent than the calibration counted.
        not_seen: The calibration video never reached the score.
        text: The same as a phrase: "once in 3 hours", "not seen in 7 hours".
    """

    seconds: float
    at_most: bool
    not_seen: bool
    text: str


class DriftStatus(TypedDict):
    """Whether the scores still follow the calibration.

    Keys:
        ratio: Share of recent frames above the calibration's 90 % quantile, divided by 10 %; None until 500 are
            scored (NaN before it is sent).
        drifted: Result of the last full window; None before the first.
        message: Description with advice if the scores have drifted.
    """

    ratio: float | None
    drifted: bool | None
    message: str | None


class EvidenceSourceStatus(TypedDict):
    """A camera's second stream, which clips are kept of (`evidence_source`).

    Keys:
        state: As the camera's; clips are made of it while it is "up".
        reason: Typed reason of the last failure; None while up.
        message: The same as text, without credentials.
        down_seconds: How long it has not been up; None while it is.
    """

    state: CameraState
    reason: str | None
    message: str | None
    down_seconds: float | None


class CameraStatus(TypedDict):
    """One camera.

    Keys:
        id: The camera's id.
        state: "starting", "up", "overloaded" (up, but the machine cannot keep up and drops frames), "stale" (connected,
            but no new frames), "backoff" (waiting to reconnect), "ended" (a file that was read to its end), "failed"
            (given up), "stopped" (by the operator).
        reason: Typed reason of the last failure ("auth", "timeout", ...); None while up.
        message: The same as text, without credentials.
        fps: Frames scored per second.
        frames: Frames received since the start.
        dropped: Frames dropped since the start, for all reasons.
        reconnects: Reconnects since the start.
        score: Newest score; None if it was skipped or the camera is not being watched.
        threshold: The threshold, on the same scale as the score.
        budget: What the threshold is set for, until enough was seen for the requested budget: "first day: at most 1
            false alert an hour; 1 a day after 7.67 hours more". None afterwards, and without a calibration.
        recurrence: How often normal video reaches the newest score; None without a score or calibration.
        foreign: Why the calibration may belong to another camera, so that the scores may not be meaningful; None if
            nothing suggests it.
        excess: Says so if there were far more alerts in the last hour than the threshold is set for; None otherwise,
            for files and without a calibration.
        alert: "none", "pending" (over the threshold, not yet long enough), "warning", "critical" or "cooldown".
        latency_seconds: Newest end-to-end latency, from decoded to scored.
        last_frame_at: Unix time of the newest frame.
        last_frame_seconds: Age of the newest frame, by a clock that is not affected by changes of the wall clock.
        recent: [pts_seconds, score | None] pairs, oldest first, at most 300.
        size: [width, height] in pixels.
        quality: Why frames are being rejected ("frozen", "moved", …); None while the picture is good.
        held: Number of frames rejected since the start, by reason.
        drift: See `DriftStatus`; None without a calibration.
        is_active: Whether it raises alerts now.
        schedule: Until when it raises none: "not active until 06:00"; None while it does.
        profile: The profile that is active; None if none is.
        learning: What its model has learned and when it will have learned more, or why it does not learn on; None for
            files, and where learning is turned off.
        evidence_source: See `EvidenceSourceStatus`; None if clips are kept of the stream that is watched, or none are.
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
    budget: str | None
    recurrence: ReturnPeriodStatus | None
    foreign: str | None
    excess: NotRequired[str | None]
    alert: AlertLabel
    latency_seconds: float | None
    last_frame_at: float | None
    last_frame_seconds: float | None
    recent: list[tuple[float, float | None]]
    size: tuple[int, int] | None
    quality: str | None
    held: dict[str, int]
    drift: DriftStatus | None
    is_active: bool
    schedule: str | None
    profile: str | None
    learning: NotRequired[str | None]
    evidence_source: NotRequired[EvidenceSourceStatus | None]


class EventsStatus(TypedDict):
    """The event store; `error` is None while it can be written."""

    total: int
    path: str | None
    error: str | None


class StatusDocument(TypedDict):
    """The whole document.

    Keys:
        started_at: Unix time of the start, by the current wall clock.
        uptime_seconds: By a clock that is not affected by changes of the wall clock.
        overloaded: Whether the machine cannot keep up with one or more cameras.
        engine: Engine of the first model; others may differ if their model cannot run in the same precision.
        models: The bundles in use, each once.
        outputs: Status of everything that is written besides watching.
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
    """Replace NaN and infinities in a JSON document by null, because JSON cannot represent them."""
    if isinstance(document, float):
        return document if math.isfinite(document) else None
    if isinstance(document, dict):
        return {key: finite(value) for key, value in document.items()}
    if isinstance(document, list | tuple):
        return [finite(value) for value in document]
    return document
