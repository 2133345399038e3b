"""Scoring by the motion detector; needs no torch."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.base import skipped_score
from streamad.detectors.motion.descriptors import CellDescriptors, cell_boxes, describe
from streamad.detectors.motion.flow import FlowMeter, grid_shape
from streamad.detectors.motion.layout import (
    CELL,
    DISTANCE,
    HEIGHT,
    LENGTH,
    LENGTH_WITHOUT_STAYS,
    PLACE,
    STAY,
    STAYED,
)
from streamad.detectors.motion.overdue import OverdueStays
from streamad.detectors.motion.reasons import reason_of
from streamad.detectors.motion.stays import StayMeter
from streamad.errors import BundleError
from streamad.frame import Frame, LocationBoxes
from streamad.preprocessing import FrameSizeError, ModelInput
from streamad.scoring.frame_score import FrameScore

SMALLEST = 40
"""Smallest side of a working frame, pixels: the search for the flow needs as much."""

SMOOTHING_SECONDS = 0.3
"""Time constant of the mean over frame scores: shorter than what an alert must last. Of 0, 0.15, 0.3
and 0.5 s, 0.3 s had the highest mean AUC on the panel."""


class RunningMean:
    """Exponential mean over time of frame scores, time constant `SMOOTHING_SECONDS`."""

    def __init__(self) -> None:
        self._last: tuple[float, float] | None = None

    def push(self, seconds: float, score: float) -> float:
        """Add the next frame's score, at the time `seconds`, and return the mean."""
        if self._last is not None and seconds > self._last[0]:
            kept = math.exp((self._last[0] - seconds) / SMOOTHING_SECONDS)
            score = kept * self._last[1] + (1 - kept) * score
        self._last = (seconds, score)
        return score

    def reset(self) -> None:
        """Start over."""
        self._last = None


class MotionScorer:
    """The cells of one camera's frames in which something moves, and how far that is from what was normal there.

    A frame's score is the mean distance of its farthest cells (`MotionModel`), where cells in which nothing moves count
    as 0. It is averaged over time by a `RunningMean`, which is reset at a gap. While a thing is reported that has been
    standing for too long (`OverdueStays`), its distance is the frame's score if it is higher.

    The anomaly map has the distance of every cell in which something moves, or which belongs to such a thing.

    Args:
        manifest: The bundle's manifest.
        camera: Configured id of the camera.

    Raises:
        BundleError: The bundle is not one of this version of the detector.
    """

    def __init__(self, manifest: Manifest, camera: str) -> None:
        tiling, score = manifest.tiling, manifest.score
        self._length = manifest.input.channels
        is_known = self._length in (LENGTH, LENGTH_WITHOUT_STAYS)
        if tiling.kind != "cells" or not is_known or score.kind != "top_cells":
            raise BundleError(
                f"bundle {manifest.name}: motion needs the tiling 'cells' with {LENGTH} channels and the score "
                f"top_cells, got tiling {tiling.kind!r}, {manifest.input.channels} channels and score {score.kind!r}",
                hint="fit the model again with this version",
            )
        self._cells = score.cells
        self._height = manifest.input.max_height or HEIGHT
        self._meter = FlowMeter(height=self._height, level=tiling.motion_level)
        self._mean = RunningMean()
        self._stays = StayMeter() if self._length == LENGTH else None
        self._overdue = OverdueStays()
        self._boxes: LocationBoxes | None = None

    @property
    def gaps(self) -> int:
        """Number of times that the past was discarded because frames were missing."""
        return self._meter.gaps

    @property
    def standing(self) -> npt.NDArray[np.float32] | None:
        """(rows, cols) how long something new has been standing in each cell, seconds; None if it is not measured."""
        return None if self._stays is None else self._stays.seconds

    def preprocess(self, frame: Frame) -> ModelInput:
        """Describe the frame's moving cells, (n, length, 1, 1).

        Raises:
            FrameSizeError: The frame is too small.
        """
        found = self.described(frame)
        skipped = found if isinstance(found, str) else None
        grid = grid_shape(frame.shape, self._height)
        if self._boxes is None or (self._boxes.shape, self._boxes.grid) != (frame.shape, grid):
            self._boxes = cell_boxes(frame.shape, grid)
        if isinstance(found, str):
            found = CellDescriptors(np.zeros((0, 2), np.intp), np.zeros((0, self._length), np.float32), grid)
        return ModelInput(
            camera=frame.camera,
            index=frame.index,
            pts_seconds=frame.pts_seconds,
            received_at=frame.received_at,
            batch=found.values[:, :, None, None],
            locations=found.locations,
            boxes=self._boxes,
            skipped_reason=skipped,
            standing=self.standing,
            settled=None if self._stays is None else found.values[:, STAY] > 0,
        )

    def described(self, frame: Frame) -> CellDescriptors | str:
        """Return the frame's descriptors, or the reason why there are none."""
        height, width = frame.shape
        if min(height, width * min(1.0, self._height / height)) < SMALLEST:
            raise FrameSizeError(
                f"the frame is {width}×{height} pixels; motion needs {SMALLEST}×{SMALLEST} or more "
                f"when it is shrunk to a height of {self._height}",
                hint="use a stream of higher resolution",
            )
        movement = self._meter.push(frame)
        grown = None if self._stays is None else self._stays.push(frame, grid_shape(frame.shape, self._height))
        if isinstance(movement, str):
            return movement
        found = describe(movement)
        if self._stays is None:
            return replace(found, values=found.values[:, : self._length])
        return found if grown is None or not grown.any() else with_stays(found, self._stays.seconds, grown)

    def score(self, model_input: ModelInput, outputs: npt.NDArray[np.float32]) -> FrameScore:
        """Score the frame from the network's outputs for its cells; NaN if skipped or an output is not finite."""
        skipped = model_input.skipped_reason
        if skipped is None and not np.isfinite(outputs).all():
            skipped = "non_finite"
        if skipped is not None:
            if skipped != "non_finite":
                self._mean.reset()
            return skipped_score(model_input, skipped)
        assert model_input.locations is not None
        assert model_input.boxes is not None
        outputs = outputs if len(outputs) else np.zeros((0, 1), np.float32)
        has_values = model_input.batch.shape[1] == self._length  # a comparison of engines has none
        values = model_input.batch[:, :, 0, 0] if has_values else np.zeros((len(outputs), 0), np.float32)
        moves = values[:, STAY] == 0 if has_values and self._stays is not None else np.ones(len(outputs), bool)
        away = outputs[moves, DISTANCE]
        anomaly_map = np.full(model_input.boxes.grid, np.nan, np.float32)
        anomaly_map[*model_input.locations[moves].T] = away
        reason = None
        if len(away) and has_values:
            best = int(away.argmax())
            reason = reason_of(values[moves][best], outputs[moves][best])
        (now,) = frame_scores(away, np.array([len(away)]), self._cells)
        score = self._mean.push(model_input.pts_seconds, float(now))
        region = None
        if model_input.standing is not None and has_values:
            there, rest = ~moves, outputs[~moves]
            stays = values[there, STAY] if len(rest) else np.zeros(0, np.float32)
            usual = stays / rest[:, STAYED] if len(rest) else stays
            self._overdue.push(
                model_input.pts_seconds, model_input.standing, model_input.locations[there], stays, usual,
                rest[:, DISTANCE],
            )  # fmt: skip
            if (cells := self._overdue.cells) is not None and self._overdue.distance > score:
                score, reason = self._overdue.distance, self._overdue.reason
                anomaly_map[cells] = np.fmax(anomaly_map[cells], np.float32(score))
                region = _around(cells, model_input.boxes)
        return FrameScore(
            camera=model_input.camera,
            index=model_input.index,
            pts_seconds=model_input.pts_seconds,
            score=score,
            anomaly_map=anomaly_map,
            received_at=model_input.received_at,
            reason=reason,
            region=region,
            boxes=model_input.boxes,
        )

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1) of a cell in pixels of the source's newest frame; x1, y1 exclusive."""
        if self._boxes is None:
            raise ValueError("no frame has been seen yet, so the size of a cell is unknown")
        return self._boxes.box(row, col)

    def reset(self) -> None:
        """Forget all frames."""
        self._meter.reset()
        self._mean.reset()
        self._stays = None if self._stays is None else StayMeter()
        self._overdue = OverdueStays()


