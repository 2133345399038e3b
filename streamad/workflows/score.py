"""Score a file: its scores and alerts, and the output files that show them."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.alerts.event import Event
from streamad.calibration import AlertPolicy
from streamad.inference.gated_scorer import why_skipped
from streamad.inference.model import Model
from streamad.inference.reading import prefetched
from streamad.inference.session import Session
from streamad.protocols import Progress, no_progress
from streamad.scoring import Normalization, RunningNormalizer, per_video
from streamad.sources import SourceInfo, SourceSpec, open_source
from streamad.workflows.score_writer import Recording, ScoreWriter
from streamad.zones import ZoneSpec


@dataclass(frozen=True)
class FileResult:
    """Scores and alerts of one file.

    Attributes:
        frames: Number of frames.
        scored: Number of frames with a score.
        skipped: Number of frames without one, by cause ("warming_up", "quality:dark").
        seconds: Wall time.
        highest: Highest raw score; None if no frame has one.
        scores: (frames,) scores by the chosen normalization, NaN where skipped.
        events: The alerts, in order.
        info: Properties of the source.
        problems: Damage that did not end the file, and why frames got no score.
        files: The files that were written.
    """

    frames: int
    scored: int
    skipped: Mapping[str, int]
    seconds: float
    highest: float | None
    scores: npt.NDArray[np.float64]
    events: tuple[Event, ...]
    info: SourceInfo
    problems: tuple[str, ...]
    files: Recording


def score_file(
    spec: SourceSpec,
    model: Model,
    *,
    name: str,
    folder: Path,
    policy: AlertPolicy | None,
    normalization: Normalization,
    zones: Sequence[ZoneSpec] = (),
    write_csv: bool = True,
    write_plot: bool = True,
    write_video: bool = True,
    progress: Progress = no_progress,
) -> FileResult:
    """Score a file or folder of images and write the requested outputs.

    Args:
        spec: The source.
        model: The model.
        name: Name of the outputs, and the camera's id in them.
        folder: Folder of the outputs.
        policy: When a score becomes an alert; None: no alerts.
        normalization: Scale of the scores in table and plot.
        zones: The parts of the picture that count. Default: all of it.
        write_csv: Write the score table.
        write_plot: Write the plot.
        write_video: Write the annotated video.
        progress: Called with the name, the frames scored, and their total.

    Raises:
        SourceError: The source cannot be opened or read.
        OutputError: An output cannot be written.
    """
    started = time.monotonic()
    session = Session(model, policy, camera=name, zones=zones)
    with open_source(spec, camera=name) as source:
        fps = source.info.fps or model.bundle.manifest.training.fps
        with (
            ScoreWriter(folder, name, model, policy, fps=fps if write_video else None) as recorder,
            closing(prefetched(iter(source))) as frames,
        ):
            for result in session.run(frames):
                recorder.add(result)
                progress(name, len(recorder.scores), source.info.frames)
            for change in session.close():
                recorder.note(change)
            raw = np.array([s.score for s in recorder.scores], dtype=np.float64)
            shown = _normalized(raw, normalization, policy)
            files = recorder.finish(
                normalized=None if normalization == "calibrated" else shown,
                label=None if normalization == "calibrated" else f"anomaly score, {normalization}",
                csv_file=write_csv,
                plot=write_plot,
            )
        skipped = Counter(score.cause for score in recorder.scores if score.cause is not None)
        return FileResult(
            frames=len(raw),
            scored=int(np.isfinite(raw).sum()),
            skipped=skipped,
            seconds=time.monotonic() - started,
            highest=float(np.nanmax(raw)) if np.isfinite(raw).any() else None,
            scores=shown,
            events=tuple(recorder.events.values()),
            info=source.info,
            problems=(*source.problems, *why_skipped(spec, skipped, len(raw))),
            files=files,
        )


def _normalized(
    raw: npt.NDArray[np.float64], normalization: Normalization, policy: AlertPolicy | None
) -> npt.NDArray[np.float64]:
    if normalization == "per_video":
        return per_video(raw)
    if normalization == "running":
        running = RunningNormalizer()
        return np.array([running.update(float(value)) for value in raw], dtype=np.float64)
    if normalization == "calibrated" and policy is not None and policy.calibration is not None:
        return policy.calibration.calibrated_array(raw)
    return raw
