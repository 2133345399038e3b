"""EventTracker: joins one camera's rule, heat map and wall clock to events."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt

from streamad.alerts.event import Event, EventKind, EventState, new_event_id
from streamad.alerts.rule import AlertRule, AlertTransition

Heatmap = npt.NDArray[np.float32]
BoxOfCell = Callable[[int, int], tuple[int, int, int, int]]


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
        """True where the event is merely still open: worth saving, not worth telling anybody."""
        return self.event.reason == "progress"


class EventTracker:
    """Turns the scores of one camera into events.

    Args:
        rule: the camera's rule.
        model: name of the model bundle.
        model_sha256: hash of its weights.
        box_of_cell: (row, col) of a heat map's cell to its (x0, y0, x1, y1) in pixels of the frame; None
            where events need no box.
        wall_clock: aware datetimes. Decides nothing: times of the wall are labels, every decision is the
            rule's.
    """

    def __init__(
        self,
        rule: AlertRule,
        *,
        model: str,
        model_sha256: str,
        box_of_cell: BoxOfCell | None = None,
        wall_clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.rule = rule
        self._model = model
        self._model_sha256 = model_sha256
        self._box_of_cell = box_of_cell
        self._wall_clock = wall_clock
        self._event: Event | None = None
        self._peak_index: int | None = None
        self._peak_cell: tuple[int, int] | None = None
        self._peak_words: str | None = None

    @property
    def open_event(self) -> Event | None:
        """The event that is open now, as last reported."""
        return self._event if self._event is not None and self._event.state == "open" else None

    def update(
        self,
        index: int,
        pts_seconds: float,
        score: float,
        heatmap: Heatmap | None = None,
        explanation: str | None = None,
    ) -> EventChange | None:
        """Take the score of the next frame.

        Args:
            index: the frame's number.
            pts_seconds: its presentation time.
            score: the score that the threshold belongs to; NaN where the frame has none.
            heatmap: (rows, cols) score of every cell, NaN where not scored.
            explanation: what is unusual about the frame, in words.
        """
        transition = self.rule.update(index, pts_seconds, score)
        if self.rule.peak_index == index:
            self._peak_index, self._peak_cell, self._peak_words = index, _highest_cell(heatmap), explanation
        return self._change(transition)

    def gap(self) -> EventChange | None:
        """The stream broke off."""
        return self._change(self.rule.gap())

    def finish(self) -> EventChange | None:
        """The stream ended."""
        return self._change(self.rule.finish())

    def _change(self, transition: AlertTransition | None) -> EventChange | None:
        if transition is None:
            return None
        now = self._wall_clock()
        event = self._opened(transition, now) if transition.kind == "opened" else self._event
        assert event is not None
        cell, box, explanation = event.cell, event.box, event.explanation
        if transition.peak_index == self._peak_index:
            cell, explanation = self._peak_cell, self._peak_words
            box = None if cell is None or self._box_of_cell is None else self._box_of_cell(*cell)
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
            peak_score=transition.peak_score,
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
            peak_score=transition.peak_score,
            peak_index=transition.peak_index,
            peak_pts_seconds=transition.peak_pts_seconds,
            threshold=transition.threshold,
            model=self._model,
            model_sha256=self._model_sha256,
            reason=transition.reason,
        )


def _highest_cell(heatmap: Heatmap | None) -> tuple[int, int] | None:
    if heatmap is None or not (scored := np.isfinite(heatmap)).any():
        return None
    row, col = np.unravel_index(int(np.argmax(np.where(scored, heatmap, -np.inf))), heatmap.shape)
    return int(row), int(col)
