"""The contexts of a loaded plan: one for each of its profiles, on one stream."""

from __future__ import annotations

from typing import Any

from streamad.engines.tensorrt.api import ICudaEngine, IExecutionContext
from streamad.engines.tensorrt.failures import failure
from streamad.engines.tensorrt.library import Library
from streamad.errors import EngineError


class PlanContexts:
    """A context for each profile of a plan. All calls are inside `Gpu.current()`.

    Args:
        library: TensorRT or TensorRT-RTX.
        stream: on which they run, one after the other.
        counted: input whose first dimension chooses the profile; None is the plan's first.

    Attributes:
        inputs: largest shape of each input by name.
        outputs: the same of each output.
        dtypes: numpy's type of each input and output.
        scratch: bytes of scratch memory that the largest profile needs.
    """

    def __init__(self, library: Library, stream: Any, counted: str | None = None) -> None:
        self._library = library
        self._stream = stream
        self._counted = counted
        self._contexts: list[tuple[int, int, IExecutionContext]] = []  # least rows, most, context
        self.inputs: dict[str, tuple[int, ...]] = {}
        self.outputs: dict[str, tuple[int, ...]] = {}
        self.dtypes: dict[str, Any] = {}
        self.scratch = 0

    def open(self, engine: ICudaEngine) -> None:
        """Make the contexts; they wait for `use_scratch` and for the addresses of inputs and outputs.

        Raises:
            EngineError: one of `failures`, which names the cause.
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
            for name, (_, _, most) in ranges.items():
                shapes[name] = _larger(shapes.get(name), most)
                if not context.set_input_shape(name, tuple(most)):
                    raise failure(what, log.since(mark))
            for name in names:
                if name not in inputs:
                    shapes[name] = _larger(shapes.get(name), context.get_tensor_shape(name))
            least, _, most = ranges[self._counted or inputs[0]]
            self._contexts.append((int(least[0]), int(most[0]), context))
        self._stream.synchronize()  # switching a profile copies on the stream
        self.inputs = {name: shapes[name] for name in names if name in inputs}
        self.outputs = {name: shapes[name] for name in names if name not in inputs}

    def use_scratch(self, memory: int, size: int) -> None:
        """Let all contexts use one piece of memory: they run one after the other.

        Args:
            memory: address on the GPU.
            size: bytes, at least `scratch`.
        """
        for _, _, context in self._contexts:
            context.set_device_memory(memory, size)

    def bind(self, name: str, memory: int) -> None:
        """Let all contexts read or write one input or output at an address, aligned to 256 bytes."""
        for _, _, context in self._contexts:
            self.bind_to(context, name, memory)

    def bind_to(self, context: IExecutionContext, name: str, memory: int) -> None:
        """The same for one of them."""
        mark = self._library.log.mark()
        if not context.set_tensor_address(name, memory):
            raise failure(f"{self._library.name} refuses the memory of {name}", self._library.log.since(mark))

    def fitting(self, rows: int) -> IExecutionContext:
        """The context whose profile holds so many rows of the input that counts."""
        return next(context for least, most, context in self._contexts if least <= rows <= most)

    def close(self) -> None:
        """Free them."""
        self._contexts.clear()


def _larger(known: tuple[int, ...] | None, shape: Any) -> tuple[int, ...]:
    """The larger of two shapes that differ in the batch alone."""
    new = tuple(int(d) for d in shape)
    if any(d < 0 for d in new):
        raise EngineError(f"the plan has an output of unknown size, {new}", hint="export the bundle again")
    return new if known is None or new[0] > known[0] else known
