"""Scores of whole clips, read by a session from sources without dropping frames."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from streamad.inference.gated_scorer import SkippedFrames
from streamad.inference.model import Model
from streamad.inference.session import WINDOW, Session
from streamad.protocols import Progress, no_progress
from streamad.scoring import FrameScore
from streamad.sources import Source, SourceError, SourceSpec
from streamad.zones import ZoneSpec


@dataclass(frozen=True)
class ClipScores:
    """The scores of one clip.

    Attributes:
        scores: (n,) raw scores of the frames that left the model, NaN where one has none.
        indices: (n,) numbers of these frames in the clip; windowed detectors leave out the ends.
        has_map: (n,) whether a frame has a score and an anomaly map.
        error: Why the clip could not be read to its end; earlier scores remain valid. None: it was read to its end.
    """

    scores: npt.NDArray[np.float64]
    indices: npt.NDArray[np.int_]
    has_map: npt.NDArray[np.bool_]
    error: SourceError | None = None


def score_clip(
    clip: SourceSpec | Source, session: Session, *, on_score: Callable[[FrameScore], None] | None = None
) -> ClipScores:
    """Score one clip of a camera.

    Args:
        clip: The clip.
        session: The camera's session, which keeps its background from clip to clip.
        on_score: Called with every score, anomaly map included.

    Raises:
        EngineError: The engine failed.
    """
    scores: list[float] = []
    indices: list[int] = []
    has_map: list[bool] = []
    error: SourceError | None = None
    try:
        with closing(session.run_source(clip)) as results:
            for score in (result.score for result in results):
                if score.skipped_reason == WINDOW:
                    continue
                scores.append(score.score)
                indices.append(score.index)
                has_map.append(score.anomaly_map is not None and score.skipped_reason is None)
                if on_score is not None:
                    on_score(score)
    except SourceError as caught:
        error = caught
    return ClipScores(
        np.array(scores, dtype=np.float64), np.array(indices, dtype=int), np.array(has_map, dtype=bool), error
    )


def score_clips(
    clips: Sequence[SourceSpec],
    model: Model,
    *,
    zones: Sequence[ZoneSpec] = (),
    on_score: Callable[[FrameScore], None] | None = None,
    progress: Progress = no_progress,
    lost: Callable[[int, SourceError], None] | None = None,
) -> list[ClipScores]:
    """Score clips of one camera, in order, its background carried from clip to clip.

    Logs a warning if frames were rejected as faulty.

    Args:
        clips: The clips.
        model: The model.
        zones: The parts of the picture that count. Default: all of it.
        on_score: Called with every score, anomaly map included.
        progress: Called with the clips done, and their total, after every frame.
        lost: Called with a clip's number and error if it cannot be read to its end (a recorder deletes its oldest
            files); earlier scores are kept. Default: the error is raised.

    Returns:
        The scores of every clip; with `lost`, without clips of which nothing could be read.

    Raises:
        SourceError: A clip cannot be read, and `lost` is not given.
        EngineError: The engine failed.
    """
    session, skipped = Session(model, zones=zones), SkippedFrames()
    found = []
    for number, clip in enumerate(clips):

        def take(score: FrameScore, number: int = number, clip: SourceSpec = clip) -> None:
            skipped.add(clip, score)
            if on_score is not None:
                on_score(score)
            progress("scoring normal video", number, len(clips))

        scored = score_clip(clip, session, on_score=take)
        if scored.error is not None:
            if lost is None:
                raise scored.error
            lost(number, scored.error)
            if not len(scored.scores):
                continue
        found.append(scored)
    progress("scoring normal video", len(clips), len(clips))
    skipped.warn()
    return found
