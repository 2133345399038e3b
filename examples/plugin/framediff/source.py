"""A source that draws its frames: a square that crosses a textured wall and, if asked to, jumps about for a while."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Literal, Self

import numpy as np
from pydantic import Field

from streamad.errors import UsageError
from streamad.frame import Frame, FrameFlags
from streamad.sources import PluginSource, Source, SourceInfo

HEIGHT, WIDTH, SIDE, FPS = 120, 160, 24, 25.0


class SquareSpec(PluginSource):
    """The settings, and how to open the source."""

    type: Literal["square"] = "square"
    frames: int = Field(default=500, ge=1, description="number of frames")
    jumps_from: int | None = Field(default=None, ge=0, description="first of 50 frames in which the square jumps")

    @property
    def live(self) -> bool:
        """It ends, and is not reconnected to."""
        return False

    @property
    def drops(self) -> bool:
        """Every frame is scored."""
        return False

    def open(self, *, camera: str, clock: Callable[[], float], sleep: Callable[[float], None]) -> Source:
        """See `PluginSource.open`."""
        return SquareSource(self, camera, clock)

    @classmethod
    def from_address(cls, address: str) -> Self:
        """`square://FRAMES`."""
        count = address.partition("://")[2]
        if not count.isdecimal():
            raise UsageError(f"{address!r} is not an address of a square", hint="give square:// and a number of frames")
        return cls(frames=int(count))


class SquareSource(Source):
    """Draws one frame after the other."""

    def __init__(self, spec: SquareSpec, camera: str, clock: Callable[[], float]) -> None:
        super().__init__(camera)
        self._spec, self._clock = spec, clock

    @property
    def info(self) -> SourceInfo:
        """See `Source.info`."""
        return SourceInfo(WIDTH, HEIGHT, FPS, self._spec.frames, False, None, "drawn")

    def __iter__(self) -> Iterator[Frame]:
        """See `Source.__iter__`."""
        rng = np.random.default_rng(0)
        wall = np.kron(rng.integers(60, 120, (HEIGHT // 8, WIDTH // 8)), np.ones((8, 8)))
        for index in range(self._spec.frames):
            pixels = wall + rng.normal(0, 1.5, wall.shape)
            x, y = 2 * index % (WIDTH - SIDE), HEIGHT // 2
            if self._spec.jumps_from is not None and 0 <= index - self._spec.jumps_from < 50:
                y, x = int(rng.integers(HEIGHT - SIDE)), int(rng.integers(WIDTH - SIDE))
            pixels[y : y + SIDE, x : x + SIDE] = 220
            flags = FrameFlags.NONE if index else FrameFlags.DISCONTINUITY
            self.frames_decoded += 1
            yield Frame(self.camera, index, index / FPS, self._clock(), pixels.clip(0, 255).astype(np.uint8), flags)

    def close(self) -> None:
        """Nothing is held."""
