"""Selection and opening of the engine for a bundle. An engine requested by name never falls back to another."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, get_args

from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from streamad.bundle import Bundle
from streamad.engines import tensorrt
from streamad.engines.base import Engine, EnginePlugin, batch_sizes_for
from streamad.engines.stateful import StatefulEngine
from streamad.engines.tensorrt.library import LibraryName
from streamad.errors import DISTRIBUTION, EngineError, PluginError, install_hint, suggestion
from streamad.plugins import ENGINES, find_plugin, plugin_names

if TYPE_CHECKING:
    from streamad.engines.tensorrt.engine import TensorRtOptions

EngineName = Literal["auto", "openvino", "onnx", "torch", "tensorrt", "tensorrt-rtx"]
Precision = Literal["fp32", "fp16", "bf16", "int8"]
PRECISIONS: dict[str, tuple[str, ...]] = {
    "openvino": ("fp32", "bf16", "int8"),
    "onnx": ("fp32",),
    "torch": ("fp32",),
    "tensorrt": ("fp32", "fp16"),
    "tensorrt-rtx": ("fp32", "fp16"),
}
"""Precisions that each engine supports."""
GPU_ENGINES = ("tensorrt", "tensorrt-rtx")
GPU_FRAMES_PER_CALL = 4
"""Default number of frames per stream and call on a GPU that scores files. Chosen without measurement."""
GPU_STREAMS_PER_CALL = 8
"""Default number of streams per call on a GPU that watches live cameras. Chosen without measurement."""


def engine_names() -> tuple[str, ...]:
    """Return the names that `engine` takes, those of plugins last."""
    return (*get_args(EngineName), *(name for name in plugin_names(ENGINES) if name not in get_args(EngineName)))


def _known_engine(name: str) -> str:
    if name not in get_args(EngineName) and name not in plugin_names(ENGINES):
        hint = suggestion(name, engine_names())
        raise ValueError(f"got {name!r}, expected one of {', '.join(engine_names())}" + (f"; {hint}" if hint else ""))
    return name


class EngineSpec(BaseModel):
    """The `engine` section of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_known_engine)] = Field(
        "auto",
        description="engine that runs the network; auto: TensorRT if there is a GPU, else OpenVINO",
        json_schema_extra={"enum": list(get_args(EngineName))},
    )
    device: str | None = Field(
        None,
        description="device as the engine names it (OpenVINO: CPU, GPU; torch: cpu, cuda; TensorRT: cuda:0, …); "
        "empty: the CPU, or the first GPU for TensorRT",
    )
    threads: int | None = Field(None, ge=1, le=256, description="CPU threads for inference; empty: the engine chooses")
    precision: Precision = Field(
        "fp32",
        description="fp16 (TensorRT) and int8 (OpenVINO on a CPU) use the variant written by `streamad export "
        "--precision`; bf16 (OpenVINO, if the processor supports it) needs none; all are faster but less exact",
    )
    workspace_mib: int | None = Field(
        None, ge=1, le=1 << 20, description="TensorRT: limit on scratch memory, MiB; empty: all of the GPU's memory"
    )
    plan_cache: Path | None = Field(
        None, description="TensorRT: folder for built plans; empty: STREAMAD_CACHE/plans, or the user's cache folder"
    )

    frames_per_call: int | None = Field(
        None,
        ge=1,
        le=16,
        description="maximum frames per camera and call of a stateful network; empty: 1 (on a CPU more are no "
        "faster), or 4 for files with TensorRT",
    )
    streams_per_call: int | None = Field(
        None,
        ge=1,
        le=64,
        description="maximum cameras per call of a stateful network; empty: 1 (on a CPU more are no faster), "
        "or 8 live with TensorRT",
    )

    @property
    def label(self) -> str:
        """The name, plus the precision unless it is fp32: everything that scores depend on."""
        return self.name if self.precision == "fp32" else f"{self.name} {self.precision}"


_MODULES = {"openvino": ("openvino", ""), "onnx": ("onnxruntime", "onnx"), "torch": ("torch", "train")}
"""Module that each engine on a processor needs, and the extra that installs it."""


def available_engines() -> dict[str, str]:
    """Return every engine with the reason why it cannot run here; "" if it can."""
    return {name: engine_problem(name) for name in engine_names() if name != "auto"}


