"""Scoring by learned noise; needs no torch."""

from __future__ import annotations

from collections import deque
from dataclasses import replace
from statistics import median

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.base import frame_score, skipped_score
from streamad.errors import BundleError
from streamad.frame import Frame, FrameFlags, LocationBoxes
from streamad.preprocessing import ClipWindow, FrameSizeError, ModelInput, StreamSlot
from streamad.preprocessing.clips import resize_frame
from streamad.scoring.frame_score import FrameScore
from streamad.scoring.psnr import psnr

SMALLEST = 32
"""Shortest side of a frame, pixels: of smaller ones, the network would see only interpolation."""


class LearnedNoiseScorer:
    """Learned noise for one camera: windows of 16 frames, of which the 9th is scored.

    Score: −PSNR of that frame's reconstruction, decibels, with the bundle's peak (paper, equation 8, before its
        per-video
    scaling), then a causal median over `median_frames` frames (1: none). A frame's score is due seven frames after it;
    the first eight frames and the last seven of an unbroken piece have none. The anomaly map is the mean squared error
    of each 8×8 pixels of the network's input in the scored frame, not smoothed in time.

    Args:
        manifest: The bundle's manifest.
        streaming: The network is the streaming form: it takes each new frame and carries its own state.
    """

    def __init__(self, manifest: Manifest, *, streaming: bool = False) -> None:
        tiling, score = manifest.tiling, manifest.score
        if tiling.kind != "clips" or tiling.window != manifest.input.channels or score.kind != "psnr":
            raise BundleError(
                f"bundle {manifest.name}: learned noise needs clips, one channel per frame and a psnr score, got "
                f"tiling {tiling.kind!r} of {tiling.window} frames, {manifest.input.channels} channels, {score.kind!r}"
            )
        self._manifest = manifest
        self._window = ClipWindow(tiling.window)
        self._stream = StreamSlot() if streaming else None
        self._since_gap = 0
        self._boxes: LocationBoxes | None = None
        self._recent: deque[float] = deque(maxlen=score.median_frames)

    @property
    def gaps(self) -> int:
        """Number of times that the window was discarded because frames were missing."""
        return self._window.gaps

    def preprocess(self, frame: Frame) -> ModelInput | None:
        """Return the window whose scored frame is due, in the network's range; None if none is due.

        For the streaming form, return the newest frame, from the first one after a gap on.

        Raises:
            FrameSizeError: The frame is smaller than 32 pixels.
        """
        height, width = frame.shape
        if min(height, width) < SMALLEST:
            raise FrameSizeError(f"a frame of {width}×{height} is smaller than {SMALLEST} pixels")
        spec, ahead = self._manifest.input, self._ahead
        small = replace(frame, pixels=resize_frame(frame.pixels, spec.height, spec.width))
        gaps, resized = self._window.gaps, self._boxes is not None and self._boxes.shape != frame.shape
        if resized:  # the resized frames would not show it
            small = replace(small, flags=small.flags | FrameFlags.DISCONTINUITY)
        if self._boxes is None or resized:
            self._boxes = self._boxes_on(frame.shape)
        window = self._window.push(small)
        self._since_gap = 1 if self._window.gaps != gaps or self._since_gap == 0 else self._since_gap + 1
        if self._stream is not None and self._since_gap == 1:
            self._stream = StreamSlot()  # frames in flight keep the old one
        due = self._since_gap > ahead  # from here on, a frame's score is due
        if not due and self._stream is None:
            return None
        scored = self._window.newest(ahead) if due else small
        if self._stream is not None:
            return self._tiles(scored, frame, (small,), window is not None, due)
        return self._tiles(scored, frame, window or (), window is not None, due)

    def score(self, model_input: ModelInput, outputs: npt.NDArray[np.float32]) -> FrameScore:
        """Score the frame from the (1, 1 + rows·cols) output for its window; NaN if skipped or not finite."""
        if model_input.skipped_reason is not None:
            self._recent.clear()
            return skipped_score(model_input, model_input.skipped_reason)
        if not np.isfinite(outputs).all():
            return skipped_score(model_input, "non_finite")
        self._recent.append(-float(psnr(max(0.0, float(outputs[0, 0])), self._manifest.score.peak)))
        anomaly_map = outputs[0, 1:].reshape(self._cells).copy()
        score = float(median(self._recent))
        return frame_score(model_input, score, anomaly_map=anomaly_map, boxes=model_input.boxes)

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1) of a location in pixels of the source's newest frame; x1, y1 exclusive."""
        if self._boxes is None:
            raise ValueError("no frame has been seen yet, so the size of a location is unknown")
        return self._boxes.box(row, col)

    def reset(self) -> None:
        """Forget all frames."""
        self._window.reset()
        self._recent.clear()
        self._since_gap = 0  # the next frame starts a new piece without history

    @property
    def _ahead(self) -> int:
        """Number of frames of a window after the scored one."""
        return self._window.length - 1 - self._manifest.score.frame

    @property
    def _cells(self) -> tuple[int, int]:
        """Rows and columns of the anomaly map."""
        spec, side = self._manifest.input, self._manifest.score.heat_cell
        return spec.height // side, spec.width // side

    def _boxes_on(self, shape: tuple[int, int]) -> LocationBoxes:
        """Return the boxes of the map's locations on a frame of this (height, width)."""
        (height, width), (rows, cols) = shape, self._cells
        ys = [row * height // rows for row in range(rows + 1)]
        return LocationBoxes.between(shape, ys, [col * width // cols for col in range(cols + 1)])

    def _tiles(self, scored: Frame, newest: Frame, shown: tuple[Frame, ...], complete: bool, due: bool) -> ModelInput:
        """Make the input from the frames that the network is shown.

        Args:
            scored: Frame whose score is due.
            newest: Newest frame.
            shown: A window, only the newest frame for the streaming form, or none.
            complete: Whether enough frames follow the last gap.
            due: Whether a score is due at all.
        """
        spec = self._manifest.input
        channels = spec.channels if self._stream is None else 1
        batch = np.empty((1 if shown else 0, channels, spec.height, spec.width), np.float32)
        if shown:
            np.stack([f.pixels for f in shown], out=batch[0], casting="unsafe")
            batch /= spec.scale
            batch += spec.offset
        return ModelInput(
            camera=newest.camera,
            index=scored.index,
            pts_seconds=scored.pts_seconds,
            received_at=newest.received_at,
            batch=batch,
            boxes=self._boxes,
            skipped_reason=None if complete else "warming_up",
            stream=self._stream,
            due=due,
        )
