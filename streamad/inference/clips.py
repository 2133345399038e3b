"""Scores of files: a session fed from a source, ahead of which frames are decoded. Nothing is dropped."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path

from streamad.detectors import CameraScorer
from streamad.engines import EngineSpec
from streamad.frame import Frame
from streamad.inference.model import Model, open_model
from streamad.inference.session import WINDOW, Session
from streamad.scoring import FrameScore
from streamad.sources import Source, SourceError, SourceSpec


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
        results = Session(loaded, camera=camera, scorer=scorer).run_source(source)
        with closing(results):
            yield from (result.score for result in results if result.score.skipped_reason != WINDOW)
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
