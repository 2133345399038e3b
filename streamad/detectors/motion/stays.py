"""How long something new has been standing in every cell of the picture."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from streamad.frame import Frame

Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

SAMPLE_SECONDS = 0.5
"""Time between the pictures that are looked at, seconds."""

PIXELS = 4
"""Pixels of a cell, horizontally and vertically, in the small picture in which appearances are compared: what is
averaged over the pixels of the camera's picture has little noise left, and does not notice a slight shake."""

MARGIN = 2
"""Pixels around a cell that belong to its appearance."""

CONTRAST = (0.03 * 255) ** 2
"""Variance, gray levels², below which structure is noise: the constant C2 of SSIM."""

SAME = 0.6
"""Similarity from which two appearances are the same."""

STILL = 0.7
"""Similarity to the appearance half a second before from which a cell stands still."""

ADAPTATION_SECONDS = 60.0
"""Time constant with which an appearance follows the light, seconds."""

EVERYWHERE = 0.4
"""Share of the cells in which something new appears at once, or stands, from which it is the light or the camera."""

LEAST_SECONDS = 1.0
"""Shortest stay that is looked at: two samples more than what moves past."""

GROWTH, GROWTH_SECONDS = 1.1, 5.0
"""A stay is noted each time that it has become this many times as long, or longer by so many seconds: so that it is
noted while an alert about it is open, and video that is learned from later shows whose stay it is."""

KNOWN = 2.0
"""A stay counts for the time for which the scene behind it was seen, divided by this."""

TIE_SECONDS = 0.01
"""Times this close count as equal: sums of times differ by rounding."""

LONGEST_STEP_SECONDS = 1.0
"""Longest time that passes between two pictures: what was not watched does not count as a stay."""


class StayMeter:
    """How long something has been standing in each cell that is not part of the scene.

    Every cell has up to three appearances: that of the scene, the newest one that stands in front of it, and that of
    the scene before. An appearance is the small picture of the cell and a margin, less its mean; two are compared by
    the contrast and structure terms of SSIM (Wang et al. 2004), which do not notice a change of brightness. What moves
    is none of them. A stay is the time for which the same thing was seen to stand there, until the scene is seen again;
    passers-by in front of it do not end it, and do not count. It counts for at most a part of the time for which the
    scene was seen: what stood there at the beginning and leaves is not a scene behind which something new stands. What
    has stood there for longer than the scene was seen becomes the scene; when it leaves, the scene before is the scene
    again. A thing covers two neighboring cells at least. Layers that compete by time are those of Stauffer and
    Grimson 1999, without their probabilities.

    If the new appears nearly everywhere at once, light or camera has changed, and all cells begin again.

    Time is that which was watched: a stay outlasts a gap, but the gap does not count.
    """

    def __init__(self) -> None:
        self._now = 0.0
        self._last: float | None = None
        self._sampled = -np.inf
        self._scene: _Layer | None = None
        self._front: _Layer
        self._former: _Layer
        self._has_former: Bools
        self._before: Floats
        self._is_near = False  # whether `_before` is the picture of half a second ago
        self._is_on: Bools
        self._told: Floats
        self.seconds: Floats = np.zeros((0, 0), np.float32)
        """(rows, cols) how long something has been seen to stand there, seconds; 0 where nothing stands."""

    def push(self, frame: Frame, grid: tuple[int, int]) -> Bools | None:
        """Add the next frame.

        Args:
            frame: The frame.
            grid: Rows and columns of the grid.

        Returns:
            (rows, cols) cells whose stay has grown enough to be noted; None between two samples.
        """
        step = 0.0 if self._last is None else frame.pts_seconds - self._last
        is_broken = frame.is_discontinuity or not 0 <= step <= LONGEST_STEP_SECONDS
        self._last = frame.pts_seconds
        self._now += float(np.clip(step, 0.0, LONGEST_STEP_SECONDS))
        self._is_near &= not is_broken
        if self._now - self._sampled < SAMPLE_SECONDS - 1e-6:
            return None
        passed = min(self._now - self._sampled, LONGEST_STEP_SECONDS)
        self._sampled = self._now
        return self._look(_appearances(frame.pixels, grid), passed)

    def _look(self, found: Floats, passed: float) -> Bools:
        if self._scene is None or self._scene.values.shape != found.shape:
            self._begin(found)
            return np.zeros(found.shape[:2], bool)
        scene, front = self._scene, self._front
        still = (similarity(found, self._before) >= STILL) & self._is_near
        self._before, self._is_near = found, True
        like_scene = similarity(found, scene.values)
        like_front = np.where(self._is_on, similarity(found, front.values), -1.0)
        is_scene = still & (like_scene >= SAME) & (like_scene >= like_front)
        is_front = still & ~is_scene & (like_front >= SAME)
        like_former = np.where(self._has_former, similarity(found, self._former.values), -1.0)
        is_former = still & ~is_scene & ~is_front & (like_former >= SAME)
        is_new = still & ~is_scene & ~is_front & ~is_former
        if max(is_new.mean(), (self._is_on & ~is_scene).mean()) > EVERYWHERE:
            self._begin(found)
            return np.zeros(found.shape[:2], bool)
        scene.see(found, is_scene, passed)
        front.see(found, is_front, passed)
        front.replace(found, is_new, passed)
        self._exchange(is_former, self._former)
        self._is_on = (self._is_on & ~is_scene & ~is_former) | is_new
        is_longer = self._is_on & (front.seconds > scene.seconds + TIE_SECONDS)
        self._former.replace(front.values, is_longer, front.seconds)
        self._exchange(is_longer, self._former)
        self._has_former |= is_longer
        self._is_on &= ~is_longer
        self._told[is_new | ~self._is_on] = 0.0
        alone = np.where(self._is_on, front.seconds, 0.0).astype(np.float32)
        alone = np.minimum(alone, (scene.seconds / KNOWN).astype(np.float32))
        self.seconds = np.minimum(alone, _highest_neighbor(alone))
        step = np.minimum(GROWTH * self._told, self._told + GROWTH_SECONDS)
        grown = self.seconds >= np.maximum(LEAST_SECONDS, step)
        self._told[grown] = self.seconds[grown]
        return np.asarray(grown)

    def _exchange(self, where: Bools, other: _Layer) -> None:
        """Exchange the scene's appearance with another one."""
        assert self._scene is not None
        values, seconds = self._scene.values.copy(), self._scene.seconds.copy()
        self._scene.replace(other.values, where, other.seconds)
        other.replace(values, where, seconds)

    def _begin(self, found: Floats) -> None:
        rows, cols = found.shape[:2]
        self._scene, self._front, self._former = _Layer(found), _Layer(found), _Layer(found)
        self._has_former = np.zeros((rows, cols), bool)
        self._before, self._is_near = found, True
        self._is_on = np.zeros((rows, cols), bool)
        self._told, self.seconds = np.zeros((rows, cols), np.float32), np.zeros((rows, cols), np.float32)


