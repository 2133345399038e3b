"""Networks that carry state from frame to frame, described so that an engine needs to know nothing else of them.

Such a network takes one value for each new frame and, beside it, values that it made itself some frames ago. By
convention an input named `S_7_ago` carries what the output `S` held seven frames before. An engine that keeps the
outputs in order can therefore hand them back without a copy, and the network itself moves no state about.

All tensors have frames on their first axis, oldest first. A run of k new frames takes the min(k, 7) oldest values of
`S_7_ago` that are due; where k is larger, the network takes the others from what it has just made. Frames of several
cameras lie frame by frame, the cameras of a frame side by side: row `frame · cameras + camera`.
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
class StateBuffer:
    """One value that a network takes back.

    Attributes:
        name: of the input.
        source: name of the output that it repeats.
        frames: how many frames later.
    """

    name: str
    source: str
    frames: int

    def rows(self, count: int) -> int:
        """Values that a run of some frames of one camera takes back."""
        return min(count, self.frames)


def state_buffer_name(source: str, frames: int) -> str:
    """Name of the input that carries an output of some frames ago."""
    return f"{source}_{frames}_ago"


def parse_state_buffers(inputs: Iterable[str]) -> tuple[StateBuffer, ...]:
    """The state buffers among the names of a network's inputs."""
    found = ((name, _AGO.fullmatch(name)) for name in inputs)
    return tuple(StateBuffer(name, m["source"], int(m["frames"])) for name, m in found if m is not None)


@dataclass(frozen=True, slots=True)
class Move:
    """Values that go to the front of their buffer; where they lie and where they go never overlap.

    Attributes:
        source: name of the output that they are of.
        first: place of the oldest.
        frames: how many.
    """

    source: str
    first: int
    frames: int


class StateBufferLayout:
    """Where in one camera's buffers the values lie that its network carries, whatever memory the buffers are in.

    Each carried value has a buffer longer than its delay. A run writes behind what is there; only when the end of the
    buffer is reached does the part that is still needed move to its beginning.

    Args:
        state_buffers: what is carried.
        longest: most frames in a run.
    """

    def __init__(self, state_buffers: Iterable[StateBuffer], longest: int) -> None:
        self.state_buffers = tuple(state_buffers)
        self._depths: dict[str, int] = {}
        for delay in self.state_buffers:
            self._depths[delay.source] = max(delay.frames, self._depths.get(delay.source, 0))
        self._longest = longest
        # Twice the delay and a run: what moves to the front is never written over before it was read.
        self.lengths = {source: depth + max(depth + longest - 1, 4 * longest) for source, depth in self._depths.items()}
        """Values that each buffer holds, by source."""
        self._ends = dict(self._depths)

    def make_room(self, count: int) -> list[Move]:
        """What must be moved so that a run of some frames can write behind it; the places are those afterwards.

        Raises:
            ValueError: the run is longer than the longest that this was made for.
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
        """Place of the first value that the next run takes back."""
        return self._ends[delay.source] - delay.frames

    def newest(self, source: str) -> int:
        """Place behind the last value, where the next run writes."""
        return self._ends[source]

    def advance(self, count: int) -> None:
        """A run has written its outputs."""
        for source in self._ends:
            self._ends[source] += count


class StateBuffers:
    """What one camera's network carries, in host memory that the engine reads and writes in place.

    Args:
        state_buffers: what is carried.
        shapes: shape of one frame's value by source.
        longest: most frames in a run.
    """

    def __init__(
        self, state_buffers: Iterable[StateBuffer], shapes: Mapping[str, tuple[int, ...]], longest: int
    ) -> None:
        self._places = StateBufferLayout(state_buffers, longest)
        self._buffers = {
            source: np.zeros((length, *shapes[source]), np.float32) for source, length in self._places.lengths.items()
        }

    def inputs(self, count: int) -> dict[str, Array]:
        """What a run of some frames takes back, by the name of the input: views."""
        answer = {}
        for delay in self._places.state_buffers:
            first = self._places.oldest(delay)
            answer[delay.name] = self._buffers[delay.source][first : first + delay.rows(count)]
        return answer

    def outputs(self, count: int) -> dict[str, Array]:
        """Where a run of some frames writes what it makes, by source: views. To be called before `inputs`.

        Raises:
            ValueError: the run is longer than the longest that this was made for.
        """
        for move in self._places.make_room(count):
            buffer = self._buffers[move.source]
            buffer[: move.frames] = buffer[move.first : move.first + move.frames]
        answer = {}
        for source, buffer in self._buffers.items():
            end = self._places.newest(source)
            answer[source] = buffer[end : end + count]
        return answer

    def advance(self, count: int) -> None:
        """A run has written its outputs."""
        self._places.advance(count)

    @property
    def nbytes(self) -> int:
        """Memory, bytes."""
        return sum(buffer.nbytes for buffer in self._buffers.values())
