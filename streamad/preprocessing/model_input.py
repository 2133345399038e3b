"""ModelInput: the network input for scoring one frame."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.frame import LocationBoxes


@dataclass(slots=True, eq=False, weakref_slot=True)
class StreamSlot:
    """Storage for the state of a stateful network over one gap-free part of a camera's video.

    Attributes:
        state: State, in the form of the engine that runs the network; None before the first frame.
    """

    state: Any = None


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The network input for scoring one frame.

    Attributes:
        camera: The configured camera id.
        index: Number of the scored frame.
        pts_seconds: Presentation time of that frame, seconds.
        received_at: `time.monotonic()` when the newest frame in the input was decoded.
        batch: (n, channels, height, width) float32 in the model's declared range; n may be 0 (nothing moves).
        locations: (n, 2) row and column of each patch in the grid; None if the input is a whole frame.
        boxes: Boxes of the grid's locations in the scored frame; a single one if the input is a whole frame.
        skipped_reason: Why this frame gets no score ("warming_up", "gap"); None if it gets one.
        stream: Storage of the state for stateful networks; None for all others. `batch` is then the newest frame,
            which the network must process even if its score is skipped.
        standing: (rows, cols) how long something new has been standing in each place of the grid, seconds; None if
            that is not measured.
        settled: (n,) which patches are of what stands, instead of what moves; None: of nothing.
        due: Whether a frame's score is due; otherwise the network only processes the newest frame.
    """

    camera: str
    index: int
    pts_seconds: float
    received_at: float
    batch: npt.NDArray[np.float32] = field(repr=False)
    locations: npt.NDArray[np.intp] | None = field(default=None, repr=False)
    boxes: LocationBoxes | None = field(default=None, repr=False)
    skipped_reason: str | None = None
    standing: npt.NDArray[np.float32] | None = field(default=None, repr=False)
    settled: npt.NDArray[np.bool_] | None = field(default=None, repr=False)
    stream: StreamSlot | None = field(default=None, repr=False)
    due: bool = True
