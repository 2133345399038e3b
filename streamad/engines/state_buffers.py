"""State of stateful networks, described so that an engine needs no other knowledge of them.

Such a network takes one value per new frame plus values that it produced itself some frames ago. By convention, an
input named `S_7_ago` takes what the output `S` was seven frames before. An engine that keeps outputs in order can
therefore pass them back without a copy, and the network itself moves no state.

The first axis of every tensor is frames, oldest first. A run of k new frames takes the min(k, 7) oldest values of
`S_7_ago` that are due. If k is larger, the network takes the others from the values it has just produced. Frames of
several cameras are interleaved: row `frame · cameras + camera`.
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
"""Name of the input for the new frames."""

OUTPUTS = "outputs"
"""Name of the output with one row per new frame."""


@dataclass(frozen=True, slots=True)
class StateBuffer:
    """One state value that a network takes as an input.

    Attributes:
        name: Name of the input.
        source: Name of the output that it repeats.
        frames: Delay, in frames.
    """

    name: str
    source: str
    frames: int

    def rows(self, count: int) -> int:
        """Number of rows that a run of `count` frames of one camera takes."""
        return min(count, self.frames)


def state_buffer_name(source: str, frames: int) -> str:
    """Name of the input for an output of `frames` frames ago."""
    return f"{source}_{frames}_ago"


def parse_state_buffers(inputs: Iterable[str]) -> tuple[StateBuffer, ...]:
    """Find the state buffers among the names of a network's inputs."""
    found = ((name, _AGO.fullmatch(name)) for name in inputs)
    return tuple(StateBuffer(name, m["source"], int(m["frames"])) for name, m in found if m is not None)


@dataclass(frozen=True, slots=True)
class Move:
    """A move of values to the front of their buffer. Source and destination never overlap.

    Attributes:
        source: Name of the output whose values are moved.
        first: Index of the oldest value.
        frames: Number of values.
    """

    source: str
    first: int
    frames: int


class StateBufferLayout:
    """Positions of state values in one camera's buffers, independent of the kind of memory.

    Each buffer is longer than its delay. A run writes after the existing values. When the end of a buffer is reached,
    the part that is still needed moves to its beginning.

    Args:
        state_buffers: The state values of the network.
        longest: Maximum number of frames in a run.
    """

    def __init__(self, state_buffers: Iterable[StateBuffer], longest: int) -> None:
        self.state_buffers = tuple(state_buffers)
        self._depths: dict[str, int] = {}
        for delay in self.state_buffers:
            self._depths[delay.source] = max(delay.frames, self._depths.get(delay.source, 0))
        self._longest = longest
        # Twice the delay plus a run, so that moved values are never overwritten before they are read.
        self.lengths = {source: depth + max(depth + longest - 1, 4 * longest) for source, depth in self._depths.items()}
        """Number of values per buffer, by source."""
        self._ends = dict(self._depths)

    def make_room(self, count: int) -> list[Move]:
        """Return the moves required before a run of `count` frames can write. Positions are those after the moves.

        Raises:
            ValueError: If the run exceeds `longest`.
        """
        if not 1 <= count <= self._longest:
            raise ValueError(f"a run has 1 to {self._longest} frames, got {count}")
        moves = []
        for source, length in self.lengths.items():
            end, depth = self._ends[source], self._depths[source]
            if end + count > length:
                moves.append(Move(source, end - depth, depth))
                self._ends[source] = depth
        return moves

    def oldest(self, delay: StateBuffer) -> int:
        """Index of the first value that the next run takes."""
        return self._ends[delay.source] - delay.frames

    def newest(self, source: str) -> int:
        """Index after the last value, where the next run writes."""
        return self._ends[source]

    def advance(self, count: int) -> None:
        """Record that a run has written its outputs."""
        for source in self._ends:
            self._ends[source] += count


class StateBuffers:
    """State of one camera in host memory, which the engine reads and writes in place.

    Args:
        state_buffers: The state values of the network.
        shapes: Shape of one frame's value, by source.
        longest: Maximum number of frames in a run.
    """

    def __init__(
        self, state_buffers: Iterable[StateBuffer], shapes: Mapping[str, tuple[int, ...]], longest: int
    ) -> None:
        self._layout = StateBufferLayout(state_buffers, longest)
        self._buffers = {
            source: np.zeros((length, *shapes[source]), np.float32) for source, length in self._layout.lengths.items()
        }

    def inputs(self, count: int) -> dict[str, Array]:
        """Views of the state that a run of `count` frames takes, by input name."""
        answer = {}
        for delay in self._layout.state_buffers:
            first = self._layout.oldest(delay)
            answer[delay.name] = self._buffers[delay.source][first : first + delay.rows(count)]
        return answer

    def outputs(self, count: int) -> dict[str, Array]:
        """Views to which a run of `count` frames writes its state, by source. Call this before `inputs`.

        Raises:
            ValueError: If the run exceeds `longest`.
        """
        for move in self._layout.make_room(count):
            buffer = self._buffers[move.source]
            buffer[: move.frames] = buffer[move.first : move.first + move.frames]
        answer = {}
        for source, buffer in self._buffers.items():
            end = self._layout.newest(source)
            answer[source] = buffer[end : end + count]
        return answer

    def advance(self, count: int) -> None:
        """Record that a run has written its outputs."""
        self._layout.advance(count)
