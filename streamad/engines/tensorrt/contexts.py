"""Contexts of a loaded plan: one per profile, on one stream."""

from __future__ import annotations

from typing import Any

from streamad.engines.tensorrt.api import ICudaEngine, IExecutionContext
from streamad.engines.tensorrt.failures import failure
from streamad.engines.tensorrt.library import Library
from streamad.errors import EngineError


class PlanContexts:
    """One context per profile of a plan. Call all methods inside `Gpu.current()`.

    Args:
        library: TensorRT or TensorRT-RTX.
        stream: The stream on which the contexts run, one after the other.
        counted: Input whose first dimension selects the profile. Default: the plan's first input.

    Attributes:
        inputs: Largest shape of each input, by name.
        outputs: Largest shape of each output, by name.
        dtypes: NumPy type of each input and output.
        scratch: Scratch memory that the largest profile needs, bytes.
    """

    def __init__(self, library: Library, stream: Any, counted: str | None = None) -> None:
        self._library = library
        self._stream = stream
        self._counted = counted
        self._contexts: list[tuple[int, int, IExecutionContext]] = []  # min rows, max rows, context
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.outputs: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, Any] = {}
        self.scratch = 0

    def open(self, engine: ICudaEngine) -> None:
        """Create the contexts. They still need `use_scratch` and the addresses of inputs and outputs.

        Raises:
            EngineError: One of the errors in `failures`, which names the cause.
        """
        trt, log = self._library.trt, self._library.log
        mark = log.mark()
        what = f"{self._library.name} cannot set the plan up"
        names = [engine.get_tensor_name(index) for index in range(engine.num_io_tensors)]
        inputs = [name for name in names if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.dtypes = {name: trt.nptype(engine.get_tensor_dtype(name)) for name in names}
        shapes: dict[str, tuple[int, ...]] = {}
        for index in range(engine.num_optimization_profiles):
            self.scratch = max(self.scratch, engine.get_device_memory_size_for_profile_v2(index))
            context = engine.create_execution_context(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
            if context is None:
                raise failure(what, log.since(mark))
            if not context.set_optimization_profile_async(index, self._stream.handle):
                raise failure(what, log.since(mark))
            ranges = {name: engine.get_tensor_profile_shape(name, index) for name in inputs}
            for name, (_, _, max_rows) in ranges.items():
                shapes[name] = _larger(shapes.get(name), max_rows)
                if not context.set_input_shape(name, tuple(max_rows)):
                    raise failure(what, log.since(mark))
            for name in names:
                if name not in inputs:
                    shapes[name] = _larger(shapes.get(name), context.get_tensor_shape(name))
            min_rows, _, max_rows = ranges[self._counted or inputs[0]]
            self._contexts.append((int(min_rows[0]), int(max_rows[0]), context))
        self._stream.synchronize()  # switching a profile copies on the stream
        self.inputs = {name: shapes[name] for name in names if name in inputs}
        self.outputs = {name: shapes[name] for name in names if name not in inputs}

    def use_scratch(self, memory: int, size: int) -> None:
        """Let all contexts share one block of memory, because they run one after the other.

        Args:
            memory: Address on the GPU.
            size: Size in bytes, at least `scratch`.
        """
        for _, _, context in self._contexts:
            context.set_device_memory(memory, size)

    def bind(self, name: str, memory: int) -> None:
        """Set the address of an input or output in all contexts, aligned to 256 bytes."""
        for _, _, context in self._contexts:
            self.bind_to(context, name, memory)

    def bind_to(self, context: IExecutionContext, name: str, memory: int) -> None:
        """Set the address of an input or output in one context."""
        mark = self._library.log.mark()
        if not context.set_tensor_address(name, memory):
            raise failure(f"{self._library.name} rejected the memory of {name}", self._library.log.since(mark))

    def fitting(self, rows: int) -> IExecutionContext:
        """Return the context whose profile covers `rows` rows of the counted input."""
        return next(context for min_rows, max_rows, context in self._contexts if min_rows <= rows <= max_rows)

    def close(self) -> None:
        """Free the contexts."""
        self._contexts.clear()


def _larger(known: tuple[int, ...] | None, shape: Any) -> tuple[int, ...]:
    """The larger of two shapes that differ only in the batch dimension."""
    new = tuple(int(d) for d in shape)
    if any(d < 0 for d in new):
        raise EngineError(f"the plan has an output of unknown size, {new}", hint="export the bundle again")
    return new if known is None or new[0] > known[0] else known