def with_stays(
    found: CellDescriptors, seconds: npt.NDArray[np.float32], cells: npt.NDArray[np.bool_]
) -> CellDescriptors:
    """Add the descriptors of some cells' stays, (rows, cols) seconds, behind those of movement."""
    locations = np.argwhere(cells)
    values = np.zeros((len(locations), LENGTH), np.float32)
    values[:, PLACE] = (locations + 0.5) * CELL
    values[:, STAY] = seconds[cells]
    return CellDescriptors(
        np.concatenate([found.locations, locations]), np.concatenate([found.values, values]), found.grid
    )


def _around(cells: npt.NDArray[np.bool_], boxes: LocationBoxes) -> tuple[int, int, int, int]:
    """Return the box around some cells, pixels of the frame."""
    rows, cols = (np.flatnonzero(cells.any(axis=axis)) for axis in (1, 0))
    (x0, y0, _, _), (_, _, x1, y1) = boxes.box(rows[0], cols[0]), boxes.box(rows[-1], cols[-1])
    return x0, y0, x1, y1


def frame_scores(cells: npt.NDArray[np.float32], counts: npt.NDArray[Any], wanted: int) -> npt.NDArray[np.float32]:
    """Return the mean of the `wanted` highest cells of each frame; missing ones count as 0.

    Args:
        cells: (n,) cells of all frames, one frame after the other.
        counts: (frames,) number of cells of each frame.
        wanted: Number of cells.
    """
    frame = np.repeat(np.arange(len(counts)), counts)
    order = np.lexsort((-cells, frame))
    rank = np.arange(len(cells)) - np.repeat(np.cumsum(counts) - counts, counts)
    top = rank < wanted
    sums = np.bincount(frame[top], weights=cells[order][top], minlength=len(counts))
    return np.asarray(sums / wanted, np.float32)
