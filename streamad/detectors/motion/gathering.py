"""Gathering the descriptors of normal video, a bounded number of frames of it."""

from __future__ import annotations

from collections.abc import Iterable

from streamad.bundle import Manifest
from streamad.detectors.motion.fitting import Sample
from streamad.detectors.motion.scorer import MotionScorer
from streamad.frame import Frame

MOST_FRAMES = 4000
MOST_CELLS = 400_000
"""Most frames and cells that are fitted to: some 200 MB, and a minute's work for one core. Beyond, every second one is
dropped, again and again, so that what is kept always spreads over the whole video."""


class Gatherer:
    """Takes the frames of a camera's normal video.

    Args:
        manifest: how frames become descriptors.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._scorer = MotionScorer(manifest, "fitting")
        self._kept: list[tuple[int, Sample]] = []
        self._stride = 1
        self._described = 0
        self._clip = -1
        self.frames = 0
        """Frames read."""
        self.working: tuple[int, int] | None = None
        """(height, width) of the working frame; None before the first."""

    def feed(self, frames: Iterable[Frame]) -> None:
        """Take one clip."""
        self._clip += 1
        began: float | None = None
        for frame in frames:
            self.frames += 1
            found = self._scorer.described(frame)
            self.working = self._scorer.working
            if isinstance(found, str):
                continue
            began = frame.pts_seconds if began is None else began
            if self._described % self._stride == 0:
                sample = Sample(found.values, self._clip, frame.pts_seconds - began)
                self._kept.append((self._described, sample))
                self._thin()
            self._described += 1

    @property
    def stride(self) -> int:
        """Of how many frames one was kept."""
        return self._stride

    @property
    def samples(self) -> list[Sample]:
        """What was kept, in order."""
        return [sample for _, sample in self._kept]

    def _thin(self) -> None:
        cells = sum(len(sample.values) for _, sample in self._kept) if len(self._kept) % 64 == 0 else 0
        while len(self._kept) > MOST_FRAMES or cells > MOST_CELLS:
            self._stride *= 2
            self._kept = [item for item in self._kept if item[0] % self._stride == 0]
            cells = sum(len(sample.values) for _, sample in self._kept)
