"""Several detectors on one camera: one score from their calibrated ones."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamad.bundle import Bundle, FusionSpec, combined_sha256
from streamad.detectors.base import CameraScorer, camera_scorer
from streamad.detectors.local_scorer import LocalScorer
from streamad.errors import BundleError
from streamad.frame import Frame
from streamad.scoring import Calibration, FrameScore
from streamad.tiling import Tiles


@dataclass(frozen=True, slots=True)
class FusedTiles(Tiles):
    """What each member is to score now; None for a member of which no score is due.

    Its own `batch` is empty: only members have a network.
    """

    members: tuple[Tiles | None, ...] = ()


class FusedScorer:
    """One camera's members, side by side.

    A frame has a fused score once every member has given its own, so the slowest decides when (members of windows of 16
    frames: seven frames later), and frames that a member does not score, at the ends of a window's piece, have none.
    The alternative, each member's latest score, would fuse what they say of different moments, and live and file
    scores would differ.

    Score: the mean of the members' calibrated scores −log10 p, or the highest. If members were independent, the mean
    were Fisher's statistic and the highest Tippett's; they are not, so what a fused score means is learned from normal
    video once more: its own calibration (see `streamad.pipeline.fusion`). Heat map: the same of the members' maps,
    calibrated likewise, on the grid of the finest.

    Args:
        members: their scorers.
        calibrations: theirs.
        rule: "mean" or "max".
    """

    def __init__(self, members: Sequence[CameraScorer], calibrations: Sequence[Calibration], rule: str) -> None:
        self.members = tuple(members)
        self._calibrations = tuple(calibrations)
        self._rule = rule
        self._waiting: tuple[deque[FrameScore], ...] = tuple(deque() for _ in self.members)
        self._last: int | None = None
        self._shapes: dict[int, tuple[int, int]] = {}
        self._places: dict[tuple[int, int], tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]] = {}
        self._size = (0, 0)

    @property
    def gaps(self) -> int:
        """Times that a member's history was reset because frames were missing."""
        return max(member.gaps for member in self.members)

    def tiles(self, frame: Frame) -> FusedTiles | None:
        """Each member's tiles; None where none has any.

        Raises:
            FrameSizeError: the frame is too small for a member.
        """
        if self._last is not None and frame.index <= self._last:
            self._forget()  # another video: what members left over of the one before has no partner any more
        self._last = frame.index
        if frame.shape != self._size:
            self._size = frame.shape
            self._places.clear()
        tiles = tuple(member.tiles(frame) for member in self.members)
        if all(part is None for part in tiles):
            return None
        return FusedTiles(
            camera=frame.camera,
            index=frame.index,
            pts_seconds=frame.pts_seconds,
            received_at=frame.received_at,
            batch=np.empty((0, 1, 1, 1), np.float32),
            members=tiles,
        )

    def take(self, member: int, score: FrameScore) -> list[FrameScore]:
        """A member's next score; the fused scores that are complete with it, in order."""
        queue = self._waiting[member]
        if queue and score.index <= queue[-1].index:
            queue.clear()  # of a video before
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

    def score(self, tiles: Tiles, outputs: npt.NDArray[np.float32]) -> FrameScore:
        """Not used: members' scores come through `take`.

        Raises:
            BundleError: always.
        """
        raise BundleError(
            "several models make this score: their frames must go through the model's own queue",
            hint="use Model.queue() of streamad.pipeline.open_model",
        )

    def cell_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of a heat-map cell in pixels of the source's frame; right and lower edge exclusive."""
        return self.members[self._finest()].cell_box(row, col)

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
        withheld = next((s.withheld for s in scores if s.withheld is not None), None)
        values = [c.calibrated(s.score) for c, s in zip(self._calibrations, scores, strict=True)]
        value = float(np.mean(values)) if self._rule == "mean" else float(np.max(values))  # NaN where one is
        return FrameScore(
            camera=first.camera,
            index=first.index,
            pts_seconds=first.pts_seconds,
            score=float("nan") if withheld is not None else value,
            heatmap=None if withheld is not None else self._heatmap(scores),
            received_at=max(s.received_at for s in scores),
            withheld=withheld,
            reason=None if withheld is not None else self._reason(values, scores),
        )

    @staticmethod
    def _reason(values: list[float], scores: list[FrameScore]) -> str | None:
        """The words of the most alarmed member that has any."""
        spoken = [(value, score.reason) for value, score in zip(values, scores, strict=True) if score.reason]
        return max(spoken, key=lambda pair: pair[0])[1] if spoken else None

    def _heatmap(self, scores: list[FrameScore]) -> npt.NDArray[np.float32] | None:
        maps = []
        for number, (score, calibration) in enumerate(zip(scores, self._calibrations, strict=True)):
            if score.heatmap is None:
                continue
            self._shapes[number] = (score.heatmap.shape[0], score.heatmap.shape[1])
            # Local evidence is −log10 p already; a raw cell is held against what whole frames score.
            is_evidence = calibration.local is not None
            maps.append((number, score.heatmap if is_evidence else calibration.calibrated_array(score.heatmap)))
        if not maps:
            return None
        finest = self._finest()
        fine = [map_ if k == finest else map_[np.ix_(*self._cells_under(k, finest))] for k, map_ in maps]
        stack = np.stack(fine).astype(np.float32)
        unknown = np.isnan(stack).all(axis=0)
        filled = np.nan_to_num(stack, nan=0.0)  # not scored: nothing unusual
        combined = filled.mean(axis=0) if self._rule == "mean" else filled.max(axis=0)
        return np.where(unknown, np.float32(np.nan), combined).astype(np.float32)

    def _finest(self) -> int:
        """The member with the most cells."""
        if not self._shapes:
            raise ValueError("there is no heat map before the first score")
        return max(self._shapes, key=lambda k: (self._shapes[k][0] * self._shapes[k][1], -k))

    def _cells_under(self, member: int, finest: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
        """Row and column of the member's cells in which the centres of the finest grid's rows and columns lie."""
        key = (member, finest)
        if key not in self._places:
            rows, cols = self._shapes[finest]
            fine, coarse = self.members[finest], self.members[member]
            own_rows, own_cols = self._shapes[member]
            tops = np.array([coarse.cell_box(r, 0)[1] for r in range(own_rows)])
            lefts = np.array([coarse.cell_box(0, c)[0] for c in range(own_cols)])
            down = [sum(fine.cell_box(r, 0)[1::2]) / 2 for r in range(rows)]
            right = [sum(fine.cell_box(0, c)[::2]) / 2 for c in range(cols)]
            self._places[key] = (
                np.clip(np.searchsorted(tops, down, side="right") - 1, 0, own_rows - 1),
                np.clip(np.searchsorted(lefts, right, side="right") - 1, 0, own_cols - 1),
            )
        return self._places[key]


def fused_scorer(bundle: Bundle, camera: str, streaming: Sequence[bool | None] | None = None) -> FusedScorer:
    """A fresh scorer of a bundle of several models, for one camera.

    Args:
        bundle: with `manifest.fusion`.
        camera: configured id of the camera.
        streaming: of each member, see `camera_scorer`; None: as their bundles have it.

    Raises:
        BundleError: a member is missing or is not what it was.
        CalibrationError: the calibration of a member is damaged, or another model's.
    """
    fusion = bundle.manifest.fusion
    assert isinstance(fusion, FusionSpec)
    members, calibrations = [], []
    carried = streaming or [None] * len(fusion.members)
    for spec, member, streams in zip(fusion.members, bundle.members(), carried, strict=True):
        calibration = Calibration.load(bundle.path / spec.calibration)
        calibration.require_model(combined_sha256(member))
        scorer = camera_scorer(member, camera, streaming=streams)
        members.append(scorer if calibration.local is None else LocalScorer(scorer, calibration.local, camera))
        calibrations.append(calibration)
    return FusedScorer(members, calibrations, fusion.rule)
