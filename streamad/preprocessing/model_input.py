"""ModelInput: what one frame gives a network to score."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.frame import CellBoxes


@dataclass(slots=True, eq=False, weakref_slot=True)
class StreamSlot:
    """Room for what a network carries from frame to frame of one unbroken piece of a camera's video.

    Attributes:
        state: whatever runs the network keeps it here; None before the first frame.
    """

    state: Any = None


@dataclass(frozen=True, slots=True)
class ModelInput:
    """The network's input that scores one frame.

    Attributes:
        camera: the configured id of the camera.
        index: number of the frame that these tiles score.
        pts_seconds: presentation time of that frame, seconds.
        received_at: `time.monotonic()` when the newest frame among the tiles was decoded.
        batch: (n, channels, height, width) float32 in the range that the model declares; n may be 0 (nothing moves).
        cells: (n, 2) row and column of each tile in the grid, None where a tile is the whole frame.
        boxes: where the grid's cells lie on the frame that is scored; one cell where a tile is the whole frame.
        skipped_reason: Why this frame gets no score ("warming_up", "gap"), None where it does.
        stream: For networks that carry state: where; `batch` is then the newest frame, which the network must see
            whether a score is skipped or not. None for all others.
        due: False where no frame's score is due yet, and the network shall only see the newest frame.
    """

    camera: str
    index: int
    pts_seconds: float
    received_at: float
    batch: npt.NDArray[np.float32] = field(repr=False)
    cells: npt.NDArray[np.intp] | None = field(default=None, repr=False)
    boxes: CellBoxes | None = field(default=None, repr=False)
    skipped_reason: str | None = None
    stream: StreamSlot | None = field(default=None, repr=False)
    due: bool = True
