"""PatchSampler: from clips of normal video to the moving patches that a detector learns from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import cv2
import numpy as np
import numpy.typing as npt

from streamad.errors import UsageError
from streamad.frame import Frame, UInt8Image
from streamad.preprocessing import BackgroundModel, PatchHistory
from streamad.zones import Zones, ZoneSpec

FLOW_CONSISTENT = 0.6
"""Consistency of the optical flow from which "against the flow" is meaningful: at 0.6, four fifths of the movement have
one direction."""


class PatchSampler:
    """Keeps a bounded random sample of moving patches with their history.

    Args:
        lags: Ages of the channels, in frames.
        max_cells: Maximum number of patches; beyond it, they are sampled uniformly (reservoir sampling).
        seed: Seed of the sample.
        max_height: Taller frames are shrunk to this height, pixels.
        zones: The parts of the picture to sample. Empty: all of it.
    """

    def __init__(
        self,
        lags: tuple[int, ...],
        *,
        max_cells: int,
        seed: int,
        max_height: int | None = None,
        zones: Sequence[ZoneSpec] = (),
    ) -> None:
        self._zones = Zones.of(zones)
        self._background = BackgroundModel()
        self._history = PatchHistory(lags=lags, background=self._background, max_height=max_height)
        self._rng = np.random.default_rng(seed)
        self._max = max_cells
        self._kept: list[npt.NDArray[np.uint8]] = []
        self._camera: str | None = None
        self.seen = 0
        self.frames = 0
        self._flow = _FlowMeter()

    def feed(self, frames: Iterable[Frame]) -> None:
        """Add the frames of one clip. A change of camera resets the background."""
        for frame in frames:
            if frame.camera != self._camera:
                self._history.reset()
                self._camera = frame.camera
            patches = self._history.push(frame)
            self.frames += 1
            kept = slice(None) if self._zones is None else self._zones.keep(patches.boxes, patches.locations)
            for patch in patches.pixels[kept]:
                self._offer(patch)
            if len(patches.locations[kept]):
                self._flow.feed(frame)

    def stacks(self) -> npt.NDArray[np.uint8]:
        """Return the patches, (n, len(lags), 30, 30) uint8.

        Raises:
            UsageError: Nothing moved.
        """
        if not self._kept:
            raise UsageError(
                f"nothing moved in {self.frames} frames, so there is nothing to learn from",
                hint="give normal video in which people or vehicles move, longer than the 32 frames of warm-up",
            )
        return np.stack(self._kept)

    @property
    def flow_consistency(self) -> float:
        """|Σ v| / Σ |v| of the flow in moving patches, from 0 (all directions) to 1 (one direction)."""
        return self._flow.consistency

    def _offer(self, patch: npt.NDArray[np.uint8]) -> None:
        self.seen += 1
        if len(self._kept) < self._max:
            self._kept.append(patch.copy())
            return
        place = int(self._rng.integers(self.seen))
        if place < self._max:
            self._kept[place] = patch.copy()


class _FlowMeter:
    """Sums the optical flow of moving patches on every tenth frame."""

    def __init__(self) -> None:
        self._dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self._previous: Frame | None = None
        self._sum = np.zeros(2)
        self._length = 0.0

    @property
    def consistency(self) -> float:
        return float(np.hypot(*self._sum) / self._length) if self._length > 0 else 0.0

    def feed(self, frame: Frame) -> None:
        previous = self._previous
        wanted = frame.index % 10 in (0, 1)
        self._previous = frame if wanted else None
        if previous is None or frame.index != previous.index + 1 or previous.shape != frame.shape:
            return
        flow = np.asarray(self._dis.calc(previous.pixels, frame.pixels, None))  # type: ignore[call-overload]
        moving = flow[_moving_pixels(frame.pixels, previous.pixels)]
        speed = np.hypot(moving[:, 0], moving[:, 1])
        fast = speed > 0.25  # slower is noise
        self._sum += moving[fast].sum(axis=0)
        self._length += float(speed[fast].sum())


def _moving_pixels(now: UInt8Image, before: UInt8Image) -> npt.NDArray[np.bool_]:
    return np.asarray(cv2.absdiff(now, before) > 15, dtype=np.bool_)