class _Layer:
    """An appearance of every cell, and how long it was seen.

    Args:
        values: (rows, cols, numbers) appearances.
    """

    def __init__(self, values: Floats) -> None:
        self.values = values.copy()
        self.seconds = np.full(values.shape[:2], SAMPLE_SECONDS)

    def see(self, found: Floats, where: Bools, passed: float) -> None:
        """Add what was seen to the mean: of all at first, later of about the last `ADAPTATION_SECONDS`."""
        self.seconds[where] += passed
        share = passed / np.minimum(self.seconds[where], ADAPTATION_SECONDS)
        self.values[where] += share[:, None].astype(np.float32) * (found[where] - self.values[where])

    def replace(self, found: Floats, where: Bools, seconds: float | npt.NDArray[np.float64]) -> None:
        """Take other appearances, which were seen for so long."""
        self.values[where] = found[where]
        self.seconds[where] = np.broadcast_to(seconds, where.shape)[where]


def similarity(one: Floats, other: Floats) -> Floats:
    """Return the product of contrast and structure terms of SSIM, −1 to 1.

    Args:
        one: (…, numbers) appearances of mean 0, gray levels.
        other: The same.
    """
    count = one.shape[-1]
    product, square, square_other = (
        np.einsum("...k,...k->...", a, b) / count for a, b in ((one, other), (one, one), (other, other))
    )
    return np.asarray((2 * product + CONTRAST) / (square + square_other + CONTRAST), np.float32)


def _appearances(pixels: npt.NDArray[np.uint8], grid: tuple[int, int]) -> Floats:
    """Return the appearance of every cell, (rows, cols, numbers), each of mean 0."""
    size = (grid[1] * PIXELS, grid[0] * PIXELS)
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA).astype(np.float32)
    around = cv2.copyMakeBorder(small, MARGIN, MARGIN, MARGIN, MARGIN, cv2.BORDER_REPLICATE)
    side = PIXELS + 2 * MARGIN
    windows = np.lib.stride_tricks.sliding_window_view(around, (side, side))[::PIXELS, ::PIXELS]
    values = windows.reshape(*grid, side * side)
    return np.asarray(values - values.mean(axis=-1, keepdims=True), np.float32)


def _highest_neighbor(values: Floats) -> Floats:
    """Return the highest of the eight cells around each."""
    ring = np.ones((3, 3), np.uint8)
    ring[1, 1] = 0
    return np.asarray(cv2.dilate(values, ring, borderType=cv2.BORDER_CONSTANT, borderValue=0.0), np.float32)
