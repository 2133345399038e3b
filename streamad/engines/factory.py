"""Which engine runs a bundle, and why. An engine asked for by name never falls back to another."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from streamad.bundle import Bundle
from streamad.engines.base import Engine, batch_sizes_for
from streamad.engines.carrying import CarryingEngine
from streamad.errors import EngineError

EngineName = Literal["auto", "openvino", "onnx", "torch"]


class EngineSpec(BaseModel):
    """The `engine` part of a configuration."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: EngineName = Field("auto", description="engine that runs the network; auto takes OpenVINO on the CPU")
    device: str = Field("CPU", description="device in the engine's own words (OpenVINO: CPU, GPU; torch: cpu, cuda)")
    precision: Literal["fp32", "bf16"] = Field(
        "fp32", description="of the arithmetic; bf16 (OpenVINO, where the processor has it) is faster and less exact"
    )
    threads: int | None = Field(None, ge=1, le=256, description="CPU threads for inference; empty: the engine chooses")

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
        how = f"pip install 'streamad[{extra}]'" if extra else "reinstall streamad"
        answer[name] = f"the module {module} is not installed ({how})" if missing else ""
    return answer


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
    name, why = _choice(spec)
    sizes = batch_sizes_for(bundle.manifest.tiling.kind)
    if name == "openvino":
        from streamad.engines.openvino_engine import OpenVinoEngine

        return OpenVinoEngine(
            bundle.onnx_path,
            device=spec.device,
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
        raise EngineError("the torch engine needs the detector's network", hint="call it through streamad.pipeline")
    from streamad.engines.torch_engine import TorchEngine

    return TorchEngine(build_network, bundle.weights_path, device=spec.device.lower(), why=why, batch_sizes=sizes)


def open_carrying_engine(
    bundle: Bundle,
    spec: EngineSpec | None = None,
    *,
    load_network: Callable[[], Any] | None = None,
    convert: Callable[[Any], Any] | None = None,
) -> CarryingEngine:
    """Open the engine that the configuration asks for, for the form of a bundle's network that carries state.

    Args:
        bundle: a model that has that form.
        spec: the configuration's wish; None is `auto`.
        load_network: gives the trained network; the torch engine needs it.
        convert: makes that form of the network; the torch engine needs it.

    Raises:
        EngineError: the bundle has no such form, or the engine cannot run here; the message names the cause.
    """
    spec = spec or EngineSpec()
    name, why = _choice(spec)
    path, context = bundle.streaming_path, (bundle.manifest.tiling.window or 1) - 1
    if path is None:
        raise EngineError(
            f"the bundle {bundle.name} has no streaming form of its network",
            hint="run it on windows, or export the bundle again with this version",
        )
    if name == "openvino":
        from streamad.engines.openvino_carrying import OpenVinoCarryingEngine

        return OpenVinoCarryingEngine(
            path, context, device=spec.device, precision=spec.precision, threads=spec.threads, why=why
        )
    if name == "onnx":
        from streamad.engines.onnx_carrying import OnnxCarryingEngine

        return OnnxCarryingEngine(path, context, threads=spec.threads, why=why)
    if load_network is None or convert is None:
        raise EngineError("the torch engine needs the detector's network", hint="call it through streamad.pipeline")
    from streamad.engines.torch_carrying import TorchCarryingEngine

    return TorchCarryingEngine(load_network, convert, context, device=spec.device.lower(), why=why)


def _choice(spec: EngineSpec) -> tuple[str, str]:
    """The engine's name and why it is taken.

    Raises:
        EngineError: it cannot run here.
    """
    name = "openvino" if spec.name == "auto" else spec.name
    missing = available_engines()[name]
    if missing:
        raise EngineError(f"the engine {name} cannot run here: {missing}")
    if spec.precision != "fp32" and name != "openvino":
        raise EngineError(
            f"the engine {name} computes in fp32, and {spec.precision} was asked for",
            hint="take OpenVINO, or leave out the precision",
        )
    return name, "auto: OpenVINO, the engine for CPUs" if spec.name == "auto" else "asked for by name"