def engine_problem(name: str) -> str:
    """Return why an engine cannot run here; empty if it can."""
    if name in _MODULES:
        module, extra = _MODULES[name]
        if importlib.util.find_spec(module) is not None:
            return ""
        return f"the module {module} is not installed ({install_hint(extra) if extra else f'reinstall {DISTRIBUTION}'})"
    if name in GPU_ENGINES:
        return tensorrt.gpu_problem("tensorrt" if name == "tensorrt" else "tensorrt-rtx")
    try:
        plugin = _plugin(name)
    except PluginError as error:
        return str(error)
    return f"there is no engine {name}" if plugin is None else plugin.problem()


def _plugin(name: str) -> EnginePlugin | None:
    return None if name in PRECISIONS else find_plugin(ENGINES, name, EnginePlugin)


def runs_streaming(spec: EngineSpec | None) -> bool:
    """Whether the engine supports stateful networks; plugins run networks on windows."""
    return spec is None or spec.name in get_args(EngineName)


def precisions_of(name: str) -> tuple[str, ...]:
    """Return the precisions that an engine runs in."""
    plugin = _plugin(name)
    return PRECISIONS[name] if plugin is None else plugin.precisions


def resolve_engine(spec: EngineSpec) -> tuple[str, str]:
    """Resolve the requested engine and the reason for the choice.

    `auto` selects TensorRT if a GPU, its driver and its libraries are present. A named device alone decides otherwise.
    """
    if spec.name != "auto":
        return spec.name, "requested by name"
    if spec.device is not None:
        on_gpu = re.match(r"cuda\b", spec.device.lower()) is not None
        return "tensorrt" if on_gpu else "openvino", f"auto: engine for the device {spec.device}"
    problem = tensorrt.gpu_problem("tensorrt")
    if problem:
        # Without a driver, other missing parts do not matter.
        cause = tensorrt.driver_problem() or problem
        return "openvino", f"auto: OpenVINO, because TensorRT is unavailable: {cause}"
    return "tensorrt", "auto: TensorRT, because a GPU, its driver and its libraries are present"


def open_engine(
    bundle: Bundle,
    spec: EngineSpec | None = None,
    *,
    hint: Literal["latency", "throughput"] = "latency",
    build_network: Callable[[], Any] | None = None,
) -> Engine:
    """Open the configured engine.

    Args:
        bundle: The model bundle.
        spec: The engine configuration. Default: `auto`.
        hint: "latency" for live cameras, "throughput" for files.
        build_network: Factory for the untrained network, required by the torch engine.

    Raises:
        EngineError: If the engine cannot run here; the message names the cause.
    """
    spec = spec or EngineSpec()
    name, why = _ready(spec)
    sizes = batch_sizes_for(bundle.manifest.tiling.kind)
    plugin = _plugin(name)
    if plugin is not None:
        return plugin.open(bundle, spec, batch_sizes=sizes, why=why)
    if name in GPU_ENGINES:
        from streamad.engines.tensorrt.engine import TensorRtEngine

        library, options = _gpu_options(name, spec, hint)
        network = bundle.network_path(options.precision)
        return TensorRtEngine(network, library=library, options=options, why=why, batch_sizes=sizes)
    if name == "openvino":
        from streamad.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(
            bundle.network_path(spec.precision),
            device=spec.device or "CPU",
            precision=spec.precision,
            threads=spec.threads,
            hint=hint,
            why=why,
            batch_sizes=sizes,
        )
    if name == "onnx":
        from streamad.engines.onnx_engine import OnnxEngine

        return OnnxEngine(bundle.onnx_path, threads=spec.threads, why=why, batch_sizes=sizes)
    if build_network is None:
        raise EngineError("the torch engine requires the detector's network", hint="call streamad.inference.open_model")
    from streamad.engines.torch_engine import TorchEngine

    return TorchEngine(
        build_network, bundle.weights_path, device=(spec.device or "cpu").lower(), why=why, batch_sizes=sizes
    )


