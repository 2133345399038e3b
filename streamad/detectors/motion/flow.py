"""Movement in the picture: foreground and optical flow of a camera's frames, in working pixels per second."""

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
"""Age of the frame that the flow is measured against before anything is known about a camera, seconds."""

DISPLACEMENT = 2.5
"""Distance that a usual object moves between the two frames of a flow, working pixels: much more than the error of the
flow, about 0.2, while an object three times as fast is still found. On a rendered scene in which people walk 38 pixels
per second, the AUC was 0.98 with 3, 0.94 with 6 and 0.87 with 11. On Ped2's normal clips, 8 pixels per second, people
replayed twice as fast were found with an AUC of 0.99 at 2.4 and 0.95 at 3.2."""

LONGEST_SECONDS = 0.6
"""Maximum age of the frame that the flow is measured against, seconds; objects have left their place after that."""


@dataclass(frozen=True, slots=True)
class Movement:
    """Movement in a frame.

    Attributes:
        foreground: (H/2, W/2) float32, 0 to 1: how clearly a pixel differs from the background.
        flow: (H/2, W/2, 2) float32: speed to the right and down, working pixels per second. None if there is no earlier
            frame to measure it against.
        seconds: Time since the previous frame. None for the first after a gap.
        dropped: There is no flow because frames were dropped, not because the stream has just begun.
        looks: (channels, H/2, W/2) float32, see `look_maps`. None if there is no flow.
    """

    foreground: npt.NDArray[np.float32]
    flow: npt.NDArray[np.float32] | None
    seconds: float | None
    dropped: bool = False
    looks: npt.NDArray[np.float32] | None = None


class FlowMeter:
    """Foreground and optical flow of one camera.

    The flow is the dense inverse search of Kroeger et al. 2016 (OpenCV's DIS, without its variational refinement), from
    the newest frame back to one about `flow_seconds` earlier, divided by the time between them. Speeds therefore do not
    depend on the frame rate.

    Args:
        background: The background model.
        level: Gray levels by which a pixel must differ to count as half foreground.
        max_height: Taller frames are shrunk to this height first, pixels.
        flow_seconds: Desired age of the frame that the flow is measured against; the nearest available one is used.
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
        """Number of times that the past was discarded because the stream broke off."""

    @property
    def is_warm(self) -> bool:
        """Whether the background is known."""
        return self._background.is_warm

    def push(self, frame: Frame) -> Movement:
        """Add the next frame."""
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
        """Forget the frames and the background."""
        self._past.clear()
        self._background.reset()

    def __deepcopy__(self, memo: dict[int, object]) -> FlowMeter:
        """Return an independent copy. OpenCV's object, which holds no state between frames, is created again."""
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
            return None  # just begun: the error of the flow would be as large as the movement
        # From the newest frame back: each pixel of the newest frame has the way that its content came.
        back = self._dis.calc(pixels, past, None)  # type: ignore[call-overload]
        flow = cv2.resize(back, half, interpolation=cv2.INTER_AREA)
        return np.asarray(flow * np.float32(-1.0 / (now - at)), dtype=np.float32)


def flow_seconds_for(usual_speed: float) -> float:
    """Return the age of the frame to measure the flow against, by the usual speed in working pixels per second."""
    return float(np.clip(DISPLACEMENT / max(usual_speed, 1e-3), 0.01, 0.4))


def shrunk(pixels: UInt8Image, max_height: int | None) -> UInt8Image:
    """Shrink a frame to at most `max_height`, keeping the aspect ratio and averaging areas."""
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
