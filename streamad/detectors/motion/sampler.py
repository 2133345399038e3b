"""Descriptors of normal video: every frame is described, and a bounded sample of frames is kept to fit to."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator

import numpy as np

from streamad.bundle import Manifest
from streamad.detectors.motion.fitting import Sample
from streamad.detectors.motion.scorer import MotionScorer
from streamad.frame import Frame

MAX_FRAMES = 4000
MAX_PATCHES = 400_000
"""Maximum number of frames and patches to fit to: some 200 MB, and a minute of work for one core."""


class Describer:
    """Turns clips of a camera's normal video into samples, one for each frame that the detector would score.

    Args:
        manifest: How frames become descriptors.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._scorer = MotionScorer(manifest, "fitting")
        self._clip = -1
        self.frames = 0
        """Frames read."""

    @property
    def working(self) -> tuple[int, int]:
        """(height, width) of the working frame; (0, 0) before the first."""
        return self._scorer.working

    def described(self, frames: Iterable[Frame]) -> Iterator[Sample]:
        """Yield the samples of the next clip. The background carries over from the clip before."""
        self._clip += 1
        began: float | None = None
        for frame in frames:
            self.frames += 1
            found = self._scorer.described(frame)
            if isinstance(found, str):
                continue
            began = frame.pts_seconds if began is None else began
            yield Sample(found.values, self._clip, frame.pts_seconds - began)


class MotionSampler:
    """Keeps a sample of the frames of a camera's normal video.

    Short video is kept whole. Of longer video, frames in which something moves are sampled, each with the same
    probability wherever it lies: a random number is drawn for each, and those with the lowest are kept. An hour at
    night and an hour of traffic therefore do not compete for room, and the sample does not depend on the frame rate.

    Args:
        manifest: How frames become descriptors.
        max_frames: Maximum number of frames.
        max_patches: Maximum number of patches.
        seed: Seed of the sample.
    """

    def __init__(
        self, manifest: Manifest, *, max_frames: int = MAX_FRAMES, max_patches: int = MAX_PATCHES, seed: int = 17
    ) -> None:
        self._describer = Describer(manifest)
        self._most_frames, self._most_cells = max_frames, max_patches
        self._rng = np.random.default_rng(seed)
        self._moving: list[tuple[float, int, Sample]] = []
        """A heap: the highest random number, negated, first; with the number of the sample and the sample."""
        self._still: list[tuple[int, Sample]] = []
        self._lowest_dropped = 1.0
        self._cells = 0
        self.described = 0
        """Number of frames described so far; some of them are kept."""
        self.is_whole = True
        """Whether every described frame is kept. Otherwise frames in which nothing moves are not."""

    @property
    def frames(self) -> int:
        """Frames read."""
        return self._describer.frames

    @property
    def working(self) -> tuple[int, int] | None:
        """(height, width) of the working frame; None before the first."""
        return self._describer.working if self.frames else None

    @property
    def samples(self) -> list[Sample]:
        """The kept samples in order of time."""
        kept = self._still + [(number, sample) for _, number, sample in self._moving]
        return [sample for _, sample in sorted(kept, key=lambda item: item[0])]

    def feed(self, frames: Iterable[Frame]) -> None:
        """Add one clip."""
        for sample in self._describer.described(frames):
            self._keep(sample)
            self.described += 1
            if self.is_whole and (self.described > self._most_frames or self._cells > self._most_cells):
                self.is_whole = False
                self._still.clear()
            while len(self._moving) > self._most_frames or self._cells > self._most_cells:
                negated, _, dropped = heapq.heappop(self._moving)
                self._lowest_dropped = -negated
                self._cells -= len(dropped.values)

    def _keep(self, sample: Sample) -> None:
        if not len(sample.values):
            if self.is_whole:
                self._still.append((self.described, sample))
            return
        draw = float(self._rng.random())
        if draw < self._lowest_dropped:
            heapq.heappush(self._moving, (-draw, self.described, sample))
            self._cells += len(sample.values)
