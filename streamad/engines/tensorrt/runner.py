"""Runner for batches of a loaded plan, with its own pinned buffers, device buffers, stream and contexts.

A runner is used by one thread at a time. Several runners run in parallel, each on its own stream.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from streamad.engines.tensorrt.api import ICudaEngine
from streamad.engines.tensorrt.contexts import PlanContexts
from streamad.engines.tensorrt.failures import ShapeOutsideProfileError, failure
from streamad.engines.tensorrt.gpu import Gpu, as_bytes
from streamad.engines.tensorrt.library import Library

Array = npt.NDArray[Any]
Result = TypeVar("Result")


@dataclass(slots=True)
class _Buffer:
    """Host and device memory of one input or output, for the largest batch."""

    is_input: bool
    host: Array
    device: Any


class StreamRunner(ABC):
    """One stream of a GPU and everything that runs on it, freed together.

    Calls take their arguments, not closures: clearing an error's frames does not empty the cells of a closure.
    """

    def __init__(self, library: Library, gpu: Gpu) -> None:
        self._library = library
        self._gpu = gpu
        self._stream: Any = None
        self._scratch: Any = None

    def _begin(self, open_all: Callable[..., None], *arguments: Any) -> None:
        """Open everything with the GPU's context current, or free what was opened."""
        try:
            with self._gpu.current():
                open_all(*arguments)
        except BaseException:
            self.close()
            raise

    def _finished(self, queue: Callable[..., Result], *arguments: Any) -> Result:
        """Queue work on the stream and wait for it. Call inside `Gpu.current()`."""
        try:
            return queue(*arguments)
        finally:
            # Needed after a failure too: queued work uses memory of the next run.
            self._stream.synchronize()

    def close(self) -> None:
        """Free all resources. May be called twice. Errors of the GPU are logged and not raised."""
        if self._stream is not None:
            # Do not pass a reference to the stream: it would outlive `current()`.
            self._gpu.free_after(self._wait, self._free)

    def _wait(self) -> None:
        self._stream.synchronize()

    @abstractmethod
    def _free(self) -> None:
        """Free all resources, newest first, the stream last."""


class Runner(StreamRunner):
    """One stream with its buffers and a context per profile of the plan.

    The contexts share one block of scratch memory, because they run one after the other on the same stream.

    Args:
        library: TensorRT or TensorRT-RTX.
        gpu: The GPU on which the plan was loaded.
        engine: The plan.

    Raises:
        GpuMemoryError: If the GPU has too little memory.
        EngineError: If the library or CUDA fails.
    """

    def __init__(self, library: Library, gpu: Gpu, engine: ICudaEngine) -> None:
        super().__init__(library, gpu)
        self._contexts: PlanContexts | None = None
        self._buffers: dict[str, _Buffer] = {}
        self._inputs: dict[str, tuple[int, ...]] = {}
        self.bytes = 0
        """Device memory in use, bytes."""
        self._begin(self._open, engine)

    @property
    def input_shapes(self) -> dict[str, tuple[int, ...]]:
        """Largest shape of each input."""
        return dict(self._inputs)

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run one batch and wait for the result.

        Args:
            inputs: All inputs by name, with the same first dimension.

        Returns:
            Copies of all outputs by name.

        Raises:
            ShapeOutsideProfileError: If the plan was not built for a shape.
            EngineError: If the library or CUDA fails.
        """
        count = self._check(inputs)
        with self._gpu.current():
            outputs = self._finished(self._queue, inputs, count)
            return {name: view.copy() for name, view in outputs.items()}

    def _free(self) -> None:
        if self._contexts is not None:
            self._contexts.close()
        for buffer in self._buffers.values():
            buffer.device.free()
            self._gpu.free_pinned(buffer.host)
        self._buffers.clear()
        if self._scratch is not None:
            self._scratch.free()
        self._contexts = self._scratch = self._stream = None

    def _open(self, engine: ICudaEngine) -> None:
        gpu = self._gpu
        self._stream = gpu.stream()
        contexts = self._contexts = PlanContexts(self._library, self._stream)
        contexts.open(engine)
        self._scratch = gpu.allocate(contexts.scratch)
        self.bytes += contexts.scratch
        contexts.use_scratch(int(self._scratch), contexts.scratch)
        self._inputs = contexts.inputs
        for name, shape in {**contexts.inputs, **contexts.outputs}.items():
            self._allocate(name, name in contexts.inputs, shape, contexts.dtypes[name])
            contexts.bind(name, int(self._buffers[name].device))

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
        """Check the shapes of all inputs and return the batch size."""
        if inputs.keys() != self._inputs.keys():
            raise ShapeOutsideProfileError(
                f"the network has the inputs {sorted(self._inputs)}, got {sorted(inputs)}",
                hint="the bundle's model.yaml and ONNX file do not match; export the bundle again",
            )
        counts = {len(array) for array in inputs.values()}
        for name, array in inputs.items():
            most = self._inputs[name]
            if len(counts) > 1 or array.shape[1:] != most[1:] or not 1 <= len(array) <= most[0]:
                wanted = ", ".join((f"1 to {most[0]}", *map(str, most[1:])))
                raise ShapeOutsideProfileError(
                    f"the plan takes {name} of shape ({wanted}), got {array.shape}",
                    hint="inputs must have the size in the bundle's model.yaml; split larger batches",
                )
        return counts.pop()

    def _queue(self, inputs: Mapping[str, Array], count: int) -> dict[str, Array]:
        """Queue copies and the run on the stream; return views that are filled when it is synchronized."""
        gpu, log = self._gpu, self._library.log
        mark = log.mark()
        what = f"{self._library.name} failed on a batch of {count}"
        assert self._contexts is not None
        context = self._contexts.fitting(count)
        for name, array in inputs.items():
            buffer = self._buffers[name]
            view = buffer.host[:count]
            np.copyto(view, array, casting="same_kind")
            gpu.upload(buffer.device, view, self._stream)
            if not context.set_input_shape(name, array.shape):
                raise ShapeOutsideProfileError(f"the plan rejects {name} of shape {array.shape}")
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
