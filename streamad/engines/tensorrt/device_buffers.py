"""What cameras' networks carry, in the GPU's memory: one block a camera, which never leaves the GPU."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from streamad.engines.state_buffers import StateBuffer, StateBufferLayout
from streamad.engines.tensorrt.gpu import Gpu

ALIGNMENT = 256
"""Bytes that the address of an input or output is a multiple of (TensorRT's rule, and what an allocation gives)."""


class DeviceBuffers:
    """What one camera's network carries, as addresses; see `StateBufferLayout` for how it moves on.

    Args:
        places: where the values lie in each buffer.
        starts: byte at which the buffer of each source begins.
        sizes: bytes of one frame's value by source.
        block: device memory that holds the buffers.
    """

    def __init__(
        self, places: StateBufferLayout, starts: Mapping[str, int], sizes: Mapping[str, int], block: Any
    ) -> None:
        self._places = places
        self._starts = starts
        self._sizes = sizes
        self._base = int(block)

    def make_room(self, count: int) -> list[tuple[int, int, int]]:
        """Copies that make room for a run of some frames: (target, source, bytes). To be called before the others."""
        copies = []
        for move in self._places.make_room(count):
            size, start = self._sizes[move.source], self._base + self._starts[move.source]
            copies.append((start, start + move.first * size, move.frames * size))
        return copies

    def taken(self, delay: StateBuffer) -> int:
        """Address of the first value that the next run takes back."""
        return self._address(delay.source, self._places.oldest(delay))

    def written(self, source: str) -> int:
        """Address at which the next run writes."""
        return self._address(source, self._places.newest(source))

    def advance(self, count: int) -> None:
        """A run has written its outputs."""
        self._places.advance(count)

    def _address(self, source: str, place: int) -> int:
        return self._base + self._starts[source] + place * self._sizes[source]


class LinePool:
    """Blocks of device memory for cameras. A block whose camera's state is gone serves the next one.

    What is in a block at first does not matter: no answer that is given depends on it.

    Args:
        gpu: where the memory is.
        state_buffers: what is carried.
        shapes: shape of one frame's value by source.
        longest: most frames in a run.
    """

    def __init__(
        self, gpu: Gpu, state_buffers: Iterable[StateBuffer], shapes: Mapping[str, tuple[int, ...]], longest: int
    ) -> None:
        self._gpu = gpu
        self._state_buffers = tuple(state_buffers)
        self._longest = longest
        self._blocks: list[Any] = []
        # Filled by the garbage collector, in whatever thread and at whatever moment: no lock, and no call of CUDA's.
        self._idle: deque[Any] = deque()
        self.sizes: dict[str, int] = {}
        """Bytes of one frame's value by source."""
        self._starts: dict[str, int] = {}
        self.block_bytes = 0
        """Device memory of one camera, bytes."""
        for source, length in StateBufferLayout(self._state_buffers, longest).lengths.items():
            self.sizes[source] = 4 * int(np.prod(shapes[source]))
            self._starts[source] = self.block_bytes
            whole = length * self.sizes[source]
            self.block_bytes += (whole + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT

    @property
    def bytes(self) -> int:
        """Device memory of all cameras, bytes."""
        return len(self._blocks) * self.block_bytes

    def take(self) -> DeviceBuffers:
        """Room for one camera, for as long as it is referenced; inside `Gpu.current()`."""
        try:
            block = self._idle.popleft()
        except IndexError:
            block = self._gpu.allocate(self.block_bytes)
            self._blocks.append(block)
        lines = DeviceBuffers(StateBufferLayout(self._state_buffers, self._longest), self._starts, self.sizes, block)
        weakref.finalize(lines, self._idle.append, block).atexit = False
        return lines

    def free_idle(self) -> None:
        """Free the blocks that no camera has, inside `Gpu.current()`."""
        while self._idle:
            block = self._idle.popleft()
            self._blocks.remove(block)
            block.free()

    def free(self) -> None:
        """Free all blocks, inside `Gpu.current()`; no camera can go on."""
        for block in self._blocks:
            block.free()
        self._blocks.clear()
        self._idle.clear()
