"""Which engine runs a bundle, and why. An engine asked for by name never falls back to another."""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streamad.bundle import Bundle
from streamad.engines.base import Engine, batch_sizes_for
from streamad.engines.stateful import StatefulEngine
from streamad.engines.tensorrt import availability
from streamad.engines.tensorrt.library import LibraryName
from streamad.errors import DISTRIBUTION, EngineError, install_hint

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
"""Precisions that each engine runs in."""
GPU_ENGINES = ("tensorrt", "tensorrt-rtx")
GPU_FRAMES_PER_CALL = 4
"""Frames of a camera in a run on a GPU that scores files, where nothing is asked for (our choice, not measured)."""
GPU_STREAMS_PER_CALL = 8
"""Cameras in a run on a GPU that watches live, where nothing is asked for (our choice, not measured)."""


class EngineSpec(BaseModel):
    """The `engine` part of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: EngineName = Field(
        "auto", description="engine that runs the network; auto: TensorRT where a GPU is, else OpenVINO"
    )
    device: str | None = Field(
        None,
        description="device in the engine's own words (OpenVINO: CPU, GPU; torch: cpu, cuda; TensorRT: cuda:0, …); "
        "empty: the CPU, for TensorRT the first GPU",
    )
    threads: int | None = Field(None, ge=1, le=256, description="CPU threads for inference; empty: the engine chooses")
    precision: Precision = Field(
        "fp32",
        description="fp16 (TensorRT) and int8 (OpenVINO on a CPU) take the variant that `streamad export --precision` "
        "made; bf16 (OpenVINO, where the processor has it) needs none; all are faster and less exact",
    )
    workspace_mib: int | None = Field(
        None, ge=1, le=1 << 20, description="TensorRT: bound of scratch memory, MiB; empty: all that the GPU has"
    )
    plan_cache: Path | None = Field(
        None, description="TensorRT: folder of built plans; empty: the user's cache folder, or STREAMAD_CACHE/plans"
    )

    frames_per_call: int | None = Field(
        None,
        ge=1,
        le=16,
        description="most frames of a camera in a run of a network that carries state; empty: 1 (on a CPU more are no "
        "faster), for files with TensorRT 4",
    )
    streams_per_call: int | None = Field(
        None,
        ge=1,
        le=64,
        description="most cameras in a run of a network that carries state; empty: 1 (on a CPU more are no faster), "
        "live with TensorRT 8",
    )

    @property
    def label(self) -> str:
        """Name, and precision where it is not fp32: what scores depend on."""
        return self.name if self.precision == "fp32" else f"{self.name} {self.precision}"


def available_engines() -> dict[str, str]:
    """Every engine and why it can or cannot run here: "" where it can."""
    modules = {"openvino": ("openvino", ""), "onnx": ("onnxruntime", "onnx"), "torch": ("torch", "train")}
    answer = {}
    for name, (module, extra) in modules.items():
        missing = importlib.util.find_spec(module) is None
        how = install_hint(extra) if extra else f"reinstall {DISTRIBUTION}"
        answer[name] = f"the module {module} is not installed ({how})" if missing else ""
    return {
        **answer,
        "tensorrt": availability.gpu_problem("tensorrt"),
        "tensorrt-rtx": availability.gpu_problem("tensorrt-rtx"),
    }


def chosen_engine(spec: EngineSpec) -> tuple[str, str]:
    """The engine that a wish comes to, and why.

    `auto` takes TensorRT where a GPU, its driver and its libraries are; a device that is named decides alone.
    """
    if spec.name != "auto":
        return spec.name, "asked for by name"
    if spec.device is not None:
        on_gpu = re.match(r"cuda\b", spec.device.lower()) is not None
        return "tensorrt" if on_gpu else "openvino", f"auto: the engine for the device {spec.device}"
    problem = availability.gpu_problem("tensorrt")
    if problem:
        # No driver is reason enough: what else is missing does not matter then.
        return "openvino", f"auto: OpenVINO, since for TensorRT {availability.driver_problem() or problem}"
    return "tensorrt", "auto: TensorRT, since a GPU, its driver and its libraries are here"


def open_engine(
    bundle: Bundle,
    spec: EngineSpec | None = None,
    *,
    hint: Literal["latency", "throughput"] = "latency",
    build_network: Callable[[], Any] | None = None,
) -> Engine:
    """Open the engine that the configuration asks for.

    Args:
        bundle: the model.
        spec: the configuration's wish; None is `auto`.
        hint: latency for live cameras, throughput for files.
        build_network: makes the untrained network; the torch engine needs it.

    Raises:
        EngineError: the engine cannot run here; the message names the cause.
    """
    spec = spec or EngineSpec()
    name, why = _ready(spec)
    sizes = batch_sizes_for(bundle.manifest.tiling.kind)
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
        raise EngineError("the torch engine needs the detector's network", hint="call streamad.inference.open_model")
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
    """Open the engine that the configuration asks for, for the form of a bundle's network that carries state.

    Args:
        bundle: a model that has that form.
        spec: the configuration's wish; None is `auto`.
        hint: latency for live cameras, throughput for files.
        load_network: gives the trained network; the torch engine needs it.
        convert: makes that form of the network; the torch engine needs it.

    Raises:
        EngineError: the bundle has no such form, or the engine cannot run here; the message names the cause.
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
        raise EngineError("the torch engine needs the detector's network", hint="call streamad.inference.open_model")
    from streamad.engines.torch_stateful import TorchStatefulEngine

    device = (spec.device or "cpu").lower()
    return TorchStatefulEngine(
        load_network, convert, context, device=device, run_sizes=lengths, camera_sizes=any_number, why=why
    )


