"""Several models as one: the engine and queue of each member, and their joint score."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Sequence
from dataclasses import replace

from streamad.bundle import Bundle
from streamad.calibration import PerLocationStatistics
from streamad.detectors import CameraScorer
from streamad.detectors.fused_scorer import FusedInput, FusedScorer, fused_scorer
from streamad.detectors.zoned_scorer import CurrentZones
from streamad.engines import StatefulEngine
from streamad.errors import BundleError
from streamad.inference.frame_queue import FrameQueue, OnBatch, Scored
from streamad.inference.gated_scorer import GatedScorer, gated
from streamad.inference.model import Model
from streamad.preprocessing import ModelInput
from streamad.sources.quality import QualitySpec

_log = logging.getLogger(__name__)


class FusedModel(Model):
    """A bundle of several models with their engines. `engine` is the first member's, for reports.

    Attributes:
        members: The models.
    """

    def __init__(self, bundle: Bundle, members: Sequence[Model]) -> None:
        super().__init__(bundle, members[0].engine, engine_spec=members[0].engine_spec)
        self.members = tuple(members)

    def scorer(
        self,
        camera: str,
        local: PerLocationStatistics | None = None,
        *,
        quality: QualitySpec | None = None,
        zones: CurrentZones | None = None,
    ) -> CameraScorer:
        """Make a new scorer for one camera, behind one frame-quality gate.

        Raises:
            BundleError: Per-location statistics are given; those of members are in their own calibrations.
        """
        if local is not None:
            raise BundleError("a fused score has no cells of its own: members are calibrated locally, each for itself")
        streaming = [isinstance(member.engine, StatefulEngine) for member in self.members]
        return gated(fused_scorer(self.bundle, camera, streaming, zones=zones), self.bundle, quality, camera=camera)

    def queue(self, on_batch: OnBatch | None = None) -> FrameQueue:
        """Make a queue to all engines."""
        return FusedQueue([member.queue(on_batch) for member in self.members])

    def warm_up(self) -> None:
        """Run every static batch size of every member once."""
        for member in self.members:
            member.warm_up()

    def close(self) -> None:
        """Free the engines."""
        for member in self.members:
            member.close()


class FusedQueue(FrameQueue):
    """Passes each member's input to its queue; a frame leaves when the last member has scored it.

    Args:
        queues: The members' queues.
    """

    def __init__(self, queues: Sequence[FrameQueue]) -> None:
        super().__init__()
        self._queues = tuple(queues)
        self._scorers: dict[str, FusedScorer] = {}
        self._failed: dict[str, Exception] = {}

    @property
    def waiting(self) -> int:
        """Number of frames that the slowest engine has not finished."""
        return max(queue.waiting for queue in self._queues)

    @property
    def is_busy(self) -> bool:
        """Whether an engine is busy."""
        return any(queue.is_busy for queue in self._queues)

    def waiting_of(self, camera: str) -> int:
        """Number of frames of one camera that the slowest engine has not finished."""
        return max(queue.waiting_of(camera) for queue in self._queues)

    def forget(self, camera: str) -> None:
        """Drop a camera's frames in all queues."""
        for queue in self._queues:
            queue.forget(camera)
        self._failed.pop(camera, None)

    def flush_due(self, *, idle: bool = False) -> None:
        """See `FrameQueue.flush_due`; each member decides for itself."""
        for queue in self._queues:
            queue.flush_due(idle=idle)

    def put(self, scorer: CameraScorer, tiles: ModelInput) -> None:
        """Add a frame's inputs of all members.

        Raises:
            ValueError: The scorer is not that of a fused model.
        """
        fused = scorer.inner if isinstance(scorer, GatedScorer) else scorer
        if not isinstance(fused, FusedScorer):
            raise ValueError("this scorer is of one model and the queue is of several: was it made by the model?")
        self._scorers[tiles.camera] = fused
        if not isinstance(tiles, FusedInput):  # the gate rejected the frame, for every member
            for queue in self._queues:
                queue.put(scorer, tiles)
            return
        for queue, member, part in zip(self._queues, fused.members, tiles.members, strict=True):
            if part is not None:
                queue.put(member, part)

    def flush(self) -> None:
        """Start incomplete batches."""
        for queue in self._queues:
            queue.flush()

    def ready(self) -> list[Scored]:
        """Return the frames that every member has scored, in order for each camera."""
        return self._joined([queue.ready() for queue in self._queues])

    def wait(self, timeout: float) -> list[Scored]:
        """Return `ready()` after waiting up to `timeout` seconds for the slowest member."""
        end = time.monotonic() + timeout
        answers = []
        for queue in sorted(self._queues, key=lambda q: -q.waiting):
            left = max(0.0, end - time.monotonic())
            answers.append((queue, queue.wait(left) if queue.waiting else queue.ready()))
        order = {id(queue): scored for queue, scored in answers}
        return self._joined([order[id(queue)] for queue in self._queues])

    def drain(self) -> list[Scored]:
        """Start what is pending, wait for it, and return the remaining frames."""
        self.flush()
        finished = self._joined([queue.drain() for queue in self._queues])
        for camera, error in self._failed.items():
            _log.error("camera %s: a frame that gets no fused score was not scored: %s", camera, error)
        self._failed.clear()
        return finished

    def _drain_engine(self) -> None:
        for queue in self._queues:
            queue._drain_engine()

    def _joined(self, answers: Sequence[list[Scored]]) -> list[Scored]:
        finished: list[Scored] = []
        for number, scored in enumerate(answers):
            for one in scored:
                camera = one.score.camera
                if one.is_broken:
                    finished.append(one)
                    continue
                if one.error is not None:
                    self._failed[camera] = one.error  # reported with the camera's next fused score
                try:
                    complete = self._scorers[camera].take(number, one.score)
                except Exception as fault:  # noqa: BLE001 - as in `FrameQueue`: other cameras continue
                    finished.append(
                        Scored(replace(one.score, score=math.nan, skipped_reason="fault"), fault, is_broken=True)
                    )
                    continue
                finished += [Scored(score, self._failed.pop(camera, None)) for score in complete]
        return finished
