"""EventTracker: turns the scores of one camera into events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

from streamad.alerts.event import Event, EventKind, EventState, new_event_id
from streamad.alerts.state_machine import PROGRESS_SECONDS, AlertState, AlertStateMachine, AlertTransition
from streamad.calibration.policy import AlertPolicy
from streamad.scoring import FrameScore

Cell = tuple[int, int]
Box = tuple[int, int, int, int]


def utc_now() -> datetime:
    """The wall clock, aware, in UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class EventChange:
    """An event and what happened to it: what a store saves and a sink is given."""

    event: Event
    kind: EventKind

    @property
    def is_progress(self) -> bool:
        """True where the event is merely still open: worth saving, not worth a notification."""
        return self.event.reason == "progress"


class EventTracker:
    """Turns the scores of one camera into events.

    The event's `peak_score` and `threshold` are on the display scale, like the page, the metrics and the files; the
    policy decides on raw scores.

    Args:
        policy: When a score becomes an alert.
        camera: The configured id.
        model: Name of the model bundle.
        model_sha256: Hash of its weights.
        wall_clock: Aware datetimes. They are labels only: every decision follows `pts_seconds`.
        progress_seconds: An open event reports its progress this often.
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
    ) -> None:
        self.policy = policy
        self._machine = AlertStateMachine(policy, camera, progress_seconds=progress_seconds)
        self._model = model
        self._model_sha256 = model_sha256
        self._wall_clock = wall_clock
        self._event: Event | None = None
        self._peak_index: int | None = None
        self._peak_of: tuple[Cell | None, Box | None, str | None] = (None, None, None)

    @property
    def state(self) -> AlertState:
        """Where the alert stands after the newest frame."""
        return self._machine.state

    @property
    def open_event(self) -> Event | None:
        """The event that is open now, as last reported."""
        return self._event if self._event is not None and self._event.state == "open" else None

    def update(self, score: FrameScore) -> EventChange | None:
        """Take the score of the next frame; its raw score is what the threshold belongs to."""
        transition = self._machine.update(score.index, score.pts_seconds, score.score)
        if self._machine.peak_index == score.index:
            cell = score.peak
            box = None if cell is None or score.boxes is None else score.boxes.box(*cell)
            self._peak_index, self._peak_of = score.index, (cell, box, score.reason)
        return self._change(transition)

    def gap(self) -> EventChange | None:
        """The stream broke off."""
        return self._change(self._machine.gap())

    def finish(self) -> EventChange | None:
        """The stream ended."""
        return self._change(self._machine.finish())

    def _change(self, transition: AlertTransition | None) -> EventChange | None:
        if transition is None:
            return None
        now = self._wall_clock()
        event = self._opened(transition, now) if transition.kind == "opened" else self._event
        assert event is not None
        cell, box, explanation = event.cell, event.box, event.explanation
        if transition.peak_index == self._peak_index:
            cell, box, explanation = self._peak_of
        is_closed = transition.kind == "closed"
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
            ended_at=now if is_closed else None,
            peak_score=self.policy.display_score(transition.peak_score),
            peak_index=transition.peak_index,
            peak_pts_seconds=transition.peak_pts_seconds,
            cell=cell,
            box=box,
            reason=transition.reason,
            explanation=explanation,
        )
        return EventChange(self._event, transition.kind)

    def _opened(self, transition: AlertTransition, now: datetime) -> Event:
        # The run began before the alert was raised; presentation time says by how much.
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
