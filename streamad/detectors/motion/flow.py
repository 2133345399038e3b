"""Movement in the picture: optical flow over two times, averaged over the cells of a grid."""

from __future__ import annotations

import copy
import math
from collections import deque

import cv2
import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.layout import CELL
from streamad.frame import Frame, UInt8Image

Floats = npt.NDArray[np.float32]

LAGS = (0.1, 0.3)
"""Desired ages of the frames that the flow is measured against, seconds. Over 0.1 s, a runner stays within the search
range; over 0.3 s, what is slow or far away moves by more than the error of the flow. Mean AUC over the seven labeled
views of docs/results/panel.md: 0.952 with 0.1 s alone, 0.923 with 0.3 s alone, 0.959 with both."""

LONGEST_SECONDS = 0.6
"""Maximum age of the frame that the flow is measured against, seconds; objects have left their place after that."""

REFRESH_SECONDS = 0.075
"""Time for which a flow over the longer time is used again: at 25 frames/s it is measured every other frame. It is
averaged over twice as long."""

CHANGE = 10
"""Gray levels by which a pixel must change to count as moving: above the noise of most cameras."""

JUMP = 2.0
LEAST_JUMP = 0.05
"""A picture may be damaged if more than this many times the usual share of it, and more than this share, has changed
since the one before …"""
BACK = 0.5
"""… and is left out if less than this fraction of that has changed between the one before and the one after."""

USUAL_SECONDS = 1.0
"""Time constant of the usual share."""

AVERAGING_SECONDS = 0.15
"""Time constant of the mean over time of each cell, seconds. Of 0, 0.15, 0.3, 0.5 and 0.8 s, 0.15 s had the highest
mean AUC on the panel."""


