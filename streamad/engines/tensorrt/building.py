"""Building of plans from ONNX files: TensorRT for the current GPU, TensorRT-RTX for a named GPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from streamad.engines.tensorrt.api import IBuilderConfigRtx, INetworkDefinition
from streamad.engines.tensorrt.failures import UnsupportedOperatorError, failure
from streamad.engines.tensorrt.library import Library
from streamad.engines.tensorrt.profiles import BatchProfile
from streamad.errors import EngineError


@dataclass(frozen=True, slots=True)
class BuildSpec:
    """What a plan is built for.

    Attributes:
        profiles: Ranges of batch sizes.
        capability: Compute capability of the GPU, (major, minor).
        workspace_mib: Limit on scratch memory, MiB. Default: all of the GPU's memory.
        rows: First dimension of an input per batch element, by name; 1 if not listed.
    """

    profiles: tuple[BatchProfile, ...]
    capability: tuple[int, int]
    workspace_mib: int | None = None
    rows: Mapping[str, int] = field(default_factory=dict)


def build_plan(library: Library, onnx: Path, spec: BuildSpec, content: bytes | None = None) -> bytes:
    """Build a strongly typed plan, so that the ONNX file determines the precision. TF32 is off, so that fp32 is exact.

    TensorRT requires the GPU's CUDA context to be current in this thread. TensorRT-RTX requires no GPU.

    Args:
        library: TensorRT or TensorRT-RTX.
        onnx: The network file. Only the first dimension of its inputs may be dynamic.
        spec: What to build for.
        content: The network, if it was changed after reading. Default: the file's content.

    Raises:
        GpuUnavailableError: If there is no driver.
        UnsupportedOperatorError: If the network contains an operation that cannot run on that GPU.
        GpuMemoryError: If the GPU or the limit has too little memory.
        EngineError: If the file cannot be read, or the build fails for another reason.
    """
    trt, log = library.trt, library.log
    mark = log.mark()
    what = f"{library.name} cannot build {onnx.name}"
    builder = library.start(trt.Builder)
    network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    config = builder.create_builder_config()
    if network is None or config is None:
        raise failure(what, log.since(mark))
    _parse(library, network, onnx, read_network(onnx) if content is None else content, mark)
    config.clear_flag(trt.BuilderFlag.TF32)
    if spec.workspace_mib is not None:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, spec.workspace_mib << 20)
    for batch in spec.profiles:
        profile = builder.create_optimization_profile()
        if profile is None:
            raise failure(what, log.since(mark))
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            assert tensor is not None
            rows = spec.rows.get(tensor.name, 1)
            shapes = [_with_batch(tensor.shape, rows * size, onnx) for size in (batch.least, batch.best, batch.most)]
            profile.set_shape(tensor.name, *shapes)
        if config.add_optimization_profile(profile) < 0:
            raise failure(what, log.since(mark))
    if library.rtx:
        _target(library, config, spec.capability)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise failure(what, log.since(mark))
    return bytes(plan)


def read_network(onnx: Path) -> bytes:
    """Read an ONNX file.

    Raises:
        EngineError: If it cannot be read.
    """
    try:
        return onnx.read_bytes()
    except OSError as error:
        raise EngineError(f"cannot read {onnx}: {error.strerror}", hint="export the bundle again") from error


def _parse(library: Library, network: INetworkDefinition, onnx: Path, content: bytes, mark: int) -> None:
    parser = library.trt.OnnxParser(network, library.logger)
    if parser.parse(content) and network.num_inputs > 0:
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    operators = sorted({error.node_operator() for error in errors} - {""})
    if operators:
        raise UnsupportedOperatorError(
            f"{library.name} {library.version} cannot run the operator {', '.join(operators)} of {onnx.name}",
            hint="run this model with `engine: {name: openvino}`",
        )
    reasons = [error.desc() for error in errors] or library.log.since(mark) or ["it contains no network"]
    raise EngineError(
        f"{library.name} cannot read {onnx}: {' | '.join(reasons)}",
        hint="the file may be damaged; export the bundle again",
    )


def _with_batch(shape: object, size: int, onnx: Path) -> tuple[int, ...]:
    """Replace the first dimension of a shape by `size` if it is dynamic."""
    dimensions = tuple(int(d) for d in cast("tuple[int, ...]", shape))
    if any(d < 0 for d in dimensions[1:]):
        raise EngineError(f"{onnx.name} has an input of shape {dimensions}: only its first dimension may be dynamic")
    return (size if dimensions[0] < 0 else dimensions[0], *dimensions[1:])


def _target(library: Library, config: IBuilderConfigRtx, capability: tuple[int, int]) -> None:
    """Set the GPU for which TensorRT-RTX builds."""
    known = library.trt.ComputeCapability
    name = f"SM{capability[0]}{capability[1]}"
    target = getattr(known, name, None)
    config.num_compute_capabilities = 1
    if target is None or not config.set_compute_capability(target, 0):
        names = ", ".join(sorted(n for n in known.__members__ if n.startswith("SM")))
        raise UnsupportedOperatorError(
            f"{library.name} {library.version} cannot build for {name}; it supports {names}",
            hint="use `engine: {name: tensorrt}` on this GPU",
        )
