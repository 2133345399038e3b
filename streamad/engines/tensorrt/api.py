"""Every name of TensorRT's Python API that streamad uses, and no other.

The code is annotated with these protocols, so mypy refuses a name that is not here; a test holds each of them against
the real bindings of TensorRT 10.13, 10.16 and 11.4 and of TensorRT-RTX. Names are the library's own. What 11 removed is
absent: precision flags, `int8_calibrator`, `ILayer.precision`, `device_memory_size`, `EXPLICIT_BATCH`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Shape = Sequence[int]


class ITensor(Protocol):
    """An input or output of a network."""

    @property
    def name(self) -> str:
        """Its name in the ONNX file."""

    @property
    def shape(self) -> Shape:
        """Dimensions, −1 where dynamic."""


class INetworkDefinition(Protocol):
    """A parsed network. Keep it referenced while its parser lives, or the process crashes."""

    @property
    def num_inputs(self) -> int:
        """Inputs."""

    def get_input(self, index: int) -> ITensor | None:
        """An input, None where there is none of that number."""


class ParserError(Protocol):
    """Why a part of an ONNX file was refused."""

    def desc(self) -> str:
        """The library's words."""

    def node_operator(self) -> str:
        """ONNX operator, "" where no node is to blame."""


class OnnxParser(Protocol):
    """Fills a network from ONNX."""

    @property
    def num_errors(self) -> int:
        """Errors of the last parse."""

    def get_error(self, index: int) -> ParserError:
        """One of them."""

    def parse(self, model: bytes) -> bool:
        """False where something is refused."""


class IOptimizationProfile(Protocol):
    """A range of shapes that a plan is made for."""

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None:
        """Least, best and largest shape of an input."""


class IBuilderConfig(Protocol):
    """How a plan is built."""

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        """Its number, −1 where it is refused."""

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        """Bound a kind of memory, bytes."""

    def clear_flag(self, flag: Any) -> None:
        """Switch an optimization off."""


class IBuilderConfigRtx(IBuilderConfig, Protocol):
    """TensorRT-RTX builds ahead of time for named GPUs."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        """One GPU that the plan is for."""


class IHostMemory(Protocol):
    """A serialized plan; `bytes()` copies it."""

    @property
    def nbytes(self) -> int:
        """Its size."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """Its content."""


class Builder(Protocol):
    """Makes plans."""

    def create_network(self, flags: int) -> INetworkDefinition | None:
        """An empty network."""

    def create_builder_config(self) -> IBuilderConfigRtx | None:
        """Settings."""

    def create_optimization_profile(self) -> IOptimizationProfile | None:
        """An empty profile."""

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        """The plan; None where it cannot be built, and the log says why."""


class IExecutionContext(Protocol):
    """The state of one run at a time."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """Choose the range of shapes."""

    def set_device_memory(self, memory: int, size: int) -> None:
        """Scratch of the caller's for activations; address and bytes."""

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        """False where the shape is outside the profile."""

    def get_tensor_shape(self, name: str) -> Shape:
        """Shape under the input shapes that are set."""

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Where an input is read or an output is written."""

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Queue the run on a stream."""


class ICudaEngine(Protocol):
    """A loaded plan."""

    @property
    def num_io_tensors(self) -> int:
        """Inputs and outputs."""

    @property
    def num_optimization_profiles(self) -> int:
        """Profiles of the plan."""

    def get_tensor_name(self, index: int) -> str:
        """Name of an input or output."""

    def get_tensor_mode(self, name: str) -> Any:
        """A `TensorIOMode`."""

    def get_tensor_dtype(self, name: str) -> Any:
        """A `DataType`."""

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Shape]:
        """Least, best and largest shape of an input."""

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        """Bytes of scratch that a context needs."""

    def create_execution_context(self, strategy: Any) -> IExecutionContext | None:
        """A context; None where memory does not suffice."""


class Runtime(Protocol):
    """Loads plans."""

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """The loaded plan; None where it is damaged, or for another GPU or version."""


class Module(Protocol):
    """The library itself: `tensorrt` or `tensorrt_rtx`."""

    __version__: str
    Builder: Callable[[Any], Builder]
    OnnxParser: Callable[[INetworkDefinition, Any], OnnxParser]
    Runtime: Callable[[Any], Runtime]
    ILogger: Any
    NetworkDefinitionCreationFlag: Any
    BuilderFlag: Any
    MemoryPoolType: Any
    TensorIOMode: Any
    ExecutionContextAllocationStrategy: Any
    ComputeCapability: Any  # TensorRT-RTX alone
    nptype: Callable[[Any], Any]


ENUMS = {
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "BuilderFlag": ("TF32",),
    "MemoryPoolType": ("WORKSPACE",),
    "TensorIOMode": ("INPUT",),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
}
"""Members of enumerations that are used; `ComputeCapability` is TensorRT-RTX's alone and looked up by name."""
