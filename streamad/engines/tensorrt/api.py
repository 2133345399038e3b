"""Every name of TensorRT's Python API that streamad uses, and no other.

The code is annotated with these protocols, so mypy rejects any name that is not declared here, and a test checks each
one against the real bindings of TensorRT 10.13, 10.16 and 11.4 and of TensorRT-RTX. The names are the library's own.
Names that version 11 removed are absent: precision flags, `int8_calibrator`, `ILayer.precision`, `device_memory_size`,
`EXPLICIT_BATCH`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

Shape = Sequence[int]


class ITensor(Protocol):
    """An input or output of a network."""

    @property
    def name(self) -> str:
        """The name in the ONNX file."""

    @property
    def shape(self) -> Shape:
        """The dimensions; −1 if dynamic."""


class INetworkDefinition(Protocol):
    """A parsed network. Keep it referenced while its parser lives, or the process crashes."""

    @property
    def num_inputs(self) -> int:
        """Number of inputs."""

    def get_input(self, index: int) -> ITensor | None:
        """An input; None if the index is out of range."""


class ParserError(Protocol):
    """Why part of an ONNX file was rejected."""

    def desc(self) -> str:
        """The library's message."""

    def node_operator(self) -> str:
        """The ONNX operator; "" if no node is the cause."""


class OnnxParser(Protocol):
    """Fills a network from ONNX."""

    @property
    def num_errors(self) -> int:
        """Number of errors in the last parse."""

    def get_error(self, index: int) -> ParserError:
        """One of the errors."""

    def parse(self, model: bytes) -> bool:
        """Parse a model; False if anything is rejected."""


class IOptimizationProfile(Protocol):
    """A range of shapes for which a plan is built."""

    def set_shape(self, input: str, min: Shape, opt: Shape, max: Shape) -> None:
        """Set the minimum, optimum and maximum shape of an input."""


class IBuilderConfig(Protocol):
    """Build settings."""

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        """Add a profile and return its index; −1 if it is rejected."""

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        """Limit a kind of memory, bytes."""

    def clear_flag(self, flag: Any) -> None:
        """Disable an optimization."""


class IBuilderConfigRtx(IBuilderConfig, Protocol):
    """Build settings of TensorRT-RTX, which builds ahead of time for named GPUs."""

    num_compute_capabilities: int

    def set_compute_capability(self, compute_capability: Any, index: int) -> bool:
        """Set a target GPU of the plan."""


class IHostMemory(Protocol):
    """A serialized plan; `bytes()` copies it."""

    @property
    def nbytes(self) -> int:
        """Size, bytes."""

    def __buffer__(self, flags: int, /) -> memoryview:
        """The content."""


class Builder(Protocol):
    """Builder of plans."""

    def create_network(self, flags: int) -> INetworkDefinition | None:
        """Create an empty network."""

    def create_builder_config(self) -> IBuilderConfigRtx | None:
        """Create build settings."""

    def create_optimization_profile(self) -> IOptimizationProfile | None:
        """Create an empty profile."""

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> IHostMemory | None:
        """Build a plan; None if that fails, with the reason in the log."""


class IExecutionContext(Protocol):
    """State of one run at a time."""

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        """Select the range of shapes."""

    def set_device_memory(self, memory: int, size: int) -> None:
        """Set the caller's scratch memory for activations: address and bytes."""

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        """Set an input's shape; False if it is outside the profile."""

    def get_tensor_shape(self, name: str) -> Shape:
        """Shape of a tensor for the current input shapes."""

    def set_tensor_address(self, name: str, memory: int) -> bool:
        """Set the address from which an input is read or to which an output is written."""

    def execute_async_v3(self, stream_handle: int) -> bool:
        """Queue a run on a stream."""


class ICudaEngine(Protocol):
    """A loaded plan."""

    @property
    def num_io_tensors(self) -> int:
        """Number of inputs and outputs."""

    @property
    def num_optimization_profiles(self) -> int:
        """Number of profiles in the plan."""

    def get_tensor_name(self, index: int) -> str:
        """Name of an input or output."""

    def get_tensor_mode(self, name: str) -> Any:
        """The tensor's `TensorIOMode`."""

    def get_tensor_dtype(self, name: str) -> Any:
        """The tensor's `DataType`."""

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> Sequence[Shape]:
        """Minimum, optimum and maximum shape of an input."""

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        """Scratch memory that a context needs, bytes."""

    def create_execution_context(self, strategy: Any) -> IExecutionContext | None:
        """Create a context; None if there is too little memory."""


class Runtime(Protocol):
    """Loader of plans."""

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        """Load a plan; None if it is damaged, or built for another GPU or version."""


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
    ComputeCapability: Any  # TensorRT-RTX only
    nptype: Callable[[Any], Any]


ENUMS = {
    "NetworkDefinitionCreationFlag": ("STRONGLY_TYPED",),
    "BuilderFlag": ("TF32",),
    "MemoryPoolType": ("WORKSPACE",),
    "TensorIOMode": ("INPUT",),
    "ExecutionContextAllocationStrategy": ("USER_MANAGED",),
}
"""Enumeration members in use. `ComputeCapability` exists only in TensorRT-RTX and is looked up by name."""
