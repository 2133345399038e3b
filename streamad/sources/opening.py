"""Opening any kind of source in this process."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from streamad.sources.base import Source
from streamad.sources.spec import FileSpec, ImagesSpec, PluginSource, RtspSpec, SourceSpec

if TYPE_CHECKING:
    from streamad.sources.container import OnPacket


def open_source(
    spec: SourceSpec,
    *,
    camera: str,
    threads: int = 1,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    on_packet: OnPacket | None = None,
    decode: bool = True,
) -> Source:
    """Open a source in this process, for offline work or inside a camera's decoder process.

    Args:
        spec: The source to open.
        camera: The configured camera id, copied into every frame.
        threads: Number of decoder threads: 1 if several cameras share the cores, 0 for FFmpeg's default.
        clock: Monotonic clock, seconds.
        sleep: Function that waits for a number of seconds; paces a `realtime` replay.
        on_packet: Called with every packet of the video stream and its position on the frames' clock, seconds. Image
            folders and plugins have no packets.
        decode: False, for RTSP only: one frame of a single pixel a packet, without decoding it.

    Returns:
        An open source. Close it or use it as a context manager.

    Raises:
        SourceError: If it cannot be opened; see the subclass and `reason`. The exit code is 3.
    """
    # Import only the libraries of the requested kind.
    if isinstance(spec, FileSpec):
        from streamad.sources.file import FileSource

        return FileSource(spec, camera=camera, threads=threads, clock=clock, sleep=sleep, on_packet=on_packet)
    if isinstance(spec, ImagesSpec):
        from streamad.sources.images import ImageFolderSource

        return ImageFolderSource(spec, camera=camera, clock=clock, sleep=sleep)
    if isinstance(spec, RtspSpec):
        from streamad.sources.rtsp import RtspSource

        return RtspSource(spec, camera=camera, threads=threads, clock=clock, on_packet=on_packet, decode=decode)
    if isinstance(spec, PluginSource):
        return spec.open(camera=camera, clock=clock, sleep=sleep)
    from streamad.sources.device import DeviceSource

    return DeviceSource(spec, camera=camera, threads=threads, clock=clock, on_packet=on_packet)
