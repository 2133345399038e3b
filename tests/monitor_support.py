"""Stand-ins for situations that no real source or engine can produce: a settable clock, frames and outputs on
demand."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np

from streamad.engines import EngineInfo
from streamad.frame import Frame, UInt8Image
from streamad.sources import SourceStatus
from streamad.sources.spec import FileSpec


class Clock:
    """A clock that advances only when set."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class HeldEngine:
    """Holds batches until told to answer. The output for each input is its mean."""

    info = EngineInfo("held", "none", "fp32", "0")
    batch_sizes = (1, 8)

    def __init__(self) -> None:
        self.held: deque[tuple[np.ndarray, Callable[[np.ndarray], None]]] = deque()
        self.sizes: list[int] = []

    def submit(self, batch: np.ndarray, done: Callable[[np.ndarray], None], failed: Any) -> None:
        self.sizes.append(len(batch))
        self.held.append((batch, done))

    def answer(self) -> None:
        """Answer the oldest batch, if any."""
        if self.held:
            batch, done = self.held.popleft()
            done(batch.mean(axis=(1, 2, 3)))

    def drain(self) -> None:
        while self.held:
            self.answer()

    def close(self) -> None:
        self.drain()


class EndlessSource:
    """A live source whose next frame is always available, or available when `due` returns True.

    Skipped numbers are dropped frames.

    Args:
        camera: The configured camera id.
        pictures: Pictures to show repeatedly.
        clock: Clock for the time of reception.
    """

    def __init__(self, camera: str, pictures: list[UInt8Image], clock: Callable[[], float]) -> None:
        self.camera = camera
        self.spec = FileSpec(path="replay", realtime=True)
        self.over = False
        self.due: Callable[[], bool] = lambda: True
        self.index = 0
        self._pictures = pictures
        self._clock = clock

    def poll(self, timeout: float = 0.0) -> Frame | None:
        if self.over or not self.due():
            return None
        picture = self._pictures[self.index % len(self._pictures)]
        frame = Frame(self.camera, self.index, self.index / 25, self._clock(), picture)
        self.index += 1
        return frame

    def newest(self, frame: Frame) -> Frame:
        return frame

    def color(self, index: int) -> bytes | None:
        return None

    def start(self) -> None:
        pass

    def stop(self) -> None:
        self.over = True

    @property
    def status(self) -> SourceStatus:
        return SourceStatus(state="stopped" if self.over else "up", frames_decoded=self.index)