class FlowMeter:
    """Movement in every cell of one camera's picture.

    The flow is the dense inverse search of Kroeger et al. 2016 (OpenCV's DIS, without its variational refinement), from
    an earlier frame to the newest one, divided by the time between them, where the pixel has changed. Speeds therefore
    do not depend on the frame rate. A change of the whole picture's brightness is not a movement.

    A single damaged picture, torn by a lost packet or lit by a flash, is left out: it differs from the one before and
    the one after, which resemble each other. What moves differs from where it was for longer.

    Args:
        height: Height of the working frame, working pixels; see `layout.HEIGHT`.
        level: Gray levels by which a pixel must change to count as moving.
    """

    def __init__(self, *, height: int, level: int = CHANGE) -> None:
        self._height = height
        self._level = level
        self._past: deque[tuple[float, UInt8Image]] = deque()
        self._mean: Floats | None = None
        self._slow: tuple[float, Floats] | None = None
        self._suspect: tuple[float, UInt8Image] | None = None
        self._usual_share: float | None = None
        self._last_index = -1
        self._dis = _new_flow()
        self.gaps = 0
        """Number of times that the past was discarded because the stream broke off."""

    def push(self, frame: Frame) -> Floats | str:
        """Add the next frame.

        Returns:
            (rows, cols, 11) float32: the mean over time of each cell's `layout.SHARE` and `layout.MOVEMENT`; or the
            reason why there is none: "gap" if frames are missing, "warming_up" if the stream has just begun.
        """
        pixels = shrunk(frame.pixels, self._height)
        now = frame.pts_seconds
        broken = bool(self._past) and (
            frame.is_discontinuity
            or frame.index <= self._last_index
            or now <= self._past[-1][0]
            or self._past[-1][1].shape != pixels.shape
        )
        if broken:
            self._forget()
            self.gaps += 1
        self._last_index = frame.index
        since = now - self._past[-1][0] if self._past else None
        if since is not None and since > LONGEST_SECONDS:
            self._forget()
        if self._mean is not None and self._is_suspect(now, pixels):
            return self._mean
        if self._past:
            since = now - self._past[-1][0]
        found = self._moved(now, pixels, grid_shape(frame.shape, self._height))
        self._past.append((now, pixels))
        while len(self._past) > 1 and now - self._past[1][0] >= LAGS[1]:
            self._past.popleft()
        if found is None:
            return "warming_up" if since is None or since <= LONGEST_SECONDS else "gap"
        assert since is not None
        share = np.float32(1 - math.exp(-since / AVERAGING_SECONDS))
        # The mean begins at rest: a stream that begins in the middle of a movement is not less usual for it.
        self._mean = share * found if self._mean is None else self._mean + share * (found - self._mean)
        return self._mean

    def reset(self) -> None:
        """Forget the frames."""
        self._forget()

    def __deepcopy__(self, memo: dict[int, object]) -> FlowMeter:
        """Return an independent copy. OpenCV's object, which holds no state between frames, is created again."""
        other = FlowMeter.__new__(FlowMeter)
        for name, value in self.__dict__.items():
            other.__dict__[name] = _new_flow() if name == "_dis" else copy.deepcopy(value, memo)
        return other

    def _forget(self) -> None:
        self._past.clear()
        self._mean = self._slow = self._suspect = self._usual_share = None

    def _is_suspect(self, now: float, pixels: UInt8Image) -> bool:
        """Whether to wait for the next picture before this one counts.

        If another one waits, it is decided whether that counts.
        """
        then, before = self._past[-1]
        share = self._share(before, pixels)
        if self._suspect is not None:
            if share >= BACK * (jump := self._share(before, self._suspect[1])):
                self._past.append(self._suspect)
                self._usual_share = jump
            self._suspect = None
            return False
        usual = share if self._usual_share is None else self._usual_share
        if share > max(JUMP * usual, LEAST_JUMP) and now - then <= LONGEST_SECONDS / 2:
            self._suspect = now, pixels
            return True
        weight = 1 - math.exp((then - now) / USUAL_SECONDS)
        self._usual_share = usual + weight * (share - usual)
        return False

    def _share(self, past: UInt8Image, pixels: UInt8Image) -> float:
        """Share of the picture that has changed, from every fourth row and column."""
        sample = (slice(None, None, 4), slice(None, None, 4))
        return float(np.count_nonzero(self._changed(past[sample], pixels[sample]))) / pixels[sample].size

    def _moved(self, now: float, pixels: UInt8Image, grid: tuple[int, int]) -> Floats | None:
        """Return (rows, cols, 11) share and movement of each cell; None without frames that are old enough."""
        if not self._past or now - self._past[0][0] < 0.5 * sum(LAGS):
            return None
        fast = self._cells(LAGS[0], now, pixels, grid)
        if self._slow is None or now - self._slow[0] > REFRESH_SECONDS:
            self._slow = now, self._cells(LAGS[1], now, pixels, grid)
        return np.concatenate([fast, self._slow[1][..., 1:]], axis=-1)

    def _cells(self, lag: float, now: float, pixels: UInt8Image, grid: tuple[int, int]) -> Floats:
        """Return (rows, cols, 6): the share of each cell that moves, and its movement as in `layout.FAST`."""
        at, past = min(self._past, key=lambda item: (abs(now - item[0] - lag), -item[0]))
        height, width = pixels.shape
        half = (max(1, width // 2), max(1, height // 2))
        moving = cv2.resize(self._changed(past, pixels), half, interpolation=cv2.INTER_AREA).astype(np.float32)
        flow = cv2.resize(self._dis.calc(past, pixels, None), half, interpolation=cv2.INTER_AREA)  # type: ignore[call-overload]
        scale = self._height / height  # a smaller frame counts as if it had the working height
        moving = moving * np.float32(1 / 255)
        flow = np.asarray(flow * (moving * np.float32(scale / (now - at)))[..., None], np.float32)
        ahead = np.maximum(flow, 0.0)
        speed = np.sqrt(flow[..., 0] ** 2 + flow[..., 1] ** 2)  # cv2.magnitude rounds by the place in memory
        rows, cols = grid
        pooled = [
            cv2.resize(part, (cols, rows), interpolation=cv2.INTER_AREA).reshape(rows, cols, -1)
            for part in (moving, ahead, ahead - flow, speed)
        ]
        return np.concatenate(pooled, axis=-1, dtype=np.float32)

    def _changed(self, past: UInt8Image, pixels: UInt8Image) -> UInt8Image:
        """Return (H, W) 255 where a pixel has changed by the level, apart from the change of the whole picture."""
        sample = (slice(None, None, 8), slice(None, None, 8))
        shift = int(np.median(pixels[sample].astype(np.int16) - past[sample]))
        if shift:
            past = np.asarray((cv2.add if shift > 0 else cv2.subtract)(past, abs(shift)), np.uint8)  # type: ignore[call-overload]
        _, changed = cv2.threshold(cv2.absdiff(pixels, past), self._level - 1, 255, cv2.THRESH_BINARY)
        return np.asarray(changed, np.uint8)


def shrunk(pixels: UInt8Image, height: int) -> UInt8Image:
    """Shrink a frame that is taller than `height`, keeping the aspect ratio and averaging areas."""
    if pixels.shape[0] <= height:
        return pixels
    scaled = (max(1, round(pixels.shape[1] * height / pixels.shape[0])), height)
    return np.asarray(cv2.resize(pixels, scaled, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def grid_shape(shape: tuple[int, int], height: int) -> tuple[int, int]:
    """Return the rows and columns of the grid for a frame of this (height, width), pixels."""
    rows = max(1, round(height / CELL))
    return rows, max(1, round(shape[1] * rows / shape[0]))


def _new_flow() -> cv2.DISOpticalFlow:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(1)
    dis.setVariationalRefinementIterations(0)
    return dis
