"""DeviceSource: a USB camera or other Video4Linux device."""

from __future__ import annotations

import stat
import time
from collections.abc import Callable
from dataclasses import replace

from av.container import InputContainer

from streamad.sources.container import ContainerSource, OnPacket
from streamad.sources.failures import SourceCodecError, SourceNotFoundError
from streamad.sources.spec import DeviceSpec


class DeviceSource(ContainerSource):
    """A Video4Linux device, decoded in this process.

    Args:
        spec: The device, and the requested size and rate. The driver picks the nearest that it supports.
        camera: The configured camera id.
        threads: Number of decoder threads; 1 for cameras.
        clock: Monotonic clock, seconds.
        on_packet: See `ContainerSource`.

    Raises:
        SourceNotFoundError: If the device does not exist.
        SourceAuthError: If permission to read it is missing.
        SourceRefusedError: If another program is using it.
        SourceCodecError: If it is not a camera.
    """

    def __init__(
        self,
        spec: DeviceSpec,
        *,
        camera: str,
        threads: int = 1,
        clock: Callable[[], float] = time.monotonic,
        on_packet: OnPacket | None = None,
    ) -> None:
        self._spec = spec
        super().__init__(camera, spec.device, hwaccel=spec.hwaccel, threads=threads, clock=clock, on_packet=on_packet)
        self._read_timeout = spec.read_timeout_seconds
        self._stall_timeout = spec.stall_timeout_seconds
        self._info = replace(self._info, live=True, frames=None)

    def _opened(self) -> InputContainer:
        spec = self._spec
        if not spec.device.exists():
            raise SourceNotFoundError(
                f"{spec.device}: no such device",
                hint="connect the camera; `ls /dev/video*` lists the devices",
            )
        if not stat.S_ISCHR(spec.device.stat().st_mode):
            raise SourceCodecError(f"{spec.device} is not a video device", hint="for a file use type: file")
        options: dict[str, str] = {}
        if spec.width is not None and spec.height is not None:
            options["video_size"] = f"{spec.width}x{spec.height}"
        if spec.fps is not None:
            options["framerate"] = f"{spec.fps:g}"
        return self._open(
            str(spec.device),
            options=options,
            container_format="v4l2",
            timeouts=(spec.open_timeout_seconds, spec.read_timeout_seconds),
        )
