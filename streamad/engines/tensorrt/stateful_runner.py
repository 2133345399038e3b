"""Runner for stateful networks on the GPU: state stays there and is read and written in place.

For a single camera, state buffers are the network's inputs and outputs themselves. For several cameras, values are
copied side by side before a run and back after it, on the GPU. The same happens to values at addresses that are not
aligned as TensorRT requires, which occurs only with small frames. Only new frames and outputs cross the host.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streamad.engines.base import Batch
from streamad.engines.state_buffers import FRAMES, StateBuffer
from streamad.engines.tensorrt.api import ICudaEngine, IExecutionContext
from streamad.engines.tensorrt.contexts import PlanContexts
from streamad.engines.tensorrt.device_buffers import ALIGNMENT, DeviceBufferPool, DeviceBuffers
from streamad.engines.tensorrt.failures import ShapeOutsideProfileError, failure
from streamad.engines.tensorrt.gpu import Array, Gpu, as_bytes
from streamad.engines.tensorrt.library import Library
from streamad.engines.tensorrt.runner import StreamRunner
from streamad.errors import EngineError


class StatefulRunner(StreamRunner):
    """One stream with the contexts of a plan per run length, their buffers, and the memory of all cameras.

    Args:
        library: TensorRT or TensorRT-RTX.
        gpu: The GPU on which the plans were loaded.
        run_sizes: Numbers of frames per camera in a run, ascending.
        plans: One plan per run size.
        state_buffers: The state values of the network.
        cameras: Maximum number of cameras in a run.

    Raises:
        GpuMemoryError: If the GPU has too little memory.
        EngineError: If the library or CUDA fails.
    """

    def __init__(
        self,
        library: Library,
        gpu: Gpu,
        run_sizes: Sequence[int],
        plans: Sequence[ICudaEngine],
        state_buffers: Sequence[StateBuffer],
        cameras: int,
    ) -> None:
        super().__init__(library, gpu)
        self._state_buffers = tuple(state_buffers)
        self._plans: dict[int, PlanContexts] = {}
        self._device: dict[str, Any] = {}  # inputs and outputs for the largest run
        self._pinned: dict[str, Array] = {}  # arrays that cross the host
        self._pool: DeviceBufferPool | None = None
        self._buffer_bytes = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Shape of one frame's value, by name of the input or output."""
        self._begin(self._open, run_sizes, plans, cameras)

    @property
    def bytes(self) -> int:
        """Device memory in use, bytes."""
        return self._buffer_bytes + (self._pool.bytes if self._pool is not None else 0)

    def new_buffers(self) -> DeviceBuffers:
        """Allocate memory for one camera.

        Raises:
            GpuMemoryError: If the GPU has too little memory.
        """
        if self._pool is None:
            raise EngineError("the engine is closed")
        with self._gpu.current():
            return self._pool.take()

    def free_idle(self) -> None:
        """Free the memory of closed cameras, which is otherwise kept for new ones."""
        if self._pool is not None:
            with self._gpu.current():
                self._pool.free_idle()

    def run(self, buffers: Sequence[DeviceBuffers], frames: Sequence[Batch], names: Sequence[str]) -> list[Array]:
        """Run the same number of frames for each camera and wait for the results. New state follows the old in memory.

        Args:
            buffers: State of each camera.
            frames: (n, channels, height, width) frames of each camera.
            names: Names of the requested outputs.

        Returns:
            One copy (n, cameras, …) per name.

        Raises:
            EngineError: If the library or CUDA fails. State is then only partly written.
        """
        if self._stream is None:
            raise EngineError("the engine is closed")
        with self._gpu.current():
            views = self._finished(self._queue, buffers, frames, names)
            return [view.astype(np.float32) for view in views]

    def _free(self) -> None:
        for contexts in self._plans.values():
            contexts.close()
        self._plans.clear()
        for memory in self._device.values():
            memory.free()
        self._device.clear()
        for array in self._pinned.values():
            self._gpu.free_pinned(array)
        self._pinned.clear()
        if self._pool is not None:
            self._pool.free()
        if self._scratch is not None:
            self._scratch.free()
        self._pool = self._scratch = self._stream = None

    def _open(self, run_sizes: Sequence[int], plans: Sequence[ICudaEngine], cameras: int) -> None:
        gpu = self._gpu
        self._stream = gpu.stream()
        for count, plan in zip(run_sizes, plans, strict=True):
            contexts = self._plans[count] = PlanContexts(self._library, self._stream, FRAMES)
            contexts.open(plan)
        scratch = max(contexts.scratch for contexts in self._plans.values())
        self._scratch = gpu.allocate(scratch)
        self._buffer_bytes += scratch
        longest = run_sizes[-1]
        contexts = self._plans[longest]
        for name, shape in {**contexts.inputs, **contexts.outputs}.items():
            self.shapes[name] = shape[1:]
            if contexts.dtypes[name] != np.float32:
                raise EngineError(f"{name} of the plan is {contexts.dtypes[name]}, expected float32")
        self._pool = DeviceBufferPool(gpu, self._state_buffers, self.shapes, longest)
        rows = {delay.name: delay.rows(longest) for delay in self._state_buffers}
        for name, shape in self.shapes.items():
            source = next((delay.source for delay in self._state_buffers if delay.name == name), name)
            size = as_bytes(shape, np.float32)
            carried = source in self._pool.sizes
            if not carried or cameras > 1 or size % ALIGNMENT:  # otherwise all runs use it in place
                size *= rows.get(name, longest) * cameras
                self._device[name] = gpu.allocate(size)
                self._buffer_bytes += size
            if not carried or name == FRAMES:
                self._pinned[name] = gpu.pinned((longest * cameras, *shape), np.float32)
        for contexts in self._plans.values():
            contexts.use_scratch(int(self._scratch), scratch)

    def _queue(self, buffers: Sequence[DeviceBuffers], frames: Sequence[Batch], names: Sequence[str]) -> list[Array]:
        """Queue copies and the run on the stream; return views that are filled when it is synchronized."""
        gpu, log, count, cameras = self._gpu, self._library.log, len(frames[0]), len(buffers)
        plan = self._plans[count]
        context = plan.fitting(count * cameras)
        for buffer in buffers:
            for target, source, size in buffer.make_room(count):
                gpu.copy(target, source, size, self._stream)
        shapes = {delay.name: (delay.rows(count) * cameras, *self.shapes[delay.name]) for delay in self._state_buffers}
        shapes[FRAMES] = (count * cameras, *self.shapes[FRAMES])
        addresses = {name: int(memory) for name, memory in self._device.items()}
        addresses |= self._upload_frames(buffers, frames)
        for delay in self._state_buffers:
            locations = [buffer.read_address(delay) for buffer in buffers]
            addresses[delay.name] = self._address_of(delay.name, locations)
            self._copy_rows(addresses[delay.name], locations, delay.rows(count), delay.name, aside=True)
        made = {name: [buffer.write_address(name) for buffer in buffers] for name in self._carried_outputs}
        for name, locations in made.items():
            addresses[name] = self._address_of(name, locations)
        self._start(plan, context, shapes, addresses, f"a run of {count} frames of {cameras} cameras", log.mark())
        for name, locations in made.items():
            self._copy_rows(addresses[name], locations, count, name, aside=False)
        views = []
        for name in names:
            view = self._pinned[name][: count * cameras]
            gpu.download(view, self._device[name], self._stream)
            views.append(view.reshape(count, cameras, *view.shape[1:]))
        return views

    def _upload_frames(self, buffers: Sequence[DeviceBuffers], frames: Sequence[Batch]) -> dict[str, int]:
        """Upload the new frames into the state in place, or side by side and from there into the state."""
        count, cameras = len(frames[0]), len(buffers)
        view = self._pinned[FRAMES][: count * cameras]
        for location, new in enumerate(frames):
            view.reshape(count, cameras, *view.shape[1:])[:, location] = new
        assert self._pool is not None
        locations = [buffer.write_address(FRAMES) for buffer in buffers] if FRAMES in self._pool.sizes else []
        address = self._address_of(FRAMES, locations)
        self._gpu.upload(address, view, self._stream)
        self._copy_rows(address, locations, count, FRAMES, aside=False)
        return {FRAMES: address}

    @property
    def _carried_outputs(self) -> list[str]:
        assert self._pool is not None
        return [source for source in self._pool.sizes if source != FRAMES]

    def _address_of(self, name: str, locations: Sequence[int]) -> int:
        """Address at which the network reads or writes a value: the state itself if possible."""
        if len(locations) == 1 and locations[0] % ALIGNMENT == 0:
            return locations[0]
        return int(self._device[name])

    def _copy_rows(self, together: int, locations: Sequence[int], rows: int, name: str, *, aside: bool) -> None:
        """Copy cameras' values from their state to side by side, or back. Does nothing if both are the same address.

        Args:
            together: Address of the side-by-side values, (rows, cameras, …).
            locations: Address of each camera's values, (rows, …).
            rows: Number of rows per camera.
            name: Name of the value.
            aside: Whether to copy to side by side; otherwise back.
        """
        size = as_bytes(self.shapes[name], np.float32)
        if list(locations) == [together]:
            return
        # The rows of a single camera are contiguous on both sides.
        steps, length = (1, rows * size) if len(locations) == 1 else (rows, size)
        for step in range(steps):
            for camera, location in enumerate(locations):
                beside, own = together + (step * len(locations) + camera) * size, location + step * size
                target, source = (beside, own) if aside else (own, beside)
                self._gpu.copy(target, source, length, self._stream)

    def _start(
        self,
        plan: PlanContexts,
        context: IExecutionContext,
        shapes: Mapping[str, tuple[int, ...]],
        addresses: Mapping[str, int],
        what: str,
        mark: int,
    ) -> None:
        for name, shape in shapes.items():
            if not context.set_input_shape(name, shape):
                raise ShapeOutsideProfileError(f"the plan rejects {name} of shape {shape}")
        for name, address in addresses.items():
            plan.bind_to(context, name, address)
        if not context.execute_async_v3(self._stream.handle):
            raise failure(f"{self._library.name} failed on {what}", self._library.log.since(mark))
