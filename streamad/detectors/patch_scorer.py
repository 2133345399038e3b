"""From frames to scores for detectors that score moving cells; needs no torch."""

from __future__ import annotations

from collections import deque
from statistics import median

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.base import skipped_score
from streamad.errors import BundleError
from streamad.frame import Frame
from streamad.preprocessing import BackgroundModel, ModelInput, PatchHistory
from streamad.scoring.frame_score import FrameScore


class PatchScorer:
    """One camera's moving cells of each frame, and the highest outputs among them; ADACL and ALPS share it.

    Score: mean of the raw output over the bundle's number of highest moving cells. One cell is the papers'
    maximum (reference protocol (ii)); three are our choice for watching: a thing worth an alarm covers several
    cells, noise one. Where fewer cells move, the missing ones count as the bundle's `still` score. Then a causal
    median over `median_frames` frames (our choice), so that one noisy frame is no alarm. The heat map is the newest
    frame's, not smoothed.

    Args:
        manifest: of the bundle.
        camera: configured id of the camera.
    """

    def __init__(self, manifest: Manifest, camera: str) -> None:
        tiling = manifest.tiling
        if tiling.kind != "cells" or len(tiling.lags) != manifest.input.channels:
            raise BundleError(
                f"bundle {manifest.name}: {manifest.detector} needs cells with one lag a channel, got tiling "
                f"{tiling.kind!r}, {len(tiling.lags)} lags and {manifest.input.channels} channels"
            )
        self._manifest = manifest
        self._camera = camera
        self._history = PatchHistory(
            lags=tiling.lags,
            level=tiling.motion_level,
            share=tiling.motion_share,
            max_height=manifest.input.max_height,
            background=BackgroundModel(period=tiling.background_period, warmup=tiling.background_warmup),
        )
        self._recent: deque[float] = deque(maxlen=manifest.score.median_frames)

    @property
    def gaps(self) -> int:
        """Times that the history was reset because frames were missing."""
        return self._history.gaps

    def preprocess(self, frame: Frame) -> ModelInput:
        """The moving cells of the frame, in the network's range.

        Raises:
            FrameSizeError: the frame is smaller than one cell.
        """
        patches = self._history.push(frame)
        batch = patches.pixels.astype(np.float32)
        batch /= self._manifest.input.scale
        batch += self._manifest.input.offset
        return ModelInput(
            camera=frame.camera,
            index=frame.index,
            pts_seconds=frame.pts_seconds,
            received_at=frame.received_at,
            batch=batch,
            locations=patches.locations,
            boxes=patches.boxes,
            skipped_reason="gap" if patches.dropped else "warming_up" if patches.warming_up else None,
        )

    def score(self, model_input: ModelInput, outputs: npt.NDArray[np.float32]) -> FrameScore:
        """Score of the frame from the (n,) outputs for its cells; NaN where skipped or an output is not finite."""
        if model_input.skipped_reason is not None:
            if model_input.skipped_reason == "warming_up":  # dropped frames leave the median as it is
                self._recent.clear()
            return skipped_score(model_input, model_input.skipped_reason)
        assert model_input.locations is not None
        assert model_input.boxes is not None
        if not np.isfinite(outputs).all():
            return skipped_score(model_input, "non_finite")
        anomaly_map = np.full(model_input.boxes.grid, np.nan, np.float32)
        anomaly_map[model_input.locations[:, 0], model_input.locations[:, 1]] = outputs
        self._recent.append(self._highest(outputs))
        return FrameScore(
            camera=model_input.camera,
            index=model_input.index,
            pts_seconds=model_input.pts_seconds,
            score=float(median(self._recent)),
            anomaly_map=anomaly_map,
            received_at=model_input.received_at,
            boxes=model_input.boxes,
        )

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """(x0, y0, x1, y1) of a cell in pixels of the source's newest frame."""
        return self._history.location_box(row, col)

    def reset(self) -> None:
        """Forget all frames."""
        self._history.reset()
        self._recent.clear()

    def _highest(self, outputs: npt.NDArray[np.float32]) -> float:
        wanted = self._manifest.score.cells
        highest = np.full(max(wanted, len(outputs)), self._manifest.score.still, np.float32)
        highest[: len(outputs)] = outputs
        return float(np.partition(highest, len(highest) - wanted)[-wanted:].mean())
