"""`streamad doctor`: what is available on this machine, and why the rest is not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict
from typing import Annotated, Any

from streamad import __version__
from streamad.cli.common import JsonOption, emit, one_of, say, table
from streamad.cli.completion import complete_from, complete_model
from streamad.cli.help import opt
from streamad.errors import DISTRIBUTION, EngineError
from streamad.model_folders import list_bundles

GPU_ENGINES = ("tensorrt", "tensorrt-rtx")
_LIBRARIES = ("numpy", "opencv-python-headless", "av", "openvino", "torch", "onnxruntime", "prometheus-client")


def doctor(
    selftest: Annotated[
        str | None,
        opt(
            "--selftest",
            unit="ENGINE",
            help="Compare tensorrt or tensorrt-rtx on this GPU with ONNX Runtime.",
            complete=complete_from(GPU_ENGINES),
            panel="Self-test",
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        opt(
            "--model",
            "-m",
            unit="MODEL",
            help="Model to test; repeatable. Default: all.",
            complete=complete_model,
            panel="Self-test",
        ),
    ] = None,
    device: Annotated[
        str | None, opt("--device", unit="DEVICE", help="GPU to test, cuda:N. Default: the first.", panel="Self-test")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Report what is available on this machine.

    Lists engines, decoders, libraries and models, with the reason for each that cannot be used.

    Examples:
        streamad doctor
        streamad doctor --selftest tensorrt --model motion-ped2
    """
    from streamad.engines import available_engines

    if selftest is not None:
        _selftest(selftest, model, device, as_json)
        return
    rows: list[dict[str, Any]] = [
        {"part": "streamad", "state": "ok", "detail": __version__},
        *_namesake(),
        {"part": "python", "state": "ok", "detail": f"{platform.python_version()}, {os.cpu_count()} CPUs"},
    ]
    for name in _LIBRARIES:
        rows.append({"part": name, **_version(name)})
    for name, problem in available_engines().items():
        rows.append({"part": f"engine {name}", "state": "no" if problem else "ok", "detail": problem or _device(name)})
    rows.append({"part": "hardware decoding", **_hardware()})
    for name, extension in (("H.264 decoder", "h264"), ("H.265 decoder", "hevc"), ("H.264 encoder", "libx264")):
        rows.append({"part": name, **_codec(extension, "w" if "encoder" in name else "r")})
    bundles = list_bundles()
    rows.append(
        {"part": "models", "state": "ok" if bundles else "none", "detail": ", ".join(b.name for b in bundles) or "–"}
    )
    if as_json:
        emit({"checks": rows})
    else:
        table(rows)


def _selftest(name: str, models: list[str] | None, device: str | None, as_json: bool) -> None:
    """Measure parity, latency and memory of a GPU engine for each model.

    Raises:
        UsageError: Unknown GPU engine.
        EngineError: The engine is not available, or its outputs are wrong.
    """
    from streamad.bundle import STREAMING_VARIANTS, VARIANTS, load_bundle
    from streamad.engines import available_engines

    one_of("--selftest", name, GPU_ENGINES)
    problem = available_engines()[name]
    if problem:
        raise EngineError(
            f"the engine {name} is not available: {problem}", hint="requirements: docs/reference/engines.md"
        )
    from streamad.engines.tensorrt.selftest import run_selftest
    from streamad.engines.tensorrt.selftest_stateful import run_stateful_selftest

    bundles = [load_bundle(given) for given in (models or [str(path) for path in list_bundles()])]
    if not bundles:
        raise EngineError("no models to test", hint="give one with --model")
    results = []
    for bundle in bundles:
        for precision in (p for p in ("fp32", "fp16") if VARIANTS[p] in bundle.manifest.files):
            say(f"{bundle.name}, {precision}: building or loading the plan")
            results.append(run_selftest(bundle, name, precision, device))
            if STREAMING_VARIANTS[precision] in bundle.manifest.files:
                say(f"{bundle.name}, streaming, {precision}: building or loading the plans")
                results.append(run_stateful_selftest(bundle, name, precision, device))
    wrong = [f"{r.model} ({r.form}) in {r.precision}" for r in results if not r.passed]
    if as_json:
        emit({"selftest": name, "passed": not wrong, "results": [asdict(r) for r in results]})
    else:
        table([row for result in results for row in result.rows()])
    if wrong:
        raise EngineError(
            f"the outputs of {name} differ from ONNX Runtime's: {', '.join(wrong)}",
            hint="do not use it on this machine; report the table, the GPU, its driver and `streamad doctor`",
        )


def _namesake() -> list[dict[str, str]]:
    """A warning if PyPI's `streamad` is installed, which writes its files into this package's folder."""
    try:
        other = importlib.metadata.distribution("streamad")
    except importlib.metadata.PackageNotFoundError:
        return []
    return [
        {
            "part": "distribution streamad",
            "state": "warning",
            "detail": f"version {other.version} ({other.metadata['Summary']}) is in the folder of {DISTRIBUTION}: "
            f"pip uninstall streamad, then install {DISTRIBUTION} again",
        }
    ]


def _version(name: str) -> dict[str, str]:
    try:
        return {"state": "ok", "detail": importlib.metadata.version(name)}
    except importlib.metadata.PackageNotFoundError:
        return {"state": "no", "detail": "not installed"}


def _device(engine: str) -> str:
    if engine == "openvino":
        import openvino as ov

        core = ov.Core()
        return "; ".join(
            f"{d} ({str(core.get_property(d, 'FULL_DEVICE_NAME')).strip()})" for d in core.available_devices
        )
    if engine.startswith("tensorrt"):
        from streamad.engines.tensorrt import gpu_names

        return "; ".join(f"cuda:{index} ({gpu})" for index, gpu in enumerate(gpu_names()))
    return "CPU"


def _hardware() -> dict[str, str]:
    from av.codec.hwaccel import hwdevices_available

    devices = hwdevices_available()
    if not devices:
        return {"state": "no", "detail": "PyAV's FFmpeg was built without hardware decoding"}
    present = [d for d in devices if (d != "cuda" or os.path.exists("/dev/nvidia0"))]
    detail = f"built for {', '.join(devices)}"
    if "cuda" in devices and "cuda" not in present:
        detail += "; cuda: no NVIDIA device"
    return {"state": "ok" if present else "no", "detail": detail}


def _codec(name: str, mode: str) -> dict[str, str]:
    import av

    try:
        codec = av.Codec(name, mode)  # type: ignore[arg-type]
    except av.codec.codec.UnknownCodecError:
        return {"state": "no", "detail": f"FFmpeg was built without {name}"}
    return {"state": "ok", "detail": codec.long_name}
