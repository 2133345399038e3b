"""`streamad doctor`: what runs on this machine, and why the rest does not."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

from streamad import __version__
from streamad.bundle import list_bundles
from streamad.cli.common import JsonOption, emit, table
from streamad.engines import available_engines

_LIBRARIES = ("numpy", "opencv-python-headless", "av", "openvino", "torch", "onnxruntime", "prometheus-client")


def doctor(as_json: JsonOption = False) -> None:
    """Say which engines, decoders and models can be used here, and why the others cannot."""
    rows: list[dict[str, Any]] = [
        {"part": "streamad", "state": "ok", "detail": __version__},
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
