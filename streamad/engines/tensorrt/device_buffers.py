"""State of stateful networks in GPU memory: one block per camera, which never leaves the GPU."""

from __future__ import annotations

import weakref
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from streamad.engines.state_buffers import StateBuffer, StateBufferLayout
from streamad.engines.tensorrt.gpu import Gpu

ALIGNMENT = 256
"""Required alignment of input and output addresses, bytes (TensorRT's rule, and the alignment of allocations)."""


class DeviceBuffers:
    """State of one camera's network as device addresses; see `StateBufferLayout` for how it advances.

    Args:
        places: Positions of the values in each buffer.
        starts: Offset of each source's buffer, bytes.
        sizes: Size of one frame's value by source, bytes.
        block: Device memory that contains the buffers.
    """

    def __init__(
        self, places: StateBufferLayout, starts: Mapping[str, int], sizes: Mapping[str, int], block: Any
    ) -> None:
        self._layout = places
        self._starts = starts
        self._sizes = sizes
        self._base = int(block)

    def make_room(self, count: int) -> list[tuple[int, int, int]]:
        """Return the copies (target, source, bytes) required before a run of `count` frames. Call this first."""
        copies = []
        for move in self._layout.make_room(count):
            size, start = self._sizes[move.source], self._base + self._starts[move.source]
            copies.append((start, start + move.first * size, move.frames * size))
        return copies

    def read_address(self, delay: StateBuffer) -> int:
        """Address of the first value that the next run takes."""
        return self._address(delay.source, self._layout.oldest(delay))

    def write_address(self, source: str) -> int:
        """Address at which the next run writes."""
        return self._address(source, self._layout.newest(source))

    def advance(self, count: int) -> None:
        """Record that a run has written its outputs."""
        self._layout.advance(count)

    def _address(self, source: str, place: int) -> int:
        return self._base + self._starts[source] + place * self._sizes[source]


class DeviceBufferPool:
    """Pool of device memory blocks for cameras. The block of a camera whose state is gone is reused.

    A reused block is not cleared, because no valid output depends on its old content.

    Args:
        gpu: The GPU on which to allocate.
        state_buffers: The state values of the network.
        shapes: Shape of one frame's value, by source.
        longest: Maximum number of frames in a run.
    """

    def __init__(
        self, gpu: Gpu, state_buffers: Iterable[StateBuffer], shapes: Mapping[str, tuple[int, ...]], longest: int
    ) -> None:
        self._gpu = gpu
        self._state_buffers = tuple(state_buffers)
        self._longest = longest
        self._blocks: list[Any] = []
        # Filled by the garbage collector from any thread at any time, so use neither locks nor CUDA calls there.
        self._idle: deque[Any] = deque()
        self.sizes: dict[str, int] = {}
        """Size of one frame's value by source, bytes."""
        self._starts: dict[str, int] = {}
        self.block_bytes = 0
        """Device memory per camera, bytes."""
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
        """Allocate memory for one camera, kept while the result is referenced. Call inside `Gpu.current()`."""
        try:
            block = self._idle.popleft()
        except IndexError:
            block = self._gpu.allocate(self.block_bytes)
            self._blocks.append(block)
        buffers = DeviceBuffers(StateBufferLayout(self._state_buffers, self._longest), self._starts, self.sizes, block)
        weakref.finalize(buffers, self._idle.append, block).atexit = False
        return buffers

    def free_idle(self) -> None:
        """Free the blocks that no camera uses. Call inside `Gpu.current()`."""
        while self._idle:
            block = self._idle.popleft()
            self._blocks.remove(block)
            block.free()

    def free(self) -> None:
        """Free all blocks. No camera can continue afterwards. Call inside `Gpu.current()`."""
        for block in self._blocks:
            block.free()
        self._blocks.clear()
        self._idle.clear()
