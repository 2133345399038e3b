"""Per-location scoring for any detector with an anomaly map."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from streamad.calibration.per_location import PerLocationScore, PerLocationStatistics
from streamad.detectors.base import CameraScorer
from streamad.errors import CalibrationError
from streamad.frame import Frame
from streamad.preprocessing import ModelInput
from streamad.scoring.frame_score import FrameScore

_log = logging.getLogger(__name__)


class PerLocationScorer:
    """Wraps a detector's scorer: the anomaly map becomes evidence per location, the score that of `PerLocationScore`.

    Frames that the detector skips stay skipped. The causal median restarts where the detector's does: after a gap and
    while it warms up. The detector's own smoothing is not used, since it belongs to its own score.

    Args:
        inner: The detector's scorer.
        statistics: Per-location statistics of the camera's normal video.
        camera: Configured id of the camera, for messages.
    """

    def __init__(self, inner: CameraScorer, statistics: PerLocationStatistics, camera: str) -> None:
        self._inner = inner
        self._local = PerLocationScore(statistics)
        self._camera = camera
        self._restarts: set[int] = set()
        self._told = False

    @property
    def gaps(self) -> int:
        """Number of times that the history was reset because frames were missing."""
        return self._inner.gaps

    def preprocess(self, frame: Frame) -> ModelInput | None:
        """See `CameraScorer.preprocess`."""
        gaps = self._inner.gaps
        model_input = self._inner.preprocess(frame)
        if self._inner.gaps != gaps:
            self._restarts.add(frame.index)  # its score may come later, after those of earlier frames
        return model_input

    def score(self, model_input: ModelInput, outputs: npt.NDArray[np.float32]) -> FrameScore:
        """Return the per-location score, with the evidence of every location as its anomaly map.

        Raises:
            CalibrationError: The detector has no anomaly map.
        """
        raw = self._inner.score(model_input, outputs)
        passed = {index for index in self._restarts if index <= raw.index}
        if passed or raw.skipped_reason == "warming_up":
            self._restarts -= passed
            self._local.reset()
        if raw.skipped_reason is not None or np.isnan(raw.score):
            return raw
        if raw.anomaly_map is None:
            raise CalibrationError(
                f"camera {self._camera!r}: the calibration has per-location statistics, but its model has no map",
                hint="calibrate again with --no-local",
            )
        if raw.anomaly_map.shape != self._local.statistics.grid and not self._told:
            self._told = True
            _log.warning(
                "camera %s: the anomaly map has %d×%d locations, the calibration's statistics %d×%d; all are compared "
                "with the whole picture; calibrate with this camera's video",
                self._camera, *raw.anomaly_map.shape, *self._local.statistics.grid,
            )  # fmt: skip
        score, evidence = self._local.update(raw.anomaly_map)
        return replace(raw, score=score, anomaly_map=evidence)

    def location_box(self, row: int, col: int) -> tuple[int, int, int, int]:
        """Return (x0, y0, x1, y1) of a location in pixels of the source's frame; x1, y1 exclusive."""
        return self._inner.location_box(row, col)

    def reset(self) -> None:
        """Forget all frames."""
        self._inner.reset()
        self._local.reset()
        self._restarts.clear()
