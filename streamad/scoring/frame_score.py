"""FrameScore: the score of one frame."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from streamad.frame import LocationBoxes


@dataclass(frozen=True, slots=True)
class FrameScore:
    """The anomaly score of one frame. Higher is more anomalous.

    Attributes:
        camera: The configured id of the camera.
        index: Number of the frame in its source. Windowed models score a frame inside their window, so this is not
            always the newest one.
        pts_seconds: Presentation time of that frame, seconds.
        score: The raw score; NaN if the frame has none (see `skipped_reason`).
        anomaly_map: (rows, cols) float32 raw score of every location, NaN where a location was not scored; None if the
            detector does not localize.
        received_at: `time.monotonic()` when the frame was decoded, for end-to-end latency.
        skipped_reason: Why the frame has no score: "warming_up", "gap", "quality", "non_finite", or in files also
            "window" (the video ends before the window around the frame is complete). None if it has a score.
        reason: What is unusual at the frame's highest location, in words for an operator; None if the detector gives no
            reason. If the frame-quality gate rejected the frame: what is wrong with its picture ("dark").
        region: (x0, y0, x1, y1) of what is unusual, pixels of this frame, right and bottom edges exclusive, where it is
            known to be more than the highest location; None otherwise.
        boxes: Where the anomaly map's locations lie on this frame; None if it has no anomaly map.
        is_alert: Whether an event is open after this frame. A session sets it; without an alert policy it stays False.
    """

    camera: str
    index: int
    pts_seconds: float
    score: float
    anomaly_map: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    received_at: float = 0.0
    skipped_reason: str | None = None
    reason: str | None = None
    region: tuple[int, int, int, int] | None = None
    boxes: LocationBoxes | None = field(default=None, repr=False)
    is_alert: bool = False

    @property
    def peak(self) -> tuple[int, int] | None:
        """(row, col) of the anomaly map's highest location; None if no location has a finite score."""
        if self.anomaly_map is None or not (scored := np.isfinite(self.anomaly_map)).any():
            return None
        row, col = np.unravel_index(int(np.argmax(np.where(scored, self.anomaly_map, -np.inf))), self.anomaly_map.shape)
        return int(row), int(col)

    @property
    def cause(self) -> str | None:
        """Why the frame has no score, with the fault of its picture ("quality:dark"); None if it has one."""
        if self.skipped_reason is None or self.reason is None:
            return self.skipped_reason
        return f"{self.skipped_reason}:{self.reason}"
