"""Scores of files: a session fed from a source, ahead of which frames are decoded. Nothing is dropped."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from streamad.detectors import CameraScorer
from streamad.engines import EngineSpec
from streamad.frame import Frame
from streamad.inference.model import Model, open_model
from streamad.inference.session import WINDOW, Session
from streamad.scoring import FrameScore
from streamad.sources import (
    DeviceSpec,
    FileSpec,
    ImagesSpec,
    PluginSource,
    RtspSpec,
    Source,
    SourceError,
    SourceSpec,
    open_source,
    parse_source,
)

PREFETCH = 64
"""Frames decoded ahead of scoring; bounds memory (64 Ped2 frames are 5.5 MB)."""


def score_video(
    source: str | Path | SourceSpec | Source | Iterable[Frame],
    model: str | Path | Model,
    *,
    engine: EngineSpec | None = None,
    camera: str = "video",
    scorer: CameraScorer | None = None,
) -> Iterator[FrameScore]:
    """Score every frame of a source.

    Args:
        source: a path, an address, a specification, an open source, or any frames.
        model: path or name of a bundle, or a loaded model (which is then left open).
        engine: which engine, where the model is to be loaded.
        camera: id that frames and scores carry.
        scorer: the state of a camera to go on with, so that several clips of one camera share their background.

    Yields:
        One `FrameScore` a frame, in order; `score` is NaN where the frame is skipped. Detectors of windows score a
        frame some frames late, and give none for those that end a piece of video (the last seven of 16).

    Raises:
        SourceError: the source cannot be opened or read.
        BundleError: the bundle is missing or damaged.
        EngineError: the engine cannot run here, or failed on a batch.
    """
    owned = not isinstance(model, Model)
    loaded = model if isinstance(model, Model) else open_model(model, engine, hint="throughput")
    try:
        session = Session(loaded, camera=camera, scorer=scorer)
        # Closed in this order wherever it ends: the thread that reads the source first, then the source.
        with closing(open_frames(source, camera)) as frames, closing(prefetched(frames)) as ahead:
            yield from (result.score for result in session.run(ahead) if result.score.skipped_reason != WINDOW)
    finally:
        if owned:
            loaded.close()


def score_clip(
    clip: SourceSpec, model: Model, scorer: CameraScorer, *, camera: str, lost: Callable[[SourceError], None] | None
) -> Iterator[FrameScore]:
    """`score_video` of one clip of several.

    Args:
        clip: the clip.
        model: what scores it.
        scorer: the state of the camera that the clips are of.
        camera: its id.
        lost: called where the clip cannot be read, or not to its end (a recorder deletes the oldest ones); what came
            before stands. None: the error is raised.
    """
    try:
        yield from score_video(clip, model, camera=camera, scorer=scorer)
    except SourceError as error:
        if lost is None:
            raise
        lost(error)


def open_frames(
    source: str | Path | SourceSpec | Source | Iterable[Frame], camera: str
) -> Generator[Frame, None, None]:
    """The frames of a source; what was opened here is closed at the end."""
    if isinstance(source, str | Path):
        source = parse_source(str(source))
    if isinstance(source, FileSpec | ImagesSpec | RtspSpec | DeviceSpec | PluginSource):
        with open_source(source, camera=camera) as opened:
            yield from opened
    else:
        yield from source


def prefetched(frames: Iterator[Frame]) -> Generator[Frame, None, None]:
    """Run the iterator in a thread of its own, a bounded number of frames ahead.

    Close it before what it reads from: a source cannot be closed while that thread is inside it.
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
        except BaseException as error:  # noqa: BLE001 - it is raised again where the frames are read
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
