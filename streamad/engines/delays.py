"""Networks that carry state from frame to frame, described so that an engine needs to know nothing else of them.

Such a network takes one value for each new frame and, beside it, values that it made itself some frames ago. By
convention an input named `S_7_ago` carries what the output `S` held seven frames before. An engine that keeps the
outputs in order can therefore hand them back without a copy, and the network itself moves no state about.

All tensors have frames on their first axis, oldest first. A run of k new frames takes the min(k, 7) oldest values of
`S_7_ago` that are due; where k is larger, the network takes the others from what it has just made.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]

_AGO = re.compile(r"(?P<source>.+)_(?P<frames>[1-9][0-9]*)_ago")

FRAMES = "frames"
"""Name of the input that takes the new frames."""

OUTPUTS = "outputs"
"""Name of the output that holds a row for each new frame."""


@dataclass(frozen=True, slots=True)
class Delay:
    """One value that a network takes back.

    Attributes:
        name: of the input.
        source: name of the output that it repeats.
        frames: how many frames later.
    """

    name: str
    source: str
    frames: int


def delay_name(source: str, frames: int) -> str:
    """Name of the input that carries an output of some frames ago."""
    return f"{source}_{frames}_ago"


def parse_delays(inputs: Iterable[str]) -> tuple[Delay, ...]:
    """The delays among the names of a network's inputs."""
    found = ((name, _AGO.fullmatch(name)) for name in inputs)
    return tuple(Delay(name, m["source"], int(m["frames"])) for name, m in found if m is not None)


class DelayLines:
    """What one camera's network carries, in memory that the engine reads and writes in place.

    Each carried value has a buffer longer than its delay. A run writes behind what is there; only when the end of the
    buffer is reached does the part that is still needed move to its beginning.

    Args:
        delays: what is carried.
        shapes: shape of one frame's value by source.
        longest: most frames in a run.
    """

    def __init__(self, delays: Iterable[Delay], shapes: Mapping[str, tuple[int, ...]], longest: int) -> None:
        self._delays = tuple(delays)
        self._depths: dict[str, int] = {}
        for delay in self._delays:
            self._depths[delay.source] = max(delay.frames, self._depths.get(delay.source, 0))
        self._longest = longest
        self._buffers = {
            source: np.zeros((depth + max(depth, 4 * longest), *shapes[source]), np.float32)
            for source, depth in self._depths.items()
        }
        self._ends = dict(self._depths)

    def inputs(self, count: int) -> dict[str, Array]:
        """What a run of some frames takes back, by the name of the input: views."""
        answer = {}
        for delay in self._delays:
            first = self._ends[delay.source] - delay.frames
            answer[delay.name] = self._buffers[delay.source][first : first + min(count, delay.frames)]
        return answer

    def outputs(self, count: int) -> dict[str, Array]:
        """Where a run of some frames writes what it makes, by source: views. To be called before `inputs`.

        Raises:
            ValueError: the run is longer than the longest that this was made for.
        """
        if not 1 <= count <= self._longest:
            raise ValueError(f"a run has 1 to {self._longest} frames, got {count}")
        answer = {}
        for source, buffer in self._buffers.items():
            end, depth = self._ends[source], self._depths[source]
            if end + count > len(buffer):
                buffer[:depth] = buffer[end - depth : end].copy()
                end = self._ends[source] = depth
            answer[source] = buffer[end : end + count]
        return answer

    def advance(self, count: int) -> None:
        """A run has written its outputs."""
        for source in self._ends:
            self._ends[source] += count

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        return sum(buffer.nbytes for buffer in self._buffers.values())
