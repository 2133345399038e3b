"""Several detectors on one camera: one score from their calibrated scores."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

from streamad.bundle import Bundle, FusionSpec, combined_sha256
from streamad.calibration import Calibration
from streamad.detectors.base import CameraScorer
from streamad.detectors.per_location_scorer import PerLocationScorer
from streamad.detectors.registry import camera_scorer
from streamad.detectors.zoned_scorer import CurrentZones
from streamad.errors import BundleError
from streamad.frame import Frame, LocationBoxes
from streamad.preprocessing import ModelInput
from streamad.scoring import FrameScore

Spans = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class FusedInput(ModelInput):
    """Input of each member; None for a member without a frame to score.

    Its own `batch` is empty: only members have networks.
    """

    members: tuple[ModelInput | None, ...] = ()


class FusedScorer:
    """The scorers of one camera's members.

    A frame has a fused score once every member has scored it. So the slowest member determines the delay (seven frames
    for a member with windows of 16), and frames that a member does not score, at the ends of an unbroken piece, have no
    fused score. Using each member's latest score instead would combine scores of different moments, and live scores
    would differ from those of files.

    Score: the mean of the members' calibrated scores −log10 p, or the highest. For independent members the mean would
        be
    Fisher's statistic and the highest Tippett's. Members are not independent, so a fused score has a calibration of its
    own (see `streamad.workflows.fuse`). Anomaly map: the same of the members' calibrated maps, on the finest grid.

    Args:
        members: The members' scorers.
        calibrations: The members' calibrations.
        rule: "mean" or "max".
    """

    def __init__(self, members: Sequence[CameraScorer], calibrations: Sequence[Calibration], rule: str) -> None:
        self.members = tuple(members)
        self._calibrations = tuple(calibrations)
        self._rule = rule
        self._waiting: tuple[deque[FrameScore], ...] = tuple(deque() for _ in self.members)
        self._last: int | None = None
        self._boxes: LocationBoxes | None = None

    @property
    def gaps(self) -> int:
        """Number of times that a member's history was reset because frames were missing."""
        return max(member.gaps for member in self.members)

    def preprocess(self, frame: Frame) -> FusedInput | None:
        """Return each member's input; None if none has any.

        Raises:
            FrameSizeError: The frame is too small for a member.
        """
        if self._last is not None and frame.index <= self._last:
            self._forget()  # another video: leftover scores of the one before have no counterparts
        self._last = frame.index
        model_input = tuple(member.preprocess(frame) for member in self.members)
        if all(part is None for part in model_input):
            return None
        return FusedInput(
            camera=frame.camera,
            index=frame.index,
            pts_seconds=frame.pts_seconds,
            received_at=frame.received_at,
            batch=np.empty((0, 1, 1, 1), np.float32),
            members=model_input,
        )

    def take(self, member: int, score: FrameScore) -> list[FrameScore]:
        """Add a member's next score, and return the fused scores that it completes, in order."""
        queue = self._waiting[member]
        if queue and score.index <= queue[-1].index:
            queue.clear()  # from an earlier video
        queue.append(score)
        complete = []
        while all(self._waiting):
            newest = max(waiting[0].index for waiting in self._waiting)
            behind = [waiting for waiting in self._waiting if waiting[0].index < newest]
            for waiting in behind:
                waiting.popleft()  # a frame that another member does not score
            if not behind:
                complete.append(self._fused([waiting.popleft() for waiting in self._waiting]))
        return complete

    def score(self, model_input: ModelInput, outputs: npt.NDArray[np.float32]) -> FrameScore:
        """Not used: members' scores come through `take`.

        Raises:
            BundleError: Always.
        """
        raise BundleError(
            "this score is made from several models; frames must go through the model's own queue",
            hint="use `Model.queue()`",
        )

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1) of a location of the newest anomaly map in pixels of its frame; x1, y1 exclusive."""
        if self._boxes is None:
            raise ValueError("there is no anomaly map before the first score")
        return self._boxes.box(row, col)

    def reset(self) -> None:
        """Forget all frames."""
        for member in self.members:
            member.reset()
        self._forget()
        self._last = None

    def _forget(self) -> None:
        for waiting in self._waiting:
            waiting.clear()

    def _fused(self, scores: list[FrameScore]) -> FrameScore:
        first = scores[0]
        held = next((s for s in scores if s.skipped_reason is not None), None)
        skipped = None if held is None else held.skipped_reason
        values = [c.calibrated(s.score) for c, s in zip(self._calibrations, scores, strict=True)]
        value = float(np.mean(values)) if self._rule == "mean" else float(np.max(values))  # NaN where one is
        anomaly_map, boxes = (None, None) if skipped is not None else self._anomaly_map(scores)
        self._boxes = boxes or self._boxes
        return FrameScore(
            camera=first.camera,
            index=first.index,
            pts_seconds=first.pts_seconds,
            score=float("nan") if skipped is not None else value,
            anomaly_map=anomaly_map,
            received_at=max(s.received_at for s in scores),
            skipped_reason=skipped,
            reason=self._reason(values, scores) if held is None else held.reason,
            boxes=boxes,
        )

    @staticmethod
    def _reason(values: list[float], scores: list[FrameScore]) -> str | None:
        """Return the explanation of the member with the highest score that has one."""
        spoken = [(value, score.reason) for value, score in zip(values, scores, strict=True) if score.reason]
        return max(spoken, key=lambda pair: pair[0])[1] if spoken else None

    def _anomaly_map(self, scores: list[FrameScore]) -> tuple[npt.NDArray[np.float32] | None, LocationBoxes | None]:
        """Combine the members' calibrated maps on the finest grid; return the map and the grid's boxes."""
        maps: list[tuple[LocationBoxes, npt.NDArray[np.floating]]] = []
        for score, calibration in zip(scores, self._calibrations, strict=True):
            if score.anomaly_map is None or score.boxes is None:
                continue
            # Per-location evidence is already −log10 p; a raw location is calibrated like a frame's score.
            is_evidence = calibration.local is not None
            maps.append(
                (score.boxes, score.anomaly_map if is_evidence else calibration.calibrated_array(score.anomaly_map))
            )
        if not maps:
            return None, None
        finest = max((boxes for boxes, _ in maps), key=lambda boxes: boxes.grid[0] * boxes.grid[1])
        stack = np.stack([heat[np.ix_(*_locations_under(boxes, finest))] for boxes, heat in maps]).astype(np.float32)
        unknown = np.isnan(stack).all(axis=0)
        filled = np.nan_to_num(stack, nan=0.0)  # not scored counts as normal
        combined = filled.mean(axis=0) if self._rule == "mean" else filled.max(axis=0)
        return np.where(unknown, np.float32(np.nan), combined).astype(np.float32), finest


@lru_cache(maxsize=64)
def _locations_under(coarse: LocationBoxes, fine: LocationBoxes) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the rows and columns of the coarse grid in which the centers of the fine grid's rows and columns lie."""

    def under(ours: Spans, theirs: Spans) -> npt.NDArray[np.intp]:
        if ours == theirs:
            return np.arange(len(ours))
        centers = [(first + end) / 2 for first, end in theirs]
        return np.maximum(np.searchsorted([first for first, _ in ours], centers, side="right") - 1, 0)

    return under(coarse.rows, fine.rows), under(coarse.cols, fine.cols)


def fused_scorer(
    bundle: Bundle,
    camera: str,
    streaming: Sequence[bool | None] | None = None,
    *,
    zones: CurrentZones | None = None,
) -> FusedScorer:
    """Return a fresh scorer of a fused bundle for one camera.

    Args:
        bundle: A bundle with `manifest.fusion`.
        camera: Configured id of the camera.
        streaming: For each member, see `camera_scorer`. None: if their bundles have a streaming form.
        zones: The camera's zones, which hold for every member.

    Raises:
        BundleError: A member is missing or has changed.
        CalibrationError: The calibration of a member is damaged, or belongs to another model.
    """
    fusion = bundle.manifest.fusion
    assert isinstance(fusion, FusionSpec)
    members, calibrations = [], []
    carried = streaming or [None] * len(fusion.members)
    for spec, member, streams in zip(fusion.members, bundle.members(), carried, strict=True):
        calibration = Calibration.load(bundle.path / spec.calibration)
        calibration.require_model(combined_sha256(member))
        scorer = camera_scorer(member, camera, streaming=streams, zones=zones)
        members.append(scorer if calibration.local is None else PerLocationScorer(scorer, calibration.local, camera))
        calibrations.append(calibration)
    return FusedScorer(members, calibrations, fusion.rule)
