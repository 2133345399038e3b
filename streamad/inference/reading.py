"""Frames of a source, decoded ahead of what scores them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path

from streamad.frame import Frame
from streamad.sources import (
    DeviceSpec,
    FileSpec,
    ImagesSpec,
    PluginSource,
    RtspSpec,
    Source,
    SourceSpec,
    open_source,
    parse_source,
)

PREFETCH = 64
"""Frames decoded ahead of scoring; bounds memory (64 Ped2 frames are 5.5 MB)."""


def open_frames(
    source: str | Path | SourceSpec | Source | Iterable[Frame], camera: str
) -> Generator[Frame, None, None]:
    """Yield the frames of a source; a source that is opened here is closed at the end."""
    if isinstance(source, str | Path):
        source = parse_source(str(source))
    if isinstance(source, FileSpec | ImagesSpec | RtspSpec | DeviceSpec | PluginSource):
        with open_source(source, camera=camera) as opened:
            yield from opened
    else:
        yield from source


def prefetched(frames: Iterator[Frame]) -> Generator[Frame, None, None]:
    """Run an iterator in a thread, a bounded number of frames ahead.

    Close the generator before the source: a source cannot be closed while the thread reads it.
    """
    waiting: queue.Queue[Frame | BaseException | None] = queue.Queue(PREFETCH)
    stop = threading.Event()

    def offer(item: Frame | BaseException | None) -> bool:
        while not stop.is_set():
            try:
                waiting.put(item, timeout=0.1)
            except queue.Full:
                continue
            return True
        return False

    def read() -> None:
        try:
            for frame in frames:
                if not offer(frame):
                    return
            offer(None)
        except BaseException as error:  # noqa: BLE001 - raised again where the frames are read
            offer(error)

    thread = threading.Thread(target=read, name="decode", daemon=True)
    thread.start()
    try:
        while (item := waiting.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            yield item
    finally:
        stop.set()
        thread.join()
