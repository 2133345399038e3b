"""Open any source in this process."""

from __future__ import annotations

import time
from collections.abc import Callable

from streamad.sources.base import Source
from streamad.sources.spec import DeviceSpec, FileSpec, ImagesSpec, RtspSpec


def open_source(
    spec: FileSpec | ImagesSpec | RtspSpec | DeviceSpec,
    *,
    camera: str,
    threads: int = 1,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
) -> Source:
    """Open the source in this process: for offline work, and inside a camera's decoder process.

    Args:
        spec: which source.
        camera: the configured id, copied into every frame.
        threads: decoder threads: 1 where several cameras share the cores, 0 for FFmpeg's choice.
        clock: seconds, monotonic.
        sleep: waits for so many seconds; paces a `realtime` replay.

    Returns:
        An open source; close it, or use it as a context manager.

    Raises:
        SourceError: the subclass and `reason` of what failed; exit code 3.
    """
    # Each kind brings its libraries with it; a process loads those of its own kind alone.
    if isinstance(spec, FileSpec):
        from streamad.sources.file import FileSource

        return FileSource(spec, camera=camera, threads=threads, clock=clock, sleep=sleep)
    if isinstance(spec, ImagesSpec):
        from streamad.sources.images import ImageFolderSource

        return ImageFolderSource(spec, camera=camera, clock=clock, sleep=sleep)
    if isinstance(spec, RtspSpec):
        from streamad.sources.rtsp import RtspSource

        return RtspSource(spec, camera=camera, threads=threads, clock=clock)
    from streamad.sources.device import DeviceSource

    return DeviceSource(spec, camera=camera, threads=threads, clock=clock)
