"""EventTracker: turns the scores of one camera into events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from streamad.alerts.event import Event, EventKind, EventState, new_event_id
from streamad.alerts.state_machine import (
    PROGRESS_SECONDS,
    AlertState,
    AlertStateMachine,
    AlertTransition,
    TransitionReason,
)
from streamad.calibration.policy import AlertPolicy
from streamad.frame import LocationBoxes
from streamad.scoring import FrameScore

Cell = tuple[int, int]
Box = tuple[int, int, int, int]


def utc_now() -> datetime:
    """The current wall-clock time, timezone-aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class EventChange:
    """An event and what happened to it: what is saved in a store and passed to sinks."""

    event: Event
    kind: EventKind

    @property
    def is_progress(self) -> bool:
        """Whether the event is merely still open: worth saving, but not worth a notification."""
        return self.event.reason == "progress"


class EventTracker:
    """Turns the scores of one camera into events.

    An event's `peak_score` and `threshold` are on the display scale, like the page, the metrics, and the files; the
    policy decides on raw scores.

    Args:
        policy: When a score becomes an alert.
        camera: The camera's id.
        model: Name of the model bundle.
        model_sha256: SHA-256 of its weights.
        wall_clock: Returns timezone-aware datetimes. They are only labels: every decision follows `pts_seconds`.
        progress_seconds: An open event reports its progress this often.
        zone_of: Names the zone of a location (row, col), None if it is in none. Default: there are no zones.
    """

    def __init__(
        self,
        policy: AlertPolicy,
        camera: str,
        *,
        model: str,
        model_sha256: str,
        wall_clock: Callable[[], datetime] = utc_now,
        progress_seconds: float = PROGRESS_SECONDS,
        zone_of: Callable[[LocationBoxes, Cell], str | None] | None = None,
    ) -> None:
        self._machine = AlertStateMachine(policy, camera, progress_seconds=progress_seconds)
        self._model = model
        self._model_sha256 = model_sha256
        self._wall_clock = wall_clock
        self._event: Event | None = None
        self._newest_pts = 0.0
        self._peak_index: int | None = None
        self._zone_of = zone_of
        self._peak_of: tuple[Cell | None, Box | None, str | None, str | None] = (None, None, None, None)

    @property
    def policy(self) -> AlertPolicy:
        """When a score becomes an alert; may be replaced while `state` is "idle"."""
        return self._machine.policy

    @policy.setter
    def policy(self, policy: AlertPolicy) -> None:
        self._machine.policy = policy

    @property
    def state(self) -> AlertState:
        """State of the alert after the newest frame."""
        return self._machine.state

    @property
    def open_event(self) -> Event | None:
        """The currently open event, as last reported."""
        return self._event if self._event is not None and self._event.state == "open" else None

    def use_model(self, model: str, sha256: str) -> None:
        """State another model in the events from now on."""
        self._model, self._model_sha256 = model, sha256

    def update(self, score: FrameScore) -> EventChange | None:
        """Process the score of the next frame; the threshold applies to its raw score."""
        transition = self._machine.update(score.index, score.pts_seconds, score.score)
        self._newest_pts = score.pts_seconds
        if self._machine.peak_index == score.index:
            cell = score.peak
            box = score.region
            if box is None and cell is not None and score.boxes is not None:
                box = score.boxes.box(*cell)
            zone = None
            if self._zone_of is not None and cell is not None and score.boxes is not None:
                zone = self._zone_of(score.boxes, cell)
            self._peak_index, self._peak_of = score.index, (cell, box, score.reason, zone)
        return self._change(transition)

    def gap(self) -> EventChange | None:
        """Process a break of the stream."""
        return self._change(self._machine.gap())

    def finish(self, reason: TransitionReason = "end") -> EventChange | None:
        """Process the end of the stream, or of the watch."""
        return self._change(self._machine.finish(reason))

    def _change(self, transition: AlertTransition | None) -> EventChange | None:
        if transition is None:
            return None
        now = self._wall_clock()
        event = self._opened(transition, now) if transition.kind == "opened" else self._event
        assert event is not None
        cell, box, explanation, zone = event.cell, event.box, event.explanation, event.zone
        if transition.peak_index == self._peak_index:
            cell, box, explanation, zone = self._peak_of
        is_closed = transition.kind == "closed"
        # An alert that falls below the release closes a while after its end.
        since_end = max(0.0, self._newest_pts - transition.pts_seconds) if transition.reason == "score" else 0.0
        state: EventState = "closed" if is_closed else "open"
        self._event = replace(
            event,
            state=state,
            severity=transition.severity,
            updated_index=transition.index,
            updated_pts_seconds=transition.pts_seconds,
            updated_at=now,
            ended_index=transition.index if is_closed else None,
            ended_pts_seconds=transition.pts_seconds if is_closed else None,
            ended_at=now - timedelta(seconds=since_end) if is_closed else None,
            peak_score=self.policy.display_score(transition.peak_score),
            peak_index=transition.peak_index,
            peak_pts_seconds=transition.peak_pts_seconds,
            cell=cell,
            box=box,
            reason=transition.reason,
            explanation=explanation,
            zone=zone,
        )
        return EventChange(self._event, transition.kind)

    def _opened(self, transition: AlertTransition, now: datetime) -> Event:
        # The run began before the alert was raised; the presentation times say how long before.
        lead = timedelta(seconds=transition.pts_seconds - transition.started_pts_seconds)
        return Event(
            id=new_event_id(now),
            camera=transition.camera,
            state="open",
            severity=transition.severity,
            started_index=transition.started_index,
            started_pts_seconds=transition.started_pts_seconds,
            started_at=now - lead,
            raised_index=transition.raised_index,
            raised_pts_seconds=transition.raised_pts_seconds,
            updated_index=transition.index,
            updated_pts_seconds=transition.pts_seconds,
            updated_at=now,
            peak_score=self.policy.display_score(transition.peak_score),
            peak_index=transition.peak_index,
            peak_pts_seconds=transition.peak_pts_seconds,
            threshold=self.policy.display_score(transition.threshold),
            model=self._model,
            model_sha256=self._model_sha256,
            reason=transition.reason,
        )
