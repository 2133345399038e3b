"""A stand-in for TensorRT with a stand-in GPU: ONNX Runtime runs networks in device memory when the stream gets there.

It has exactly the names of `streamad.engines.tensorrt.api` (a test compares them) and enforces the contract: a profile
and scratch memory before shapes, shapes inside the profile, an address for every tensor, a current context, no use of
freed memory. It fails like TensorRT, with None, False or −1 and a line in the log.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from cuda_support import DriverStage, PythonStage, Stage, python_driver

SCRATCH = 1 << 16
"""Scratch memory that a context needs, bytes."""


class Severity(Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2
    INFO = 3
    VERBOSE = 4


@dataclass
class Faults:
    """Faults that the stand-in simulates, for tests of failures."""

    execute: str = ""
    """Message logged by every run, which then fails."""
    build: str = ""
    deserialize: str = ""
    context: str = ""
    no_driver: bool = False
    builds: int = 0
    """Number of plans built so far."""
    loaded: list[str] = field(default_factory=list)
    """Living objects of the library, in order of creation."""


class _Alive:
    """Tracks objects that must be freed in order."""

    kind = ""

    def __init__(self, module: StandIn) -> None:
        self._module = module
        module.faults.loaded.append(self.kind)

    def __del__(self) -> None:
        if not hasattr(self, "_module"):  # the construction failed
            return
        if not self._module._stage.has_context():
            self._module.broken.append(f"{self.kind} was freed without a context")
        loaded = self._module.faults.loaded
        if loaded and loaded[-1] != self.kind:
            self._module.broken.append(f"{self.kind} was freed before {loaded[-1]}")
        if self.kind in loaded:
            loaded.reverse()
            loaded.remove(self.kind)
            loaded.reverse()


class StandIn(ModuleType):
    """The module. `broken` lists violations for which no exception can be raised."""

    def __init__(self, stage: Stage, version: str = "10.16.1.11") -> None:
        super().__init__("tensorrt")
        self.__version__ = version
        self.__spec__ = ModuleSpec("tensorrt", None)
        self.faults = Faults()
        self.broken: list[str] = []
        self._stage = stage
        self.logger: Any = None
        module = self

        class ILogger:
            def log(self, severity: Any, message: str) -> None:
                raise NotImplementedError

        class Runtime(_Alive):
            kind = "runtime"

            def __init__(self, logger: Any) -> None:
                module.logger = logger
                if module.faults.no_driver:
                    module.say("CUDA initialization failure with error: 35 (cudaError 35)")
                    raise TypeError("pybind11::init(): factory function returned nullptr")
                super().__init__(module)

            def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
                stage.require_context("deserialize")
                if module.faults.deserialize:
                    return module.say(module.faults.deserialize)
                return ICudaEngine(module, serialized_engine)

        class Builder:
            def __init__(self, logger: Any) -> None:
                module.logger = logger
                if module.faults.no_driver:
                    raise TypeError("pybind11::init(): factory function returned nullptr")

            def create_network(self, flags: int) -> INetworkDefinition:
                assert flags == 1 << 4, "strongly typed and nothing else"
                return INetworkDefinition()

            def create_builder_config(self) -> IBuilderConfig:
                return IBuilderConfig()

            def create_optimization_profile(self) -> IOptimizationProfile:
                return IOptimizationProfile()

            def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytearray | None:
                stage.require_context("build")
                if module.faults.build:
                    return module.say(module.faults.build)
                assert config.cleared == ["TF32"], "fp32 must be exact"
                module.faults.builds += 1
                head = {"profiles": [profile.shapes for profile in config.profiles]}
                return bytearray(json.dumps(head).encode() + b"\n" + network.model)

        self.ILogger, self.Runtime, self.Builder = ILogger, Runtime, Builder
        self.OnnxParser = OnnxParser
        self.NetworkDefinitionCreationFlag = Enum("NetworkDefinitionCreationFlag", {"STRONGLY_TYPED": 4}, type=int)
        self.BuilderFlag = Enum("BuilderFlag", {"TF32": 7})
        self.MemoryPoolType = Enum("MemoryPoolType", {"WORKSPACE": 0})
        self.TensorIOMode = Enum("TensorIOMode", {"NONE": 0, "INPUT": 1, "OUTPUT": 2})
        self.ExecutionContextAllocationStrategy = Enum("ExecutionContextAllocationStrategy", {"USER_MANAGED": 2})
        self.nptype = lambda kind: np.dtype(kind)

    def say(self, message: str) -> None:
        """Log an error; returns None, as the library does."""
        self.logger.log(Severity.ERROR, message)


class INetworkDefinition:
    def __init__(self) -> None:
        self.model = b""
        self._inputs: list[ITensor] = []

    @property
    def num_inputs(self) -> int:
        return len(self._inputs)

    def get_input(self, index: int) -> ITensor | None:
        return self._inputs[index]


@dataclass
class ITensor:
    name: str
    shape: tuple[int, ...]


class ParserError:
    def desc(self) -> str:
        return "Failed to parse the ONNX model."

    def node_operator(self) -> str:
        return ""


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: Any) -> None:
        self._network = network
        self.num_errors = 0

    def get_error(self, index: int) -> ParserError:
        return ParserError()

    def parse(self, model: bytes) -> bool:
        import onnxruntime as ort

        try:
            options = ort.SessionOptions()
            options.intra_op_num_threads = 1
            session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception:  # noqa: BLE001 - any exception means that the file is not a network
            self.num_errors = 1
            return False
        self._network.model = model
        for tensor in session.get_inputs():
            shape = tuple(d if isinstance(d, int) else -1 for d in tensor.shape)
            self._network._inputs.append(ITensor(tensor.name, shape))
        return True


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, list[Sequence[int]]] = {}

    def set_shape(self, input: str, min: Sequence[int], opt: Sequence[int], max: Sequence[int]) -> None:
        self.shapes[input] = [min, opt, max]


class IBuilderConfig:
    def __init__(self) -> None:
        self.profiles: list[IOptimizationProfile] = []
        self.cleared: list[str] = []
        self.limits: dict[str, int] = {}

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self.profiles.append(profile)
        return len(self.profiles) - 1

    def set_memory_pool_limit(self, pool: Any, pool_size: int) -> None:
        self.limits[pool.name] = pool_size

    def clear_flag(self, flag: Any) -> None:
        self.cleared.append(flag.name)


class ICudaEngine(_Alive):
    kind = "engine"
    spoil = 0.0
    """Error added to every output."""

    def __init__(self, module: StandIn, plan: bytes) -> None:
        import onnxruntime as ort

        super().__init__(module)
        head, _, model = plan.partition(b"\n")
        self.profiles = json.loads(head)["profiles"]
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.inputs = [tensor.name for tensor in self.session.get_inputs()]
        self.outputs = {tensor.name: tuple(tensor.shape[1:]) for tensor in self.session.get_outputs()}
        self._names = [*self.inputs, *self.outputs]

    @property
    def num_io_tensors(self) -> int:
        return len(self._names)

    @property
    def num_optimization_profiles(self) -> int:
        return len(self.profiles)

    def get_tensor_name(self, index: int) -> str:
        return self._names[index]

    def get_tensor_mode(self, name: str) -> Any:
        return self._module.TensorIOMode["INPUT" if name in self.inputs else "OUTPUT"]

    def get_tensor_dtype(self, name: str) -> Any:
        return "float32"

    def get_tensor_profile_shape(self, name: str, profile_index: int) -> list[tuple[int, ...]]:
        return [tuple(shape) for shape in self.profiles[profile_index][name]]

    def get_device_memory_size_for_profile_v2(self, profile_index: int) -> int:
        return SCRATCH

    def create_execution_context(self, strategy: Any) -> IExecutionContext | None:
        assert strategy.name == "USER_MANAGED"
        self._module._stage.require_context("create_execution_context")
        if self._module.faults.context:
            return self._module.say(self._module.faults.context)
        return IExecutionContext(self._module, self)


class IExecutionContext(_Alive):
    kind = "context"

    def __init__(self, module: StandIn, engine: ICudaEngine) -> None:
        super().__init__(module)
        self._engine = engine
        self._profile: int | None = None
        self._scratch: tuple[int, int] | None = None
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        self._profile = profile_index
        return profile_index < self._engine.num_optimization_profiles

    def set_device_memory(self, memory: int, size: int) -> None:
        assert memory % 256 == 0
        self._scratch = (memory, size)

    def set_input_shape(self, name: str, shape: Sequence[int]) -> bool:
        assert self._profile is not None
        least, _, most = self._engine.profiles[self._profile][name]
        inside = len(shape) == len(most) and all(a <= d <= b for a, d, b in zip(least, shape, most, strict=True))
        if not inside:
            self._module.say(f"setInputShape: {shape} is outside the profile {least} to {most}")
            return False
        self._shapes[name] = tuple(shape)
        return True

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        if name in self._engine.inputs:
            return self._shapes[name]
        return (self._shapes[self._engine.inputs[0]][0], *self._engine.outputs[name])

    def set_tensor_address(self, name: str, memory: int) -> bool:
        assert memory % 256 == 0, f"{name} at {memory:#x} is not aligned to 256 bytes"
        self._addresses[name] = memory
        return True

    def execute_async_v3(self, stream_handle: int) -> bool:
        stage, module, engine = self._module._stage, self._module, self._engine
        stage.require_context("execute_async_v3")
        if module.faults.execute:
            module.say(module.faults.execute)
            return False
        assert self._scratch is not None
        assert self._scratch[1] >= SCRATCH
        assert set(self._addresses) == {*engine.inputs, *engine.outputs}
        shapes = {name: self.get_tensor_shape(name) for name in self._addresses}
        addresses, scratch = dict(self._addresses), self._scratch

        def tensor(name: str) -> np.ndarray:
            size = int(np.prod(shapes[name])) * 4
            return stage.view(addresses[name], size).view(np.float32).reshape(shapes[name])

        def kernel() -> None:
            stage.view(*scratch)[:] = 0
            outputs = engine.session.run(None, {name: tensor(name) for name in engine.inputs})
            for name, output in zip(engine.outputs, outputs, strict=True):
                tensor(name)[...] = output + engine.spoil

        stage.launch(stream_handle, kernel)
        return True


def install(monkeypatch: pytest.MonkeyPatch, version: str = "10.16.1.11") -> StandIn:
    """Replace the modules of TensorRT and PyCUDA by stand-ins for one test.

    With `STREAMAD_STANDIN_CUDA` (set by scripts/check_pycuda.py), PyCUDA is real and runs on a stand-in for the driver.
    """
    from streamad.engines import tensorrt
    from streamad.engines.tensorrt import gpu, library

    driver = os.environ.get("STREAMAD_STANDIN_CUDA")
    stage: PythonStage | DriverStage = DriverStage(driver) if driver else PythonStage()
    module = StandIn(stage, version)
    monkeypatch.setitem(sys.modules, "tensorrt", module)
    if isinstance(stage, PythonStage):
        parent = ModuleType("pycuda")
        parent.__spec__ = ModuleSpec("pycuda", None)
        monkeypatch.setitem(sys.modules, "pycuda", parent)
        monkeypatch.setitem(sys.modules, "pycuda.driver", python_driver(stage))
        monkeypatch.setattr(tensorrt, "driver_problem", lambda: "")
        monkeypatch.setattr(gpu, "_contexts", {})
    monkeypatch.setattr(library, "_loaded", {})
    return module
