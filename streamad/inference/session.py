"""Session: the only place where a camera's frames become scores and events.

Live watching, files, evaluation and calibration all use it, so a replayed file gives the stream's scores and events.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from streamad.alerts.event import Event
from streamad.alerts.state_machine import AlertState
from streamad.alerts.tracker import EventChange, EventTracker, utc_now
from streamad.bundle import combined_sha256
from streamad.calibration.policy import AlertPolicy
from streamad.detectors import CameraScorer
from streamad.detectors.zoned_scorer import CurrentZones
from streamad.errors import UsageError
from streamad.frame import Frame, LocationBoxes, UInt8Image
from streamad.inference.frame_queue import FrameQueue, Scored
from streamad.inference.reading import open_frames, prefetched
from streamad.preprocessing import ModelInput
from streamad.protocols import Closeable
from streamad.scoring import FrameScore
from streamad.sources import Source, SourceSpec
from streamad.sources.quality import QualitySpec
from streamad.zones import Zones, ZoneSpec

if TYPE_CHECKING:
    from streamad.inference.model import Model

WINDOW = "window"
"""`FrameScore.skipped_reason` of a frame that a windowed detector never scores: its piece of video begins or ends
before the window around it is complete."""


@dataclass(frozen=True, slots=True)
class ScoredFrame:
    """A frame that left the model.

    Attributes:
        frame: The frame.
        score: Its score.
        changes: Events that this frame opened, updated or closed, in order.
    """

    frame: Frame
    score: FrameScore
    changes: tuple[EventChange, ...] = ()


class Session(Closeable):
    """Scores the frames of one camera, in order, and turns the scores into events.

    `push` takes one frame and waits for its score; `run` takes many and keeps the engine busy. The monitor, whose
    engines are shared by many cameras, calls the parts of both itself: `submit` and `receive`.

    Args:
        model: The model. The session does not close it.
        policy: When a score becomes an alert. Default: never; scores then have no events.
        camera: Id that scores and events carry.
        scorer: The state of the camera to continue with, so that several clips of one camera share their background.
            Default: a new one.
        quality: Configuration of the frame-quality gate. Default: as shipped.
        zones: The parts of the picture that count. Default: all of it.
        queue: A queue that sessions share; its owner calls `submit` and `receive` instead of `push` and `run`. Default:
            one of its own.
        on_event: Called with every change of an event.
        fps: Frame rate of pictures that come as arrays without a time. Default: the rate the model was trained at.
        wall_clock: Returns the current time as an aware datetime, for events.
    """

    def __init__(
        self,
        model: Model,
        policy: AlertPolicy | None = None,
        *,
        camera: str = "camera",
        scorer: CameraScorer | None = None,
        quality: QualitySpec | None = None,
        zones: Sequence[ZoneSpec] = (),
        queue: FrameQueue | None = None,
        on_event: Callable[[EventChange], None] | None = None,
        fps: float | None = None,
        wall_clock: Callable[[], datetime] = utc_now,
    ) -> None:
        self.model = model
        self.policy = policy
        self.camera = camera
        self._quality = quality
        self._zones = CurrentZones(Zones.of(zones))
        self.scorer = scorer or self._new_scorer()
        self._shared_queue = queue
        self._own_queue: FrameQueue | None = None
        self._on_event = on_event
        self.on_input: Callable[[ModelInput, ScoredFrame], None] | None = None
        """Called with what the network saw of each frame and the frame's result, after its events."""
        self._fps = fps or model.bundle.manifest.training.fps
        self._frames: deque[Frame] = deque()
        self._pushed = 0
        self._wall_clock = wall_clock
        self._is_active = True
        self._tracker = None if policy is None else self._new_tracker(policy)

    @property
    def queue(self) -> FrameQueue:
        """The queue that takes frames to the engine and scores back."""
        if self._shared_queue is not None:
            return self._shared_queue
        if self._own_queue is None:
            self._own_queue = self.model.queue()
        return self._own_queue

    @property
    def open_event(self) -> Event | None:
        """The event that is open now."""
        return None if self._tracker is None else self._tracker.open_event

    @property
    def alert_state(self) -> AlertState:
        """Where the alert stands after the newest score."""
        return "idle" if self._tracker is None else self._tracker.state

    def use(self, policy: AlertPolicy) -> None:
        """Replace the policy of a session that has one; its per-location statistics must be the same.

        Raises:
            ValueError: An alert is open, pending or in its cooldown, and belongs to the old threshold.
        """
        if self._tracker is None or self.alert_state != "idle":
            raise ValueError("only an idle session with a policy can take another")
        self.policy = self._tracker.policy = policy

    def restart_alerts(self, policy: AlertPolicy) -> list[EventChange]:
        """Replace the policy, whatever its alert is doing; an open event closes.

        Where the new policy scores places relative to other statistics, the scorer starts over, too.

        Args:
            policy: The new policy.
        """
        changes = [] if self._tracker is None else self._noted(self._tracker.finish("reconfigured"))
        is_other_score = self.policy is None or self.policy.per_location != policy.per_location
        self.policy, self._tracker = policy, self._new_tracker(policy)
        if is_other_score:
            self.reset()
        return changes

    @property
    def is_active(self) -> bool:
        """Whether scores may open an event."""
        return self._is_active

    def set_active(self, active: bool) -> list[EventChange]:
        """Let scores open events, or no longer; an open event then closes. Scores are made all the same."""
        if active == self._is_active:
            return []
        self._is_active = active
        return [] if active or self._tracker is None else self._noted(self._tracker.finish("inactive"))

    def use_model(self, model: Model, queue: FrameQueue) -> None:
        """Replace the model of a session with a shared queue by another that takes the same inputs.

        The scorer keeps its past, so that the next frame has a score. No frame may be in the queue.

        Args:
            model: The model.
            queue: The queue to its engine.

        Raises:
            ValueError: Its inputs or its score are defined in another way, or frames are in the queue.
        """
        old, new = self.model.bundle.manifest, model.bundle.manifest
        if self._frames or (old.detector, old.input, old.tiling, old.score) != (
            new.detector, new.input, new.tiling, new.score,
        ):  # fmt: skip
            raise ValueError("only a model with the same inputs and score can replace another, between two frames")
        self.model, self._shared_queue = model, queue
        if self._tracker is not None:
            self._tracker.use_model(model.bundle.name, combined_sha256(model.bundle))

    @property
    def zones(self) -> tuple[ZoneSpec, ...]:
        """The zones of the camera."""
        return () if self._zones.zones is None else self._zones.zones.specs

    @zones.setter
    def zones(self, zones: Sequence[ZoneSpec]) -> None:
        """Let other parts of the picture count, from the next frame on."""
        self._zones.zones = Zones.of(zones)

    def push(self, frame: Frame | UInt8Image, *, pts_seconds: float | None = None) -> list[ScoredFrame]:
        """Score the next frame, and wait until everything that can be scored is.

        Args:
            frame: A `Frame`, or pixels: (H, W) uint8 luma, 0..255, or (H, W, 3) uint8 BGR.
            pts_seconds: Time of a frame that is given as pixels, seconds, increasing. Default: frames follow each other
                at the session's `fps`.

        Returns:
            The frames that have been scored, in order; windowed models score a frame some frames late.

        Raises:
            UsageError: The pixels have another shape or type.
            FrameSizeError: The frame is smaller than a patch.
            EngineError: The engine failed.
        """
        self.submit(frame if isinstance(frame, Frame) else self._frame_of(frame, pts_seconds))
        return [result for scored in self.queue.drain() for result in self._checked(scored)]

    def run(self, frames: Iterable[Frame]) -> Generator[ScoredFrame, None, None]:
        """Score consecutive frames, many at a time. Events stay open at the end: see `close`.

        Yields:
            Every frame, in order; those that no window covers are skipped as "window".

        Raises:
            FrameSizeError: A frame is smaller than a patch.
            EngineError: The engine failed.
        """
        try:
            for frame in frames:
                self.submit(frame)
                for scored in self.queue.ready():
                    yield from self._checked(scored)
            for scored in self.queue.drain():
                yield from self._checked(scored)
            while self._frames:
                yield self._unscored(self._frames.popleft())
        finally:  # after an interruption, frames left in the engine must not reach a later clip
            self._frames.clear()
            self._own_queue = None

    def run_source(
        self, source: str | Path | SourceSpec | Source | Iterable[Frame]
    ) -> Generator[ScoredFrame, None, None]:
        """`run` over a source, whose frames are decoded ahead.

        Args:
            source: A path or an address, a specification, an open source, or frames. What is opened here is closed at
                the end.

        Raises:
            SourceError: The source cannot be opened or read.
        """
        # Closed in this order wherever it ends: the thread that reads the source first, then the source.
        with closing(open_frames(source, self.camera)) as frames, closing(prefetched(frames)) as ahead:
            yield from self.run(ahead)

    def submit(self, frame: Frame) -> None:
        """Hand a frame to the engine.

        Raises:
            FrameSizeError: The frame is smaller than a patch.
        """
        model_input = self.scorer.preprocess(frame)
        self._frames.append(frame)
        if model_input is not None:
            self.queue.put(self.scorer, model_input)

    def receive(self, scored: Scored) -> list[ScoredFrame]:
        """Pair a score that left the queue with its frame and update the events.

        Args:
            scored: Of this camera, in order. An error in it is the caller's to handle.

        Returns:
            The scored frame, after any frames before it that get no score.
        """
        results = []
        frame = self._frames.popleft()
        while frame.index < scored.score.index and self._frames:
            results.append(self._unscored(frame))
            frame = self._frames.popleft()
        changes = self._break_before(frame)
        if self._tracker is not None and self._is_active:
            changes += self._noted(self._tracker.update(scored.score))
        results.append(self._result(frame, scored.score, changes))
        if self.on_input is not None and scored.model_input is not None:
            self.on_input(scored.model_input, results[-1])
        return results

    def gap(self) -> list[EventChange]:
        """The stream was interrupted: close an open event at its last score."""
        return [] if self._tracker is None else self._noted(self._tracker.gap())

    def reset(self) -> list[EventChange]:
        """Forget all frames, those in the queue too, and start with a new scorer; closes an open event."""
        self.queue.forget(self.camera)
        self._frames.clear()
        self.scorer = self._new_scorer()
        return self.gap()

    def close(self) -> list[EventChange]:
        """The stream ended: close an open event at its last score."""
        return [] if self._tracker is None else self._noted(self._tracker.finish())

    def _new_tracker(self, policy: AlertPolicy) -> EventTracker:
        return EventTracker(
            policy,
            self.camera,
            model=self.model.bundle.name,
            model_sha256=combined_sha256(self.model.bundle),
            wall_clock=self._wall_clock,
            zone_of=self._zone_of,
        )

    def _new_scorer(self) -> CameraScorer:
        per_location = None if self.policy is None else self.policy.per_location
        return self.model.scorer(self.camera, per_location, quality=self._quality, zones=self._zones)

    def _zone_of(self, boxes: LocationBoxes, location: tuple[int, int]) -> str | None:
        return None if self._zones.zones is None else self._zones.zones.name_at(boxes, location)

    def _checked(self, scored: Scored) -> list[ScoredFrame]:
        if scored.error is not None:
            raise scored.error
        return self.receive(scored)

    def _unscored(self, frame: Frame) -> ScoredFrame:
        score = FrameScore(
            frame.camera,
            frame.index,
            frame.pts_seconds,
            float("nan"),
            received_at=frame.received_at,
            skipped_reason=WINDOW,
        )
        return self._result(frame, score, self._break_before(frame))

    def _break_before(self, frame: Frame) -> list[EventChange]:
        return self.gap() if frame.is_discontinuity else []

    def _result(self, frame: Frame, score: FrameScore, changes: list[EventChange]) -> ScoredFrame:
        if self.open_event is not None:
            score = replace(score, is_alert=True)
        return ScoredFrame(frame, score, tuple(changes))

    def _noted(self, change: EventChange | None) -> list[EventChange]:
        if change is None:
            return []
        if self._on_event is not None:
            self._on_event(change)
        return [change]

    def _frame_of(self, pixels: UInt8Image, pts_seconds: float | None) -> Frame:
        picture = np.asarray(pixels)
        if picture.dtype != np.uint8 or not (picture.ndim == 2 or (picture.ndim == 3 and picture.shape[2] == 3)):
            raise UsageError(
                f"a frame must be (H, W) or (H, W, 3) uint8, got shape {picture.shape} and dtype {picture.dtype}",
                hint="convert it to 8-bit gray or BGR",
            )
        if picture.ndim == 3:
            import cv2

            picture = np.asarray(cv2.cvtColor(picture, cv2.COLOR_BGR2GRAY), dtype=np.uint8)
        index = self._pushed
        self._pushed += 1
        seconds = index / self._fps if pts_seconds is None else pts_seconds
        return Frame(self.camera, index, seconds, time.monotonic(), picture)
