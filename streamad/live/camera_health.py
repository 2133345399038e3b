"""Health of a camera: its gate's verdicts as events and counts, and its reference view."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime

from streamad.alerts.event import new_event_id
from streamad.alerts.health import HealthChange, HealthEvent, HealthTracker
from streamad.detectors import CameraScorer
from streamad.errors import OutputError
from streamad.frame import Frame
from streamad.inference.gated_scorer import GatedScorer, in_words, write_place
from streamad.observability.metrics import CameraMetrics
from streamad.scoring import FrameScore
from streamad.sources.quality import QualitySpec

SAVE_SECONDS = 600.0
"""The reference view is written this often, and at the end."""

_log = logging.getLogger(__name__)


class CameraHealth:
    """Follows the gate of one camera.

    Args:
        camera: The configured id.
        scorer: The camera's scorer, with its gate if it has one.
        spec: The gate's configuration.
        metrics: The camera's metrics.
        wall_clock: Aware datetimes, for events.
    """

    def __init__(
        self,
        camera: str,
        scorer: CameraScorer,
        spec: QualitySpec,
        metrics: CameraMetrics,
        *,
        wall_clock: Callable[[], datetime],
    ) -> None:
        self._camera = camera
        self._spec = spec
        self._metrics = metrics
        self._tracker = HealthTracker(
            camera, in_words, open_seconds=spec.event_after_seconds, close_seconds=spec.event_close_seconds,
            wall_clock=wall_clock,
        )  # fmt: skip
        self.attach(scorer)
        self._wall_clock = wall_clock
        self._given_up: HealthEvent | None = None
        self._changes: list[HealthChange] = []
        self._saved_at: float | None = None
        self._warned = False
        self.reason: str | None = None
        """Why the newest frame was rejected; None if it was not."""
        self.held: Counter[str] = Counter()
        """Number of frames rejected since the start, by reason."""

    def attach(self, scorer: CameraScorer) -> None:
        """Follow another scorer of this camera from now on."""
        self._scorer = scorer if isinstance(scorer, GatedScorer) else None

    @property
    def is_other_view(self) -> bool:
        """Whether the picture does not match the camera's reference view."""
        return self._scorer is not None and self._scorer.gate.is_other_view

    def follow(self, frame: Frame) -> None:
        """Take the gate's verdict on this frame."""
        if self._scorer is None:
            return
        self.reason = self._scorer.verdict.reason
        self._metrics.held(self.reason)
        if self.reason is not None:
            self.held[self.reason] += 1
        self.note(self._tracker.update(frame.index, frame.pts_seconds, self.reason))
        if self._scorer.gate.is_other_view and not self._warned:
            self._warned = True
            _log.warning(
                "camera %s: the reference view was not recognized (another view, or the same in another light); it "
                "is learned again",
                self._camera,
            )
        if self._saved_at is None or frame.pts_seconds < self._saved_at:
            self._saved_at = frame.pts_seconds
        elif frame.pts_seconds - self._saved_at >= SAVE_SECONDS:
            self._saved_at = frame.pts_seconds
            self._save()

    def note(self, change: HealthChange | None) -> None:
        """Add a change for `changes`."""
        if change is None:
            return
        if change.kind == "opened":
            self._metrics.health_event(change.event.topic)
        self._changes.append(change)

    def changes(self) -> list[HealthChange]:
        """Return the changes since the last call."""
        changes, self._changes = self._changes, []
        return changes

    def silent(self) -> None:
        """No frame has come for a while: the state of the picture is unknown."""
        self.reason = None
        self._metrics.held(None)
        self.note(self._tracker.finish())

    def give_up(self, reason: str, message: str, newest: tuple[Frame, FrameScore] | None) -> None:
        """The camera's frames cannot be scored: open an event that stays open until the end.

        Args:
            reason: The typed reason.
            message: The reason in words.
            newest: The last scored frame; None if there was none.
        """
        now = self._wall_clock()
        index, seconds = (0, 0.0) if newest is None else (newest[0].index, newest[0].pts_seconds)
        self._given_up = HealthEvent(
            id=new_event_id(now), camera=self._camera, topic="fault", state="open", reason=reason, reasons=(reason,),
            message=message, started_index=index, started_pts_seconds=seconds, started_at=now, updated_index=index,
            updated_pts_seconds=seconds, updated_at=now, frames=0,
        )  # fmt: skip
        self.note(HealthChange(self._given_up, "opened"))

    def finish(self) -> None:
        """The source has ended: close open events and save the reference view."""
        self.note(self._tracker.finish())
        given_up, self._given_up = self._given_up, None
        if given_up is not None:
            now, seconds = self._wall_clock(), given_up.updated_pts_seconds
            closed = replace(given_up, state="closed", updated_at=now, ended_pts_seconds=seconds, ended_at=now)
            self.note(HealthChange(closed, "closed"))
        self._save()

    def _save(self) -> None:
        """Write the reference view, unless the picture is faulty now."""
        if self._scorer is None or self._spec.reference is None or self.reason is not None:
            return
        picture = self._scorer.gate.reference
        if picture is None:
            return
        try:
            write_place(self._spec.reference, picture)
        except OutputError as error:
            _log.error("camera %s: cannot save the reference view: %s", self._camera, error)
