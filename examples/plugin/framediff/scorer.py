"""From a camera's frames to the network's input, and from its output to scores."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors import skipped_score
from streamad.frame import Frame, LocationBoxes
from streamad.preprocessing import ModelInput, resize_frame
from streamad.scoring import FrameScore

Array = npt.NDArray[np.float32]


def pair_of(now: Frame, before: Frame, height: int, width: int, scale: float) -> Array:
    """(2, height, width) of two frames, 0 to 1."""
    return np.stack([resize_frame(frame.pixels, height, width) for frame in (now, before)]).astype(np.float32) / scale


class FrameDifferenceScorer:
    """The detector's state for one camera: the frame before."""

    def __init__(self, manifest: Manifest, camera: str) -> None:
        self._input, self._cell = manifest.input, manifest.score.heat_cell
        self._before: Frame | None = None
        self._boxes: LocationBoxes | None = None
        self.gaps = 0

    def preprocess(self, frame: Frame) -> ModelInput:
        """Pair a frame with the one before; without one, there is nothing to score."""
        before, self._before = self._before, frame
        follows = (
            before is not None
            and not frame.is_discontinuity
            and frame.index == before.index + 1
            and frame.shape == before.shape
        )
        self.gaps += before is not None and not follows
        spec = self._input
        if self._boxes is None or self._boxes.shape != frame.shape:
            grid = spec.height // self._cell, spec.width // self._cell
            ys, xs = ([k * length // n for k in range(n + 1)] for length, n in zip(frame.shape, grid, strict=True))
            self._boxes = LocationBoxes.between(frame.shape, ys, xs)
        return ModelInput(
            camera=frame.camera,
            index=frame.index,
            pts_seconds=frame.pts_seconds,
            received_at=frame.received_at,
            batch=pair_of(frame, before, spec.height, spec.width, spec.scale)[None]
            if follows and before is not None
            else np.empty((0, spec.channels, spec.height, spec.width), np.float32),
            boxes=self._boxes,
            skipped_reason=None if follows else "warming_up",
        )

    def score(self, model_input: ModelInput, outputs: Array) -> FrameScore:
        """Score a frame: the highest cell, and the map of all of them."""
        if model_input.skipped_reason is not None:
            return skipped_score(model_input, model_input.skipped_reason)
        if not np.isfinite(outputs).all():
            return skipped_score(model_input, "non_finite")
        assert model_input.boxes is not None
        return FrameScore(
            camera=model_input.camera,
            index=model_input.index,
            pts_seconds=model_input.pts_seconds,
            received_at=model_input.received_at,
            score=float(outputs[0, 0]),
            anomaly_map=outputs[0, 1:].reshape(self._input.height // self._cell, self._input.width // self._cell),
            boxes=model_input.boxes,
        )

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of a location of the map in pixels of the frame."""
        if self._boxes is None:
            raise ValueError("no frame has been seen yet")
        return self._boxes.box(row, col)

    def reset(self) -> None:
        """Forget the frame before."""
        self._before = None