def run_limits(name: str, spec: EngineSpec, hint: str) -> tuple[int, int]:
    """Most frames of a camera, and most cameras, in a run of a network that carries state.

    On a CPU one of each: more are no faster there (docs/results/streaming-network.md). A run of one small frame leaves
    most of a GPU idle: frames of other cameras fill it live, the frames that follow do in a file.
    """
    if name not in GPU_ENGINES:
        frames, cameras = 1, 1
    elif hint == "throughput":
        frames, cameras = GPU_FRAMES_PER_CALL, 1
    else:
        frames, cameras = 1, GPU_STREAMS_PER_CALL
    return spec.frames_per_call or frames, spec.streams_per_call or cameras


def _compiled_sizes(most: int) -> tuple[int, ...]:
    """Powers of two up to a number, and that number: each is compiled, so they are few."""
    powers = {1 << k for k in range(most.bit_length())}
    return tuple(sorted({*powers, most}))


def _gpu_options(name: str, spec: EngineSpec, hint: str) -> tuple[LibraryName, TensorRtOptions]:
    from streamad.engines.tensorrt.engine import TensorRtOptions

    half: Literal["fp32", "fp16"] = "fp16" if spec.precision == "fp16" else "fp32"
    library: LibraryName = "tensorrt" if name == "tensorrt" else "tensorrt-rtx"
    return library, TensorRtOptions(spec.device, half, hint, spec.workspace_mib, spec.plan_cache)


def _ready(spec: EngineSpec) -> tuple[str, str]:
    """The engine's name and why it is taken.

    Raises:
        EngineError: it cannot run here, or not in that precision.
    """
    name, why = chosen_engine(spec)
    missing = available_engines()[name]
    if missing:
        raise EngineError(f"the engine {name} cannot run here: {missing}", hint="`streamad doctor` shows what can")
    if spec.precision not in PRECISIONS[name]:
        able = [engine for engine, precisions in PRECISIONS.items() if spec.precision in precisions]
        raise EngineError(
            f"the engine {name} runs {' or '.join(PRECISIONS[name])}, and {spec.precision} was asked for",
            hint=f"leave `precision` out, or take an engine that has it: {', '.join(able)}",
        )
    return name, why
