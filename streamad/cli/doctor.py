"""`streamad doctor`: what runs on this machine, and why the rest does not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from dataclasses import asdict
from typing import Annotated, Any

import typer

from streamad import __version__
from streamad.bundle import STREAMING_VARIANTS, VARIANTS, list_bundles, load_bundle
from streamad.cli.common import JsonOption, emit, say, table
from streamad.engines import available_engines
from streamad.errors import DISTRIBUTION, EngineError, UsageError

_LIBRARIES = ("numpy", "opencv-python-headless", "av", "openvino", "torch", "onnxruntime", "prometheus-client")


def doctor(
    selftest: Annotated[
        str | None,
        typer.Option("--selftest", help="Run tensorrt or tensorrt-rtx on this GPU and compare it with ONNX Runtime."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option("--model", "-m", help="Bundle for the self-test; repeatable. All that are found."),
    ] = None,
    device: Annotated[str | None, typer.Option("--device", help="GPU for the self-test, cuda:N.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Say which engines, decoders and models can be used here, and why the others cannot."""
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
    rows.append({"part": "decoding in hardware", **_hardware()})
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
    """Parity, latency and memory of a GPU engine for each model; ends with 4 where one is wrong.

    Raises:
        UsageError: no GPU engine has that name.
        EngineError: it cannot run here, or its answers are wrong.
    """
    if name not in ("tensorrt", "tensorrt-rtx"):
        raise UsageError(f"--selftest {name!r}: expected tensorrt or tensorrt-rtx")
    problem = available_engines()[name]
    if problem:
        raise EngineError(
            f"the engine {name} cannot run here: {problem}", hint="requirements: docs/reference/engines.md"
        )
    from streamad.engines.tensorrt.selftest import run_selftest
    from streamad.engines.tensorrt.selftest_stateful import run_stateful_selftest

    bundles = [load_bundle(given) for given in (models or [str(path) for path in list_bundles()])]
    if not bundles:
        raise EngineError("there is no model to test with", hint="give one with --model")
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
            f"{name} answers otherwise than ONNX Runtime: {', '.join(wrong)}",
            hint="do not use it here; report the table, the GPU, its driver and the versions of `streamad doctor`",
        )


def _namesake() -> list[dict[str, str]]:
    """A row where a distribution named `streamad` is installed: its files lie in this package's folder."""
    try:
        other = importlib.metadata.distribution("streamad")
    except importlib.metadata.PackageNotFoundError:
        return []
    return [
        {
            "part": "distribution streamad",
            "state": "warning",
            "detail": f"version {other.version} ({other.metadata['Summary']}) lies in the folder of {DISTRIBUTION}: "
            f"pip uninstall streamad, and install {DISTRIBUTION} again",
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
        from streamad.engines.tensorrt.availability import gpu_names

        return "; ".join(f"cuda:{index} ({gpu})" for index, gpu in enumerate(gpu_names()))
    return "CPU"


def _hardware() -> dict[str, str]:
    from av.codec.hwaccel import hwdevices_available

    devices = hwdevices_available()
    if not devices:
        return {"state": "no", "detail": "PyAV's FFmpeg was built without any"}
    present = [d for d in devices if (d != "cuda" or os.path.exists("/dev/nvidia0"))]
    detail = f"built for {', '.join(devices)}"
    if "cuda" in devices and "cuda" not in present:
        detail += "; cuda: no NVIDIA device here"
    return {"state": "ok" if present else "no", "detail": detail}


def _codec(name: str, mode: str) -> dict[str, str]:
    import av

    try:
        codec = av.Codec(name, mode)  # type: ignore[arg-type]
    except av.codec.codec.UnknownCodecError:
        return {"state": "no", "detail": f"FFmpeg here has no {name}"}
    return {"state": "ok", "detail": codec.long_name}
