"""Scoring by the motion detector; needs no torch."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.base import skipped_score
from streamad.detectors.motion.descriptors import PatchDescriptors, describe, grid_shape
from streamad.detectors.motion.flow import PROBE_SECONDS, FlowMeter
from streamad.detectors.motion.layout import BLOCK, LENGTH, MEASURES, PATCH_SIZE
from streamad.detectors.motion.reasons import reason_of
from streamad.detectors.motion.temporal_smoother import TemporalSmoother
from streamad.errors import BundleError
from streamad.frame import Frame, LocationBoxes
from streamad.preprocessing import BackgroundModel, FrameSizeError, ModelInput
from streamad.scoring.frame_score import FrameScore

SMOOTHING_SECONDS = 0.3
"""Time constant of the mean over frame scores: shorter than the half second that an alert must last. Chosen among 0,
0.3, 0.6 and 1 s, and medians, on rendered scenes and on faster people inserted into Ped2's normal clips."""

SETTLING = 8
"""Length of the time in which the background adapts to all that was seen, in warm-ups: 26 s by default, longer than a
passing person stands in one place."""


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
    """The moving patches of one camera's frames, and the evidence that something in them is not normal.

    A patch's score is the largest of its evidence (`MotionModel`). A frame's score is the mean over its highest
    patches: how far the log odds of an anomaly are above those of a usual frame. If fewer patches move, the lowest of
        them counts
    again (a small object is not less unusual for being small); if none moves, the score is the bundle's `still`. Noise
    is averaged out before that, along the movement (`TemporalSmoother`). A `RunningMean` of frame scores, which is
    reset at a gap, removes most of the rest.

    The anomaly map has every moving patch's score. Patches overlap by half.

    Args:
        manifest: The bundle's manifest.
        camera: Configured id of the camera.

    Raises:
        BundleError: The bundle is not one of this detector's.
    """

    def __init__(self, manifest: Manifest, camera: str) -> None:
        tiling, score = manifest.tiling, manifest.score
        if tiling.kind != "cells" or manifest.input.channels != LENGTH or score.kind != "top_cells":
            raise BundleError(
                f"bundle {manifest.name}: motion needs the tiling 'cells' with {LENGTH} channels and the score "
                f"top_cells, got tiling {tiling.kind!r}, {manifest.input.channels} channels and score {score.kind!r}",
                hint="fit the model again with this version",
            )
        self._score_spec = score
        self._camera = camera
        self._share = tiling.motion_share
        self._meter = FlowMeter(
            BackgroundModel(
                period=tiling.background_period,
                warmup=tiling.background_warmup,
                settling=SETTLING * tiling.background_warmup,
            ),
            level=tiling.motion_level,
            max_height=manifest.input.max_height,
            flow_seconds=float(manifest.training.options.get("flow_seconds", PROBE_SECONDS)),
        )
        self._trace = TemporalSmoother()
        self._mean = RunningMean()
        self._boxes: LocationBoxes | None = None
        self._working: tuple[int, int] = (0, 0)

    @property
    def working(self) -> tuple[int, int]:
        """(height, width) of the working frame, pixels; (0, 0) before the first."""
        return self._working

    @property
    def gaps(self) -> int:
        """Number of times that the past was discarded because frames were missing."""
        return self._meter.gaps

    def preprocess(self, frame: Frame) -> ModelInput:
        """Describe the frame's moving patches, (n, length, 1, 1).

        Raises:
            FrameSizeError: The frame is smaller than two patches.
        """
        found = self.described(frame)
        skipped = found if isinstance(found, str) else None
        if isinstance(found, str):
            grid = grid_shape(*self._working)
            patches = PatchDescriptors(np.zeros((0, 2), np.intp), np.zeros((0, LENGTH), np.float32), grid)
        else:
            patches = found
        return ModelInput(
            camera=frame.camera,
            index=frame.index,
            pts_seconds=frame.pts_seconds,
            received_at=frame.received_at,
            batch=patches.values[:, :, None, None],
            locations=patches.locations,
            boxes=self._boxes,
            skipped_reason=skipped,
        )

    def described(self, frame: Frame) -> PatchDescriptors | str:
        """Return the frame's descriptors, averaged along the movement, or the reason why there are none."""
        if min(frame.shape) < 2 * PATCH_SIZE:
            raise FrameSizeError(
                f"the frame is {frame.shape[1]}×{frame.shape[0]} pixels, smaller than two patches "
                f"of {PATCH_SIZE} pixels",
                hint="use a stream of higher resolution",
            )
        movement = self._meter.push(frame)
        self._working = (2 * movement.foreground.shape[0], 2 * movement.foreground.shape[1])
        if self._boxes is None or (self._boxes.shape, self._boxes.grid) != (frame.shape, grid_shape(*self._working)):
            self._boxes = _boxes(frame.shape, grid_shape(*self._working))
        if movement.seconds is None or movement.dropped:
            self._trace.reset()
        if movement.dropped:
            return "gap"
        if movement.flow is None or movement.seconds is None or not self._meter.is_warm:
            return "warming_up"
        found = describe(movement, self._share)
        values = self._trace.follow(found, movement.seconds)
        if not self._trace.is_averaged:
            return "warming_up"
        return PatchDescriptors(found.locations, values, found.grid)

    def score(self, model_input: ModelInput, outputs: npt.NDArray[np.float32]) -> FrameScore:
        """Score the frame from the (n, 4) outputs for its patches; NaN if skipped or an output is not finite."""
        skipped = model_input.skipped_reason
        if skipped is None and not np.isfinite(outputs).all():
            skipped = "non_finite"
        if skipped is not None:
            if skipped != "non_finite":
                self._mean.reset()
            return skipped_score(model_input, skipped)
        assert model_input.locations is not None
        assert model_input.boxes is not None
        highest = outputs[:, : len(MEASURES)].max(axis=1) if len(outputs) else np.zeros(0, np.float32)
        anomaly_map = np.full(model_input.boxes.grid, np.nan, np.float32)
        anomaly_map[model_input.locations[:, 0], model_input.locations[:, 1]] = highest
        reason = None
        if len(outputs) and model_input.batch.shape[1] == LENGTH:
            best = int(highest.argmax())
            reason = reason_of(model_input.batch[best, :, 0, 0], outputs[best])
        return FrameScore(
            camera=model_input.camera,
            index=model_input.index,
            pts_seconds=model_input.pts_seconds,
            score=self._mean.push(
                model_input.pts_seconds, frame_score(highest, self._score_spec.cells, self._score_spec.still)
            ),
            anomaly_map=anomaly_map,
            received_at=model_input.received_at,
            reason=reason,
            boxes=model_input.boxes,
        )

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1) of a patch in pixels of the source's newest frame; x1, y1 exclusive."""
        if self._boxes is None:
            raise ValueError("no frame has been seen yet, so the size of a patch is unknown")
        return self._boxes.box(row, col)

    def reset(self) -> None:
        """Forget all frames."""
        self._meter.reset()
        self._trace.reset()
        self._mean.reset()


def _boxes(shape: tuple[int, int], grid: tuple[int, int]) -> LocationBoxes:
    """Return the boxes of the grid on a frame of this (height, width): one for every corner between four blocks."""
    ys, xs = ([k * length // (n + 1) for k in range(n + 2)] for length, n in zip(shape, grid, strict=True))
    return LocationBoxes.between(shape, ys, xs, span=PATCH_SIZE // BLOCK)


def frame_score(patches: npt.NDArray[np.float32], wanted: int, still: float) -> float:
    """Return the mean of the highest patches' scores; see `MotionScorer`."""
    if not len(patches):
        return still
    if len(patches) <= wanted:
        return float((patches.sum() + (wanted - len(patches)) * patches.min()) / wanted)
    return float(np.partition(patches, len(patches) - wanted)[-wanted:].mean())
