"""How the picture moves: foreground and optical flow of a camera's frames, in working pixels a second."""

from __future__ import annotations

import copy
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
import numpy.typing as npt

from streamad.detectors.motion.appearance import look_maps
from streamad.frame import Frame, UInt8Image
from streamad.preprocessing import BackgroundModel

PROBE_SECONDS = 0.1
"""Age of the frame that the flow is measured against before anything is known of a camera."""

DISPLACEMENT = 2.5
"""Way that a usual thing goes between the two frames of a flow, working pixels (our choice): much more than the error
of the flow, about 0.2, while a thing three times as fast is still found. On a rendered scene, in which people walk 38
pixels a second, AUC was 0.98 with 3, 0.94 with 6 and 0.87 with 11; on Ped2's normal clips, 8 pixels a second, people
replayed twice as fast were found with 0.99 at 2.4 and 0.95 at 3.2."""

LONGEST_SECONDS = 0.6
"""Oldest frame that the flow is still measured against: beyond, things have left their place."""


@dataclass(frozen=True, slots=True)
class Movement:
    """What moves in a frame.

    Attributes:
        foreground: (H/2, W/2) float32, 0..1: how surely a pixel differs from the scene at rest.
        flow: (H/2, W/2, 2) float32: speed to the right and down, working pixels a second; None where there is no
            earlier frame to measure it against.
        seconds: time since the frame before, None for the first after a gap.
        dropped: there is no flow because frames were dropped, not because the stream has just begun.
        looks: (channels, H/2, W/2) float32, see `look_maps`; None where there is no flow.
    """

    foreground: npt.NDArray[np.float32]
    flow: npt.NDArray[np.float32] | None
    seconds: float | None
    dropped: bool = False
    looks: npt.NDArray[np.float32] | None = None


class FlowMeter:
    """Foreground and flow of one camera.

    The flow is the dense inverse search of Kroeger et al. 2016 (OpenCV's DIS, without its variational refinement),
    from the newest frame back to the one about `flow_seconds` before, divided by the time between: speeds do not
    depend on the rate of the frames.

    Args:
        background: the scene at rest.
        level: gray levels by which a pixel must differ to be half foreground.
        max_height: taller frames are shrunk to it first, pixels.
        flow_seconds: age wanted of the frame that the flow is measured against; the nearest there is is taken.
    """

    def __init__(
        self, background: BackgroundModel, *, level: int, max_height: int | None, flow_seconds: float = PROBE_SECONDS
    ) -> None:
        self._background = background
        self._flow_seconds = flow_seconds
        self._level = level
        self._max_height = max_height
        self._past: deque[tuple[float, UInt8Image]] = deque()
        self._last_index = -1
        self._dis = _new_flow()
        self.gaps = 0
        """Times that the past was thrown away because the stream broke off."""

    @property
    def is_warm(self) -> bool:
        """Whether the scene at rest is known."""
        return self._background.is_warm

    def push(self, frame: Frame) -> Movement:
        """Take the next frame."""
        pixels = shrunk(frame.pixels, self._max_height)
        now = frame.pts_seconds
        broken = bool(self._past) and (
            frame.is_discontinuity
            or frame.index <= self._last_index
            or now <= self._past[-1][0]
            or self._past[-1][1].shape != pixels.shape
        )
        if broken:
            self._past.clear()
            self.gaps += 1
        self._last_index = frame.index
        seconds = now - self._past[-1][0] if self._past else None
        difference = self._background.difference(pixels)
        rest = self._background.image
        half = (pixels.shape[1] // 2, pixels.shape[0] // 2)
        shade = cv2.resize(difference, half, interpolation=cv2.INTER_AREA).astype(np.float32)
        foreground = np.clip((shade - 0.5 * self._level) / self._level * 1.5, 0.0, 1.0, dtype=np.float32)
        flow = self._flow(now, pixels, half)
        dropped = flow is None and seconds is not None and seconds > LONGEST_SECONDS
        self._past.append((now, pixels))
        while len(self._past) > 1 and now - self._past[1][0] >= self._flow_seconds:
            self._past.popleft()
        assert rest is not None
        looks = None if flow is None else look_maps(pixels, rest, foreground)
        return Movement(foreground, flow, seconds, dropped, looks)

    def reset(self) -> None:
        """Forget the frames and the scene at rest."""
        self._past.clear()
        self._background.reset()

    def __deepcopy__(self, memo: dict[int, object]) -> FlowMeter:
        """A copy that goes on by itself; OpenCV's own object, which holds no state between frames, is made anew."""
        other = FlowMeter.__new__(FlowMeter)
        for name, value in self.__dict__.items():
            other.__dict__[name] = _new_flow() if name == "_dis" else copy.deepcopy(value, memo)
        return other

    def _flow(self, now: float, pixels: UInt8Image, half: tuple[int, int]) -> npt.NDArray[np.float32] | None:
        aged = [
            (abs(now - at - self._flow_seconds), at, past) for at, past in self._past if now - at <= LONGEST_SECONDS
        ]
        if not aged:
            return None
        _, at, past = min(aged, key=lambda item: item[0])
        if now - at < 0.5 * self._flow_seconds:
            return None  # just begun: the error of the flow would be as large as what moves
        # From the newest frame back: at a pixel of the newest frame stands how its content came there.
        back = self._dis.calc(pixels, past, None)  # type: ignore[call-overload]
        flow = cv2.resize(back, half, interpolation=cv2.INTER_AREA)
        return np.asarray(flow * np.float32(-1.0 / (now - at)), dtype=np.float32)


def flow_seconds_for(usual_speed: float) -> float:
    """Age of the frame that a camera's flow is measured against, by the usual speed there, working pixels a second."""
    return float(np.clip(DISPLACEMENT / max(usual_speed, 1e-3), 0.01, 0.4))


def shrunk(pixels: UInt8Image, max_height: int | None) -> UInt8Image:
    """A frame no taller than `max_height`, aspect kept, areas averaged."""
    height, width = pixels.shape
    if max_height is None or height <= max_height:
        return pixels
    scaled = (max(1, round(width * max_height / height)), max_height)
    return np.asarray(cv2.resize(pixels, scaled, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _new_flow() -> cv2.DISOpticalFlow:
    dis = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    dis.setFinestScale(1)
    dis.setVariationalRefinementIterations(0)
    return dis
