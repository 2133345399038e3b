"""Scoring for detectors of moving patches; needs no torch."""

from __future__ import annotations

from collections import deque
from statistics import median

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.base import frame_score, skipped_score
from streamad.errors import BundleError
from streamad.frame import Frame
from streamad.preprocessing import BackgroundModel, ModelInput, PatchHistory
from streamad.scoring.frame_score import FrameScore


class PatchScorer:
    """One camera's moving patches, and the highest outputs among them.

    Score: mean of the raw outputs over the bundle's number of highest patches. The papers take one patch, the maximum
    (reference protocol (ii)). For watching, models use three: an object worth an alert covers several patches, noise
    one. If fewer patches move, the missing ones count as the bundle's `still` score. A causal median over
    `median_frames` frames follows, so that a single noisy frame raises no alert. The anomaly map is the newest frame's,
    not smoothed.

    Args:
        manifest: The bundle's manifest.
    """

    def __init__(self, manifest: Manifest) -> None:
        tiling = manifest.tiling
        if tiling.kind != "cells" or len(tiling.lags) != manifest.input.channels:
            raise BundleError(
                f"bundle {manifest.name}: {manifest.detector} needs the tiling 'cells' with one lag per channel, got "
                f"{tiling.kind!r}, {len(tiling.lags)} lags and {manifest.input.channels} channels"
            )
        self._manifest = manifest
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
        """Number of times that the history was reset because frames were missing."""
        return self._history.gaps

    def preprocess(self, frame: Frame) -> ModelInput:
        """Return the moving patches of the frame, in the network's range.

        Raises:
            FrameSizeError: The frame is smaller than one patch.
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
        """Score the frame from the (n,) outputs for its patches; NaN if skipped or an output is not finite."""
        if model_input.skipped_reason is not None:
            if model_input.skipped_reason == "warming_up":  # dropped frames do not reset the median
                self._recent.clear()
            return skipped_score(model_input, model_input.skipped_reason)
        assert model_input.locations is not None
        assert model_input.boxes is not None
        if not np.isfinite(outputs).all():
            return skipped_score(model_input, "non_finite")
        anomaly_map = np.full(model_input.boxes.grid, np.nan, np.float32)
        anomaly_map[model_input.locations[:, 0], model_input.locations[:, 1]] = outputs
        self._recent.append(self._highest(outputs))
        return frame_score(model_input, float(median(self._recent)), anomaly_map=anomaly_map, boxes=model_input.boxes)

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1) of a location in pixels of the source's newest frame."""
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
