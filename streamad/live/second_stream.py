"""SecondStream: a camera's main stream, kept for clips in a process of its own while another stream is watched."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from streamad.frame import Frame
from streamad.observability.status import EvidenceSourceStatus
from streamad.sources import SupervisedSource
from streamad.sources.spec import RtspSpec
from streamad.sources.wire import RecordingSpec

_FRAMES = 64
"""Frames over which the delay of a stream is measured. The shortest is its own; longer ones waited somewhere."""


class SecondStream:
    """Keeps a stream's newest packets without decoding it. What fails here costs its clips, nothing else.

    The two streams of a camera have clocks of their own, which are related by when their frames arrived.

    Args:
        camera: The camera's id.
        spec: The stream.
        recording: What to keep.
        clock: Monotonic seconds.
    """

    def __init__(
        self, camera: str, spec: RtspSpec, recording: RecordingSpec, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.camera = camera
        self.source = SupervisedSource(f"{camera} (evidence)", spec, recording=recording, decode=False)
        self.source.start()
        self._own = _Delay()
        self._watched = _Delay()
        self._clock = clock
        self._up_at = clock()  # when it was last seen up; at first, when it was started

    def follow(self, frame: Frame) -> None:
        """Take a frame of the stream that is watched."""
        self._watched.add(frame)

    def refresh(self) -> None:
        """Keep the connection going; about twice a second."""
        while (frame := self.source.poll()) is not None:
            self._own.add(frame)
        if self.is_up:
            self._up_at = self._clock()

    @property
    def is_up(self) -> bool:
        """Whether clips can be made of it."""
        return self.source.status.state == "up"

    def status(self) -> EvidenceSourceStatus:
        """Its part of the camera's status; may be called from any thread."""
        source = self.source.status
        return EvidenceSourceStatus(
            state=source.state,
            reason=None if source.reason is None else str(source.reason),
            message=source.message,
            down_seconds=None if source.state == "up" else max(0.0, self._clock() - self._up_at),
        )

    def record(self, clip: str, path: Path, since: float, until: float | None) -> bool:
        """Like `SupervisedSource.record`, with times of the stream that is watched; False while this one is down."""
        shift = self._watched.seconds - self._own.seconds
        if not self.is_up or shift != shift:
            return False
        return self.source.record(clip, path, since + shift, None if until is None else until + shift)


class _Delay:
    """Shortest difference between the arrival and the time of a stream's newest frames; NaN before the first."""

    def __init__(self) -> None:
        self._newest: deque[float] = deque(maxlen=_FRAMES)

    def add(self, frame: Frame) -> None:
        self._newest.append(frame.received_at - frame.pts_seconds)

    @property
    def seconds(self) -> float:
        return min(self._newest, default=float("nan"))
