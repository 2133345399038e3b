"""The files of an evaluation: scores, metrics, and a report with thumbnails."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
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


def write_evaluation(folder: Path, evaluated: EvaluationResult) -> list[Path]:
    """Write the report with thumbnails (see `write_report`) and `scores.npz`, the detector's raw scores by clip.

    Raises:
        OutputError: A file cannot be written.
    """
    arrays = io.BytesIO()
    np.savez_compressed(arrays, **{readable(clip.name): clip.scores for clip in evaluated.clips})  # type: ignore[arg-type]
    write_atomic(folder / "scores.npz", arrays.getvalue())
    low, high = _scale(evaluated.clips)
    shots = [_thumbnails(places, evaluated, low, high) for places in (evaluated.false_alarms, evaluated.misses)]
    content = ReportContent(evaluated.record, *shots)
    return [folder / "scores.npz", *write_report(folder, content, evaluated.clips, evaluated.calibration)]


def write_report(
    folder: Path, content: ReportContent, clips: Sequence[ScoredClip], calibration: Calibration | None = None
) -> list[Path]:
    """Write `scores.csv`, `result.json`, `report.html`, and `report.md` with its pictures in `figures/`.

    Only the HTML shows frames.

    Raises:
        OutputError: A file cannot be written.
    """
    result = content.result
    write_atomic(folder / "scores.csv", score_table(_score_rows(clips, calibration)))
    result.save(folder / "result.json")
    figures = figures_of(clips, calibration, result.alerts.threshold if result.alerts else None)
    for name, picture in figures.items():
        write_atomic(folder / "figures" / f"{name}.svg", picture)
    write_atomic(folder / "report.md", markdown_report(result, list(figures)))
    write_atomic(folder / "report.html", html_report(content, figures))
    return [folder / name for name in ("scores.csv", "result.json", "report.md", "report.html")]


def _score_rows(clips: Sequence[ScoredClip], calibration: Calibration | None) -> Iterator[ScoreRow]:
    """Yield every frame of the evaluated clips as a row of the score table."""
    for clip in clips:
        shown = clip.alert_scores if calibration is None else calibration.calibrated_array(clip.alert_scores)
        for index, label in enumerate(clip.labels):
            seconds = None if clip.fps is None else index / clip.fps
            yield ScoreRow(
                clip.name,
                index,
                clip.scores[index],
                shown[index],
                seconds,
                alert=seconds is not None and any(start <= seconds < end for start, end in clip.alerts),
                label=int(label),
                local_score=None if clip.local is None else clip.local[index],
            )


def _thumbnails(places: Sequence[FrameRef], evaluated: EvaluationResult, low: float, high: float) -> list[Thumbnail]:
    shots = []
    for place in places:
        clip, scored = evaluated.dataset.testing[place.clip], evaluated.clips[place.clip]
        pixels = _frame(clip, place.frame, scored.fps)
        if pixels is None:
            continue
        maps = scored.maps
        jpeg = heat_thumbnail(
            pixels,
            None if maps is None else maps[place.frame : place.frame + 1][0],
            [] if maps is None else maps.boxes(),
            low=low,
            high=high,
            truth=evaluated.masks.get((place.clip, place.frame)),
        )
        shots.append(Thumbnail(f"{clip.name}, frame {place.frame}, score {place.score:.4g}: {place.why}", jpeg))
    return shots


def _scale(clips: Sequence[ScoredClip]) -> tuple[float, float]:
    """Return the range of scores over which locations are tinted: the median of all clips' locations, and their 99.9 %
    quantile.
    """
    cells = []
    for clip in clips:
        maps = clip.maps
        if maps is not None:
            values = np.concatenate([maps[t : t + 1].ravel() for t in range(0, len(maps), max(1, len(maps) // 50))])
            cells.append(values[np.isfinite(values)])
    joined = np.concatenate(cells) if cells else np.empty(0, np.float32)
    if not len(joined):
        return 0.0, 1.0
    low, high = np.quantile(joined, [0.5, 0.999])
    return float(low), float(high)


def _frame(clip: Clip, index: int, fps: float | None) -> npt.NDArray[np.uint8] | None:
    """Return the pixels of one frame; None if it cannot be read."""
    if clip.kind == "images":
        files = image_files(clip.path)
        return read_gray(files[index]) if index < len(files) else None
    try:
        with open_source(clip_source(clip, fps or FPS), camera=clip.name) as source:
            return next((frame.pixels for frame in source if frame.index == index), None)
    except SourceError:
        return None
