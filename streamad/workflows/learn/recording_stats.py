"""Statistics of normal video while it is recorded: is the picture good, does enough move, and where."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.frame import Frame
from streamad.preprocessing import BackgroundModel, PatchHistory

EVERY_SECONDS = 0.1
HEIGHT = 240
"""The picture is analyzed ten times a second, shrunk to this height: the background model's usual pace."""


class RecordingStats:
    """Counts what moves, and where.

    Attributes:
        seconds: Good video.
        moving_seconds: Part of it in which something moved.
        held: Rejected frames, by reason.
        frames: Good frames.
        hits: (rows, cols) number of times that something moved at each location. None before the first frame.
    """

    def __init__(self) -> None:
        self._history = PatchHistory(lags=(0,), max_height=HEIGHT, background=BackgroundModel())
        self._last: float | None = None
        self._looked: float | None = None
        self._number = 0
        self._moves = False
        self.seconds = 0.0
        self.moving_seconds = 0.0
        self.held: Counter[str] = Counter()
        self.frames = 0
        self.hits: npt.NDArray[np.int64] | None = None
        self.shape: tuple[int, int] | None = None

    def hold(self, reason: str) -> None:
        """Count a rejected frame."""
        self.held[reason] += 1
        self._last = self._looked = None

    def add(self, frame: Frame) -> float:
        """Add a good frame, and return the seconds that it adds."""
        self.frames += 1
        self.shape = frame.shape
        step = 0.0 if self._last is None else frame.pts_seconds - self._last
        if not 0 <= step <= 1.0:
            step, self._looked = 0.0, None
        self._last = frame.pts_seconds
        self.seconds += step
        if self._looked is None or frame.pts_seconds - self._looked >= EVERY_SECONDS - 1e-6:
            self._looked = frame.pts_seconds
            self._look(frame)
        self.moving_seconds += step if self._moves else 0.0
        return step

    @property
    def still_share(self) -> float:
        """Share of the picture in which nothing ever moved."""
        return 1.0 if self.hits is None else float((self.hits == 0).mean())

    def still_parts(self) -> list[str]:
        """Names of the parts of the picture in which nothing ever moved."""
        if self.hits is None:
            return []
        rows, cols = self.hits.shape
        names = []
        for i, down in enumerate(("upper", "middle", "lower")):
            for j, across in enumerate(("left", "center", "right")):
                part = self.hits[i * rows // 3 : (i + 1) * rows // 3, j * cols // 3 : (j + 1) * cols // 3]
                if part.size and not part.any():
                    names.append(f"{down} {across}")
        return names

    def to_json(self) -> dict[str, Any]:
        """Return the state, to continue from."""
        return {
            "seconds": self.seconds,
            "moving_seconds": self.moving_seconds,
            "held": dict(self.held),
            "frames": self.frames,
            "hits": None if self.hits is None else self.hits.tolist(),
            "shape": None if self.shape is None else list(self.shape),
        }

    @classmethod
    def from_json(cls, document: dict[str, Any]) -> RecordingStats:
        """Continue from an earlier state."""
        survey = cls()
        if document:
            survey.seconds, survey.moving_seconds = document["seconds"], document["moving_seconds"]
            survey.held, survey.frames = Counter(document["held"]), document["frames"]
            survey.hits = None if document["hits"] is None else np.array(document["hits"], dtype=np.int64)
            survey.shape = None if document["shape"] is None else (document["shape"][0], document["shape"][1])
        return survey

    def _look(self, frame: Frame) -> None:
        # Renumbered, since it is given only some frames.
        shown = Frame(frame.camera, self._number, frame.pts_seconds, frame.received_at, frame.pixels)
        self._number += 1
        patches = self._history.push(shown)
        self._moves = len(patches.locations) > 0
        if self.hits is None or self.hits.shape != patches.grid.shape:
            self.hits = np.zeros(patches.grid.shape, np.int64)
        self.hits[patches.locations[:, 0], patches.locations[:, 1]] += 1
