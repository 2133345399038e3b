"""The files of an evaluation: scores, figures, report with its thumbnails."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.calibration import Calibration
from streamad.evaluation.datasets import Clip, image_files
from streamad.evaluation.report import ReportContent, Thumbnail, figures_of, html_report, markdown_report
from streamad.evaluation.scored_clips import FPS, FrameRef, ScoredClip
from streamad.files import write_atomic
from streamad.formatting import readable
from streamad.scoring.score_table import ScoreRow, score_table
from streamad.sources import SourceError, open_source
from streamad.sources.images import read_gray
from streamad.visual.thumbnail import heat_thumbnail
from streamad.workflows.evaluate import EvaluationResult
from streamad.workflows.evaluate_scoring import clip_source


def write_scores(folder: Path, evaluated: EvaluationResult) -> list[Path]:
    """Write `scores.csv` (the score table) and `scores.npz` (the raw scores, an array a clip).

    Raises:
        OutputError: a file cannot be written.
    """
    write_atomic(folder / "scores.csv", score_table(score_rows(evaluated.traces, evaluated.calibration)))
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **{readable(clip.name): clip.scores for clip in evaluated.clips})  # type: ignore[arg-type]
    write_atomic(folder / "scores.npz", arrays.getvalue())
    return [folder / "scores.csv", folder / "scores.npz"]


def score_rows(traces: Sequence[ScoredClip], calibration: Calibration | None = None) -> Iterator[ScoreRow]:
    """Every frame of evaluated clips as a row of the score table."""
    is_local = calibration is not None and calibration.local is not None
    for trace in traces:
        raw = trace.scores if trace.own is None else trace.own
        shown = trace.scores if calibration is None else calibration.calibrated_array(trace.scores)
        for index, label in enumerate(trace.labels):
            seconds = None if trace.fps is None else index / trace.fps
            yield ScoreRow(
                trace.name,
                index,
                raw[index],
                shown[index],
                seconds,
                alert=seconds is not None and any(start <= seconds < end for start, end in trace.alerts),
                label=int(label),
                local_score=trace.scores[index] if is_local else None,
            )


def write_report(folder: Path, evaluated: EvaluationResult) -> list[Path]:
    """`result.json`, `report.html`, and `report.md` with its pictures in `figures/`; only the HTML shows frames.

    Raises:
        OutputError: a file cannot be written.
    """
    evaluated.record.save(folder / "result.json")
    alerts = evaluated.record.alerts
    figures = figures_of(evaluated.traces, evaluated.calibration, alerts.threshold if alerts else None)
    write_figures(folder, figures)
    write_atomic(folder / "report.md", markdown_report(evaluated.record, list(figures)))
    content = ReportContent(
        result=evaluated.record,
        false_alarms=_thumbnails(evaluated.false_alarms, evaluated),
        misses=_thumbnails(evaluated.misses, evaluated),
    )
    write_atomic(folder / "report.html", html_report(content, figures))
    return [folder / name for name in ("result.json", "report.md", "report.html")]


def write_figures(folder: Path, figures: Mapping[str, str]) -> None:
    """The pictures of `report.md`, as figures/NAME.svg.

    Raises:
        OutputError: a file cannot be written.
    """
    for name, picture in figures.items():
        write_atomic(folder / "figures" / f"{name}.svg", picture)


def _thumbnails(places: Sequence[FrameRef], evaluated: EvaluationResult) -> list[Thumbnail]:
    low, high = _scale(evaluated)
    shots = []
    for place in places:
        clip, scored = evaluated.dataset.testing[place.clip], evaluated.clips[place.clip]
        pixels = _frame(clip, place.frame, evaluated.traces[place.clip].fps)
        if pixels is None:
            continue
        maps = scored.anomaly_maps()
        jpeg = heat_thumbnail(
            pixels,
            None if maps is None else maps[place.frame : place.frame + 1][0],
            [] if maps is None else scored.boxes(),
            low=low,
            high=high,
            truth=evaluated.masks.get((place.clip, place.frame)),
        )
        shots.append(Thumbnail(f"{clip.name}, frame {place.frame}, score {place.score:.4g}: {place.why}", jpeg))
    return shots


def _scale(evaluated: EvaluationResult) -> tuple[float, float]:
    """Scores between which cells are tinted: the median cell of all clips, and their highest thousandth."""
    cells = []
    for clip in evaluated.clips:
        maps = clip.anomaly_maps()
        if maps is not None:
            values = np.concatenate([maps[t : t + 1].ravel() for t in range(0, len(maps), max(1, len(maps) // 50))])
            cells.append(values[np.isfinite(values)])
    joined = np.concatenate(cells) if cells else np.empty(0, np.float32)
    if not len(joined):
        return 0.0, 1.0
    low, high = np.quantile(joined, [0.5, 0.999])
    return float(low), float(high)


def _frame(clip: Clip, index: int, fps: float | None) -> npt.NDArray[np.uint8] | None:
    """The pixels of one frame; None where it cannot be read."""
    if clip.kind == "images":
        files = image_files(clip.path)
        return read_gray(files[index]) if index < len(files) else None
    try:
        with open_source(clip_source(clip, fps or FPS), camera=clip.name) as source:
            return next((frame.pixels for frame in source if frame.index == index), None)
    except SourceError:
        return None
