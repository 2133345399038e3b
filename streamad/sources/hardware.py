"""Selection of the hardware decoder."""

from __future__ import annotations

import errno
import logging

import av
from av.codec.hwaccel import HWAccel, hwdevices_available

from streamad.sources.failures import SourceCodecError
from streamad.sources.spec import HardwareDecoding

_log = logging.getLogger(__name__)

_CANDIDATES = ("cuda", "vaapi")


def choose_hardware(mode: HardwareDecoding, *, camera: str) -> tuple[HWAccel | None, str]:
    """Select the decoder for `mode`.

    `auto` uses the first device that opens, or software with a logged warning. A device requested by name never
    falls back. If it is missing, the exit code is that of a source error (3), because models do not depend on it.

    Returns:
        The accelerator for `av.open` (None for software) and its name ("software", "cuda", "vaapi").

    Raises:
        SourceCodecError: If the requested device is not available; the message gives the reason.
    """
    if mode == "none":
        return None, "software"
    if mode == "auto":
        problems = []
        for name in _CANDIDATES:
            problem = _problem_with(name)
            if problem is None:
                return HWAccel(name, allow_software_fallback=True), name
            problems.append(problem)
        _log.warning("%s: decoding in software: %s", camera, "; ".join(problems))
        return None, "software"
    problem = _problem_with(mode)
    if problem is not None:
        raise SourceCodecError(
            f"hwaccel: {mode} was requested, but {problem}",
            hint="set hwaccel: auto (hardware if available) or none (software)",
        )
    return HWAccel(mode, allow_software_fallback=False), mode


def _problem_with(name: str) -> str | None:
    built_in = hwdevices_available()
    if name not in built_in:
        return f"this PyAV was built without {name} (it has {', '.join(built_in) or 'none'})"
    try:
        # Opens the device with H.264, which all of them decode.
        HWAccel(name, allow_software_fallback=False).create(av.Codec("h264", "r"))
    except (av.FFmpegError, OSError, RuntimeError, ValueError) as error:
        number = getattr(error, "errno", None)
        code = errno.errorcode.get(number, str(number)) if isinstance(number, int) else type(error).__name__
        return f"no {name} device can be opened ({code}: no such device, or its driver is missing)"
    return None
