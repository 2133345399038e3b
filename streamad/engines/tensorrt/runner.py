"""Runs batches of a loaded plan: pinned buffers, device buffers, a stream and contexts, all of one runner's own.

A runner is used by one thread at a time; several run side by side, each on its stream.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.engines.tensorrt.api import ICudaEngine, IExecutionContext
from streamad.engines.tensorrt.failures import ShapeOutsideProfileError, failure
from streamad.engines.tensorrt.gpu import Gpu, as_bytes
from streamad.engines.tensorrt.library import Library
from streamad.errors import EngineError

Array = npt.NDArray[Any]

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Buffer:
    """One input or output: its memory on both sides, for the largest batch."""

    is_input: bool
    host: Array
    device: Any


class Runner:
    """One stream with its buffers and a context for each profile of the plan.

    The contexts share one piece of scratch memory, since they run one after the other on the same stream.

    Args:
        library: TensorRT or TensorRT-RTX.
        gpu: where the plan was loaded.
        engine: the plan.

    Raises:
        GpuMemoryError: the GPU has too little memory.
        EngineError: the library or CUDA failed.
    """

    def __init__(self, library: Library, gpu: Gpu, engine: ICudaEngine) -> None:
        self._library = library
        self._gpu = gpu
        self._stream: Any = None
        self._scratch: Any = None
        self._contexts: list[tuple[int, int, IExecutionContext]] = []  # least batch, most, context
        self._buffers: dict[str, _Buffer] = {}
        self._inputs: dict[str, tuple[int, ...]] = {}
        self.bytes = 0
        """Device memory that it holds, bytes."""
        try:
            with gpu.current():
                try:
                    self._open(engine)
                except BaseException as error:
                    forget_frames(error)
                    raise
        except BaseException:
            self.close()
            raise

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Largest shape of each input."""
        return dict(self._inputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch and wait.

        Args:
            inputs: every input by name; all with the same first dimension.

        Returns:
            Every output by name, copies.

        Raises:
            ShapeOutsideProfileError: a shape that the plan was not built for.
            EngineError: the library or CUDA failed.
        """
        count = self._check(inputs)
        with self._gpu.current():
            try:
                outputs = self._queue(inputs, count)
            except BaseException as error:
                forget_frames(error)
                raise
            finally:
                # Also after a failure: what is queued reads and writes the buffers that the next batch uses.
                self._stream.synchronize()
            return {name: view.copy() for name, view in outputs.items()}

    def close(self) -> None:
        """Free everything, newest first. May be called twice. A GPU that failed before is logged, not raised again."""
        if self._stream is None:
            return
        try:
            with self._gpu.current():
                try:
                    self._stream.synchronize()
                finally:
                    self._free()
        except EngineError as error:
            _log.error("while freeing the GPU: %s", str(error))

    def _free(self) -> None:
        self._contexts.clear()
        for buffer in self._buffers.values():
            buffer.device.free()
            self._gpu.free_pinned(buffer.host)
        self._buffers.clear()
        if self._scratch is not None:
            self._scratch.free()
        self._scratch = self._stream = None

    def _open(self, engine: ICudaEngine) -> None:
        trt, gpu, log = self._library.trt, self._gpu, self._library.log
        mark = log.mark()
        what = f"{self._library.name} cannot set the plan up"
        self._stream = gpu.stream()
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        profiles = range(engine.num_optimization_profiles)
        size = max(engine.get_device_memory_size_for_profile_v2(index) for index in profiles)
        self._scratch = gpu.allocate(size)
        self.bytes += size
        shapes: dict[str, tuple[int, ...]] = {}
        for index in profiles:
            context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
            if context is None:
                raise failure(what, log.since(mark))
            if not context.set_optimization_profile_async(index, self._stream.handle):
                raise failure(what, log.since(mark))
            context.set_device_memory(int(self._scratch), size)
            ranges = [engine.get_tensor_profile_shape(name, index) for name in inputs]
            for name, (_, _, most) in zip(inputs, ranges, strict=True):
                shapes[name] = _larger(shapes.get(name), most)
                if not context.set_input_shape(name, tuple(most)):
                    raise failure(what, log.since(mark))
            for name in names:
                if name not in inputs:
                    shapes[name] = _larger(shapes.get(name), context.get_tensor_shape(name))
            self._contexts.append((int(ranges[0][0][0]), int(ranges[0][2][0]), context))
        self._stream.synchronize()  # switching a profile copies on the stream
        self._inputs = {name: shapes[name] for name in inputs}
        for name in names:
            self._allocate(name, name in inputs, shapes[name], trt.nptype(engine.get_tensor_dtype(name)))
        for _, _, context in self._contexts:
            for name, buffer in self._buffers.items():
                if not context.set_tensor_address(name, int(buffer.device)):
                    raise failure(what, log.since(mark))

    def _allocate(self, name: str, is_input: bool, shape: tuple[int, ...], dtype: Any) -> None:
        gpu, size = self._gpu, as_bytes(shape, dtype)
        device = gpu.allocate(size)
        try:
            host = gpu.pinned(shape, dtype)
        except BaseException:
            device.free()
            raise
        self.bytes += size
        self._buffers[name] = _Buffer(is_input, host, device)

    def _check(self, inputs: Mapping[str, Array]) -> int:
        """The batch's size, once every input has the shape of the plan."""
        if inputs.keys() != self._inputs.keys():
            raise ShapeOutsideProfileError(
                f"the network has the inputs {sorted(self._inputs)}, got {sorted(inputs)}",
                hint="the bundle's model.yaml and its ONNX file do not fit together: export it again",
            )
        counts = {len(array) for array in inputs.values()}
        for name, array in inputs.items():
            most = self._inputs[name]
            if len(counts) > 1 or array.shape[1:] != most[1:] or not 1 <= len(array) <= most[0]:
                wanted = ", ".join((f"1 to {most[0]}", *map(str, most[1:])))
                raise ShapeOutsideProfileError(
                    f"the plan takes {name} of shape ({wanted}), got {array.shape}",
                    hint="tiles must have the size in the bundle's model.yaml; the caller splits larger batches",
                )
        return counts.pop()

    def _queue(self, inputs: Mapping[str, Array], count: int) -> dict[str, Array]:
        """Queue copies and the run on the stream; the views that are filled once it is synchronised."""
        gpu, log = self._gpu, self._library.log
        mark = log.mark()
        what = f"{self._library.name} failed on a batch of {count}"
        context = next(context for least, most, context in self._contexts if least <= count <= most)
        for name, array in inputs.items():
            buffer = self._buffers[name]
            view = buffer.host[:count]
            np.copyto(view, array, casting="same_kind")
            gpu.upload(buffer.device, view, self._stream)
            if not context.set_input_shape(name, array.shape):
                raise ShapeOutsideProfileError(f"the plan refuses {name} of shape {array.shape}")
        shapes = {n: tuple(context.get_tensor_shape(n)) for n, b in self._buffers.items() if not b.is_input}
        if not context.execute_async_v3(self._stream.handle):
            raise failure(what, log.since(mark))
        outputs = {}
        for name, shape in shapes.items():
            buffer = self._buffers[name]
            view = buffer.host.reshape(-1)[: int(np.prod(shape))].reshape(shape)
            gpu.download(view, buffer.device, self._stream)
            outputs[name] = view
        return outputs


def forget_frames(error: BaseException) -> None:
    """Drop the variables of the frames that an error came through.

    Whoever keeps the error would keep contexts and plans alive in them, past `close` and with no CUDA context current.
    """
    traceback.clear_frames(error.__traceback__)


def _larger(known: tuple[int, ...] | None, shape: Any) -> tuple[int, ...]:
    """The larger of two shapes that differ in the batch alone."""
    new = tuple(int(d) for d in shape)
    if any(d < 0 for d in new):
        raise EngineError(f"the plan has an output of unknown size, {new}", hint="export the bundle again")
    return new if known is None or new[0] > known[0] else known
