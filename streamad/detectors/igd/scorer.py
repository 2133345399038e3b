"""Scoring by IGD; needs no torch."""

from __future__ import annotations

from collections import deque
from functools import cache
from math import isqrt
from statistics import median

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.detectors.base import frame_score, skipped_score
from streamad.errors import BundleError
from streamad.frame import Frame, LocationBoxes
from streamad.preprocessing import FrameSizeError, ModelInput
from streamad.preprocessing.clips import resize_frame
from streamad.scoring.frame_score import FrameScore

SMALLEST_FRAME = 32
"""Shorter side of the smallest frame that is scored, pixels: one local patch."""


class IgdScorer:
    """IGD for one camera: from the whole frame to its score and anomaly map.

    Score: the network's, then a causal median over the bundle's `median_frames` frames. The anomaly map is the newest
    frame's, not smoothed.

    Args:
        manifest: The bundle's manifest.

    Raises:
        BundleError: The bundle is not one of whole frames with a score map.
    """

    def __init__(self, manifest: Manifest) -> None:
        tiling, kind = manifest.tiling, str(manifest.score.kind)
        if tiling.kind != "clips" or tiling.window != 1 or kind != "map" or manifest.input.channels != 1:
            raise BundleError(
                f"bundle {manifest.name}: IGD needs clips with a window of 1, the score kind 'map' and 1 channel; got "
                f"tiling {tiling.kind!r} with window {tiling.window}, score {kind!r} and {manifest.input.channels} "
                "channels",
                hint="export the bundle again with this version",
            )
        self._manifest = manifest
        self._recent: deque[float] = deque(maxlen=manifest.score.median_frames)
        self._last: int | None = None
        self._restarts: set[int] = set()
        self._boxes: LocationBoxes | None = None
        self.gaps = 0
        """Number of times that the median was reset because of a gap."""

    def preprocess(self, frame: Frame) -> ModelInput:
        """Return the frame in the network's size and range: a batch of (1, 1, height, width).

        Raises:
            FrameSizeError: A side of the frame is shorter than 32 px.
        """
        if min(frame.shape) < SMALLEST_FRAME:
            raise FrameSizeError(
                f"the frame has {frame.shape[1]}×{frame.shape[0]} pixels; IGD needs at least "
                f"{SMALLEST_FRAME}×{SMALLEST_FRAME}",
                hint="use a larger stream",
            )
        if self._last is not None and (frame.is_discontinuity or frame.index <= self._last):
            self._restarts.add(frame.index)  # its score may come later, after those of earlier frames
            self.gaps += 1
        self._last = frame.index
        spec = self._manifest.input
        batch = resize_frame(frame.pixels, spec.height, spec.width).astype(np.float32)
        batch /= spec.scale
        batch += spec.offset
        return ModelInput(
            camera=frame.camera,
            index=frame.index,
            pts_seconds=frame.pts_seconds,
            received_at=frame.received_at,
            batch=batch[None, None],
            boxes=_boxes(frame.shape, 1),
        )

    def score(self, model_input: ModelInput, outputs: npt.NDArray[np.float32]) -> FrameScore:
        """Return the frame's score and anomaly map from the (1, 1 + side²) outputs; NaN if one of them is not finite.

        Raises:
            BundleError: The network's output does not have this shape.
        """
        side = isqrt(max(0, outputs.shape[-1] - 1))
        if outputs.shape != (1, 1 + side * side) or side < 1:
            raise BundleError(
                f"bundle {self._manifest.name}: IGD needs (1, 1 + side²) outputs for a frame, got {outputs.shape}",
                hint="export the bundle again",
            )
        assert model_input.boxes is not None
        self._boxes = _boxes(model_input.boxes.shape, side)
        if model_input.index in self._restarts:
            self._restarts.discard(model_input.index)
            self._recent.clear()
        if not np.isfinite(outputs).all():
            return skipped_score(model_input, "non_finite")
        self._recent.append(float(outputs[0, 0]))
        anomaly_map = outputs[0, 1:].astype(np.float32).reshape(side, side)
        return frame_score(model_input, float(median(self._recent)), anomaly_map=anomaly_map, boxes=self._boxes)

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1) of a location of the newest anomaly map in pixels of its frame; x1, y1 exclusive.

        Raises:
            ValueError: No frame has been scored, so the size of the map is not known.
            IndexError: There is no such location.
        """
        if self._boxes is None:
            raise ValueError("there is no anomaly map before the first score")
        return self._boxes.box(row, col)

    def reset(self) -> None:
        """Forget all frames."""
        self._recent.clear()
        self._restarts.clear()
        self._last = None


@cache
def _boxes(shape: tuple[int, int], side: int) -> LocationBoxes:
    """Return the boxes of side×side locations over a frame of this (height, width)."""
    ys, xs = ([round(k * length / side) for k in range(side + 1)] for length in shape)
    return LocationBoxes.between(shape, ys, xs)