def open_stateful_engine(
    bundle: Bundle,
    spec: EngineSpec | None = None,
    *,
    hint: Literal["latency", "throughput"] = "latency",
    load_network: Callable[[], Any] | None = None,
    convert: Callable[[Any], Any] | None = None,
) -> StatefulEngine:
    """Open the configured engine for the stateful form of a bundle's network.

    Args:
        bundle: A bundle that has the stateful form.
        spec: The engine configuration. Default: `auto`.
        hint: "latency" for live cameras, "throughput" for files.
        load_network: Factory for the trained network, required by the torch engine.
        convert: Conversion of the network to its stateful form, required by the torch engine.

    Raises:
        EngineError: If the bundle has no stateful form, or the engine cannot run here; the message names the cause.
    """
    spec = spec or EngineSpec()
    name, why = _ready(spec)
    path, context = bundle.streaming_path, (bundle.manifest.tiling.window or 1) - 1
    if path is None:
        raise EngineError(
            f"the bundle {bundle.name} has no streaming form of its network",
            hint="run it on windows, or export the bundle again with this version",
        )
    frames, cameras = run_limits(name, spec, hint)
    lengths = (1, frames) if frames > 1 else (1,)
    if name in GPU_ENGINES:
        from streamad.engines.tensorrt.stateful import TensorRtStatefulEngine

        library, options = _gpu_options(name, spec, hint)
        network = bundle.network_path(options.precision, streaming=True)
        return TensorRtStatefulEngine(
            network, context, library=library, options=options, run_sizes=lengths, cameras=cameras, why=why
        )
    if name == "openvino":
        from streamad.engines.openvino_stateful import OpenVinoStatefulEngine

        return OpenVinoStatefulEngine(
            bundle.network_path(spec.precision, streaming=True),
            context,
            device=spec.device or "CPU",
            precision=spec.precision,
            threads=spec.threads,
            run_sizes=lengths,
            camera_sizes=_compiled_sizes(cameras),
            why=why,
        )
    any_number = tuple(range(1, cameras + 1))
    if name == "onnx":
        from streamad.engines.onnx_stateful import OnnxStatefulEngine

        return OnnxStatefulEngine(
            path, context, threads=spec.threads, run_sizes=lengths, camera_sizes=any_number, why=why
        )
    if load_network is None or convert is None:
        raise EngineError("the torch engine requires the detector's network", hint="call streamad.inference.open_model")
    from streamad.engines.torch_stateful import TorchStatefulEngine

    device = (spec.device or "cpu").lower()
    return TorchStatefulEngine(
        load_network, convert, context, device=device, run_sizes=lengths, camera_sizes=any_number, why=why
    )


def run_limits(name: str, spec: EngineSpec, hint: str) -> tuple[int, int]:
    """Maximum number of frames per stream, and of streams, in one call of a stateful network.

    On a CPU both are 1, because larger calls are no faster (docs/results/streaming-network.md). On a GPU, one small
    frame leaves most of the device idle. Frames of other cameras fill it when live, and subsequent frames do for files.
    """
    if name not in GPU_ENGINES:
        frames, cameras = 1, 1
    elif hint == "throughput":
        frames, cameras = GPU_FRAMES_PER_CALL, 1
    else:
        frames, cameras = 1, GPU_STREAMS_PER_CALL
    return spec.frames_per_call or frames, spec.streams_per_call or cameras


def _compiled_sizes(max_size: int) -> tuple[int, ...]:
    """Powers of two up to `max_size`, and `max_size` itself. Each size is compiled, so there are few."""
    powers = {1 << k for k in range(max_size.bit_length())}
    return tuple(sorted({*powers, max_size}))


def _gpu_options(name: str, spec: EngineSpec, hint: str) -> tuple[LibraryName, TensorRtOptions]:
    from streamad.engines.tensorrt.engine import TensorRtOptions

    half: Literal["fp32", "fp16"] = "fp16" if spec.precision == "fp16" else "fp32"
    library: LibraryName = "tensorrt" if name == "tensorrt" else "tensorrt-rtx"
    return library, TensorRtOptions(spec.device, half, hint, spec.workspace_mib, spec.plan_cache)


def _ready(spec: EngineSpec) -> tuple[str, str]:
    """Resolve the engine's name and the reason for the choice.

    Raises:
        EngineError: If it cannot run here, or not in the requested precision.
    """
    name, why = resolve_engine(spec)
    missing = engine_problem(name)
    if missing:
        raise EngineError(f"the engine {name} cannot run here: {missing}", hint="`streamad doctor` lists the engines")
    if spec.precision not in precisions_of(name):
        able = [engine for engine, precisions in PRECISIONS.items() if spec.precision in precisions]
        raise EngineError(
            f"the engine {name} supports {' or '.join(precisions_of(name))}, not {spec.precision}",
            hint=f"omit `precision`, or use an engine that supports it: {', '.join(able)}",
        )
    return name, why
