"""The scores of a source that a model covers, as tests want them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

from streamad.detectors import CameraScorer
from streamad.engines import EngineSpec
from streamad.frame import Frame
from streamad.inference import Model, Session, open_model
from streamad.inference.session import WINDOW
from streamad.scoring import FrameScore
from streamad.sources import Source, SourceSpec


def score_video(
    source: str | Path | SourceSpec | Source | Iterable[Frame],
    model: str | Path | Model,
    *,
    engine: EngineSpec | None = None,
    camera: str = "video",
    scorer: CameraScorer | None = None,
) -> Iterator[FrameScore]:
    """A session's scores, but for frames that no window covers; a model that is given by name is opened and closed."""
    with ExitStack() as stack:
        if not isinstance(model, Model):
            model = stack.enter_context(open_model(model, engine, hint="throughput"))
        results = stack.enter_context(closing(Session(model, camera=camera, scorer=scorer).run_source(source)))
        yield from (result.score for result in results if result.score.skipped_reason != WINDOW)
