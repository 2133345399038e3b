"""Runs a network that carries state on the GPU: what is carried stays there, and is read and written where it lies.

The values of one camera are the network's inputs and outputs themselves. Those of several cameras are laid side by side
for their run, and laid back after it, by copies on the GPU; so are those whose place is not aligned as TensorRT asks
for, which happens to small frames alone. Over the host go the new frames and the answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from streamad.engines.base import Batch
from streamad.engines.state_buffers import FRAMES, StateBuffer
from streamad.engines.tensorrt.api import ICudaEngine, IExecutionContext
from streamad.engines.tensorrt.contexts import PlanContexts
from streamad.engines.tensorrt.device_buffers import ALIGNMENT, DeviceBuffers, LinePool
from streamad.engines.tensorrt.failures import ShapeOutsideProfileError, failure
from streamad.engines.tensorrt.gpu import Array, Gpu, as_bytes
from streamad.engines.tensorrt.library import Library
from streamad.engines.tensorrt.runner import forget_frames
from streamad.errors import EngineError


class StatefulRunner:
    """One stream with the contexts of a plan for each length of runs, their buffers, and the memory of all cameras.

    Args:
        library: TensorRT or TensorRT-RTX.
        gpu: where the plans were loaded.
        run_sizes: frames of a camera in a run, ascending.
        plans: one for each of them.
        state_buffers: what the network carries.
        cameras: most cameras in a run.

    Raises:
        GpuMemoryError: the GPU has too little memory.
        EngineError: the library or CUDA failed.
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
        self._library = library
        self._gpu = gpu
        self._state_buffers = tuple(state_buffers)
        self._stream: Any = None
        self._scratch: Any = None
        self._plans: dict[int, PlanContexts] = {}
        self._device: dict[str, Any] = {}  # of every input and output, for the largest run
        self._pinned: dict[str, Array] = {}  # of what goes over the host
        self._pool: LinePool | None = None
        self._buffer_bytes = 0
        self.shapes: dict[str, tuple[int, ...]] = {}
        """Shape of one frame's value, by name of an input or output."""
        try:
            with gpu.current():
                try:
                    self._open(run_sizes, plans, cameras)
                except BaseException as error:
                    forget_frames(error)
                    raise
        except BaseException:
            self.close()
            raise

    @property
    def bytes(self) -> int:
        """Device memory that it holds, bytes."""
        return self._buffer_bytes + (self._pool.bytes if self._pool is not None else 0)

    def new_lines(self) -> DeviceBuffers:
        """Memory for one camera.

        Raises:
            GpuMemoryError: the GPU has too little.
        """
        if self._pool is None:
            raise EngineError("the engine is closed")
        with self._gpu.current():
            return self._pool.take()

    def free_idle(self) -> None:
        """Free the memory of cameras that are gone, which else serves the next ones."""
        if self._pool is not None:
            with self._gpu.current():
                self._pool.free_idle()

    def run(self, lines: Sequence[DeviceBuffers], frames: Sequence[Batch], names: Sequence[str]) -> list[Array]:
        """Run as many frames of each camera, and wait; what is carried is written behind what is there.

        Args:
            lines: of each camera.
            frames: (n, channels, height, width) of each.
            names: outputs that are asked for.

        Returns:
            (n, cameras, …) of each name, copies.

        Raises:
            EngineError: the library or CUDA failed; what is carried is then half written.
        """
        if self._stream is None:
            raise EngineError("the engine is closed")
        with self._gpu.current():
            try:
                views = self._queue(lines, frames, names)
            except BaseException as error:
                forget_frames(error)
                raise
            finally:
                # Also after a failure: what is queued reads and writes memory that the next run uses.
                self._stream.synchronize()
            return [view.astype(np.float32) for view in views]

    def close(self) -> None:
        """Free everything. May be called twice. A GPU that failed before is logged, not raised again."""
        if self._stream is not None:
            # No reference to the stream is handed on: it would outlive `current()`.
            self._gpu.free_after(self._wait, self._free)

    def _wait(self) -> None:
        self._stream.synchronize()

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
                raise EngineError(f"the plan has {name} in {contexts.dtypes[name]}, float32 was expected")
        self._pool = LinePool(gpu, self._state_buffers, self.shapes, longest)
        rows = {delay.name: delay.rows(longest) for delay in self._state_buffers}
        for name, shape in self.shapes.items():
            source = next((delay.source for delay in self._state_buffers if delay.name == name), name)
            size = as_bytes(shape, np.float32)
            carried = source in self._pool.sizes
            if not carried or cameras > 1 or size % ALIGNMENT:  # else all runs of it are in place
                size *= rows.get(name, longest) * cameras
                self._device[name] = gpu.allocate(size)
                self._buffer_bytes += size
            if not carried or name == FRAMES:
                self._pinned[name] = gpu.pinned((longest * cameras, *shape), np.float32)
        for contexts in self._plans.values():
            contexts.use_scratch(int(self._scratch), scratch)

    def _queue(self, lines: Sequence[DeviceBuffers], frames: Sequence[Batch], names: Sequence[str]) -> list[Array]:
        """Queue copies and the run on the stream; the views that are filled once it is synchronized."""
        gpu, log, count, cameras = self._gpu, self._library.log, len(frames[0]), len(lines)
        plan = self._plans[count]
        context = plan.fitting(count * cameras)
        for line in lines:
            for target, source, size in line.make_room(count):
                gpu.copy(target, source, size, self._stream)
        shapes = {delay.name: (delay.rows(count) * cameras, *self.shapes[delay.name]) for delay in self._state_buffers}
        shapes[FRAMES] = (count * cameras, *self.shapes[FRAMES])
        addresses = {name: int(memory) for name, memory in self._device.items()}
        addresses |= self._give(lines, frames)
        for delay in self._state_buffers:
            places = [line.taken(delay) for line in lines]
            addresses[delay.name] = self._one_place(delay.name, places)
            self._lay(addresses[delay.name], places, delay.rows(count), delay.name, aside=True)
        made = {name: [line.written(name) for line in lines] for name in self._carried_outputs}
        for name, places in made.items():
            addresses[name] = self._one_place(name, places)
        self._start(plan, context, shapes, addresses, f"a run of {count} frames of {cameras} cameras", log.mark())
        for name, places in made.items():
            self._lay(addresses[name], places, count, name, aside=False)
        views = []
        for name in names:
            view = self._pinned[name][: count * cameras]
            gpu.download(view, self._device[name], self._stream)
            views.append(view.reshape(count, cameras, *view.shape[1:]))
        return views

    def _give(self, lines: Sequence[DeviceBuffers], frames: Sequence[Batch]) -> dict[str, int]:
        """Upload the new frames to where they are carried, or side by side and from there to where they are carried."""
        count, cameras = len(frames[0]), len(lines)
        view = self._pinned[FRAMES][: count * cameras]
        for place, new in enumerate(frames):
            view.reshape(count, cameras, *view.shape[1:])[:, place] = new
        assert self._pool is not None
        places = [line.written(FRAMES) for line in lines] if FRAMES in self._pool.sizes else []
        address = self._one_place(FRAMES, places)
        self._gpu.upload(address, view, self._stream)
        self._lay(address, places, count, FRAMES, aside=False)
        return {FRAMES: address}

    @property
    def _carried_outputs(self) -> list[str]:
        assert self._pool is not None
        return [source for source in self._pool.sizes if source != FRAMES]

    def _one_place(self, name: str, places: Sequence[int]) -> int:
        """Where the network reads or writes a value: where it is carried, if that can be."""
        if len(places) == 1 and places[0] % ALIGNMENT == 0:
            return places[0]
        return int(self._device[name])

    def _lay(self, together: int, places: Sequence[int], rows: int, name: str, *, aside: bool) -> None:
        """Copy cameras' values from where they are carried to side by side, or back; nothing where that is one place.

        Args:
            together: address of (rows, cameras, …).
            places: address of (rows, …) of each camera.
            rows: of each.
            name: of the value.
            aside: to side by side; else back.
        """
        size = as_bytes(self.shapes[name], np.float32)
        if list(places) == [together]:
            return
        # One camera's rows lie together on both sides.
        steps, length = (1, rows * size) if len(places) == 1 else (rows, size)
        for step in range(steps):
            for camera, place in enumerate(places):
                beside, own = together + (step * len(places) + camera) * size, place + step * size
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
                raise ShapeOutsideProfileError(f"the plan refuses {name} of shape {shape}")
        for name, address in addresses.items():
            plan.bind_to(context, name, address)
        if not context.execute_async_v3(self._stream.handle):
            raise failure(f"{self._library.name} failed on {what}", self._library.log.since(mark))
