"""How far the figures of runs, and their differences, would move with other test clips: a bootstrap over clips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import Labels
from streamad.evaluation.metrics import area_under, counted_roc_curve, equal_errors
from streamad.evaluation.result import EvaluationRecord
from streamad.evaluation.score_files import SCORE_COLUMNS, Scores, read_scores
from streamad.evaluation.scores import Evaluation, scored_frames

Figure = Literal["auc_micro", "auc_macro", "eer"]
FIGURES: tuple[Figure, ...] = get_args(Figure)

LEVEL = 0.95
MIN_CLIPS = 5
"""Clips below which no interval is given: their few combinations say nothing of other clips (our choice)."""
USABLE = 0.9
"""Share of draws in which every run must have a figure; a draw without both classes has none (our choice)."""

Floats = npt.NDArray[np.float64]
Frames = Sequence[tuple[Floats, npt.NDArray[np.uint8]]]


@dataclass(frozen=True)
class Interval:
    """A figure over all clips, and the bounds that 95 % of the draws lie between."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class FigureIntervals:
    """One figure of several runs over the same clips.

    Attributes:
        normalization: its protocol.
        figure: "auc_micro", "auc_macro" or "eer", as `Evaluation` names them; shares, 0..1.
        runs: one a run.
        differences: each later run's figure less the first one's, drawn together; one fewer than `runs`.
    """

    normalization: str
    figure: Figure
    runs: tuple[Interval, ...]
    differences: tuple[Interval, ...]


def clip_intervals(
    normalization: str,
    runs: Sequence[tuple[Frames, Sequence[float | None]]],
    *,
    draws: int,
    seed: int = 0,
) -> list[FigureIntervals]:
    """Intervals of frame-level figures by the percentile bootstrap over clips (Efron and Tibshirani, 1993, chapter 13).

    Clips, not frames, are drawn with replacement: frames of one clip hang together, so that drawing them one by one
    would make a few clips look like thousands of cases. Every run gets the same draws, so that a difference is one
    between runs on the same clips. With a dozen clips such intervals are somewhat too short.

    Args:
        normalization: the protocol, which the answer names.
        runs: for each run, scores and labels of each clip's scored frames, and each clip's AUC (None: it has none).
        draws: how many; 2 000 give two safe digits.
        seed: of the draws.

    Returns:
        An entry a figure; a figure that over a tenth of the draws do not have is left out.

    Raises:
        ValueError: fewer than `MIN_CLIPS` clips, runs of unequal numbers of clips, or no draws.
    """
    clips = len(runs[0][0])
    if any(len(frames) != clips or len(aucs) != clips for frames, aucs in runs):
        raise ValueError(
            f"runs have {', '.join(str(len(frames)) for frames, _ in runs)} clips; equal numbers are needed"
        )
    if clips < MIN_CLIPS or draws < 1:
        raise ValueError(f"{clips} clips and {draws} draws: at least {MIN_CLIPS} and 1 are needed")
    counts = np.random.default_rng(seed).multinomial(clips, np.full(clips, 1.0 / clips), size=draws)
    all_once = np.ones((1, clips), counts.dtype)
    drawn = [_figures(frames, aucs, np.concatenate((all_once, counts))) for frames, aucs in runs]
    found = []
    for figure in FIGURES:
        table = np.stack([one[figure] for one in drawn])  # (runs, 1 + draws), all clips once first
        usable = np.isnan(table).sum(axis=0) == 0
        if not usable[0] or usable[1:].mean() < USABLE:
            continue
        rows = table[:, usable]
        found.append(
            FigureIntervals(
                normalization,
                figure,
                tuple(_interval(row) for row in rows),
                tuple(_interval(row - rows[0]) for row in rows[1:]),
            )
        )
    return found


def intervals_of(folders: Sequence[Path], results: Sequence[EvaluationRecord], *, draws: int) -> list[FigureIntervals]:
    """`clip_intervals` of evaluated runs, for each protocol that all have, from the `scores.csv` in their folders.

    Args:
        folders: those that `streamad evaluate` wrote.
        results: their results.
        draws: how many.

    Raises:
        DatasetError: there is none to give: scores are missing, damaged or not those of the result, runs have other
            clips or labels, or there are fewer than `MIN_CLIPS` clips. The message says which.
    """
    names = [clip.name for clip in results[0].clips]
    if len(names) < MIN_CLIPS:
        raise DatasetError(f"{len(names)} test clips say nothing of others; {MIN_CLIPS} are needed")
    common = [e.normalization for e in results[0].protocols]
    for result in results[1:]:
        if [clip.name for clip in result.clips] != names:
            raise DatasetError(f"{result.name} has other test clips than {results[0].name}")
        common = [name for name in common if name in {e.normalization for e in result.protocols}]
    found: list[FigureIntervals] = []
    truth: list[npt.NDArray[np.uint8]] | None = None
    read = cache(_read)  # a file serves several protocols
    for normalization in common:
        runs = []
        for folder, result in zip(folders, results, strict=True):
            evaluation = next(e for e in result.protocols if e.normalization == normalization)
            frames, labels = _frames_of(folder, evaluation, names, read)
            truth = truth or labels
            if any(not np.array_equal(a, b) for a, b in zip(truth, labels, strict=True)):
                raise DatasetError(f"{result.name} has other labels than {results[0].name}")
            runs.append((frames, evaluation.auc_videos))
        found += clip_intervals(normalization, runs, draws=draws)
    return found


def _read(path: Path, columns: tuple[str, ...]) -> tuple[Scores, dict[str, Labels] | None]:
    return read_scores(path, columns=columns)


def _frames_of(
    folder: Path, evaluation: Evaluation, names: Sequence[str], read: Callable[..., Any]
) -> tuple[Frames, list[npt.NDArray[np.uint8]]]:
    """Scored frames of each clip under a protocol, and its labels; checked against the result's micro AUC."""
    path = (folder if folder.is_dir() else folder.parent) / "scores.csv"
    calibrated = evaluation.normalization in ("calibrated", "local")
    scores, labels = read(path, ("calibrated_score", *SCORE_COLUMNS) if calibrated else SCORE_COLUMNS)
    if labels is None or list(scores) != list(names):
        raise DatasetError(f"{path} has other clips than the result beside it", hint="evaluate again")
    truth = [labels[name] for name in names]
    frames, _ = scored_frames(
        [scores[name] for name in names],
        truth,
        normalization="calibrated" if evaluation.normalization == "local" else evaluation.normalization,
        edge=evaluation.edge,
        names=names,
    )
    auc = _figures(frames, evaluation.auc_videos, np.ones((1, len(names)), np.int64))["auc_micro"][0]
    if abs(auc - evaluation.auc_micro) > 1e-6:
        raise DatasetError(
            f"{path} gives a micro AUC of {auc:.4f} ({evaluation.normalization}), the result beside it "
            f"{evaluation.auc_micro:.4f}",
            hint="they are not of one evaluation; evaluate again",
        )
    return frames, truth


def _figures(frames: Frames, aucs: Sequence[float | None], counts: npt.NDArray[np.int64]) -> dict[Figure, Floats]:
    """Figures of each draw, (draws,); NaN where it has none. `counts`, (draws, clips): how often a clip is in it."""
    scores = np.concatenate([s for s, _ in frames])
    order = np.argsort(-scores, kind="stable")
    scores = scores[order]
    truth = np.concatenate([t for _, t in frames])[order].astype(np.float64)
    clip = np.repeat(np.arange(len(frames)), [s.size for s, _ in frames])[order]
    micro, error = np.full(len(counts), np.nan), np.full(len(counts), np.nan)
    for draw, times in enumerate(counts):
        weight = times[clip].astype(np.float64)
        abnormal, normal = weight * truth, weight * (1.0 - truth)
        if abnormal.any() and normal.any():
            curve = counted_roc_curve(scores, abnormal, normal)
            micro[draw], error[draw] = area_under(curve), equal_errors(curve)
    has = np.array([auc is not None for auc in aucs])
    values = np.array([0.0 if auc is None else auc for auc in aucs])
    of = counts @ has
    with np.errstate(invalid="ignore"):
        macro = np.where(of > 0, (counts @ values) / of, np.nan)
    return {"auc_micro": micro, "auc_macro": macro, "eer": error}


def _interval(row: Floats) -> Interval:
    """Of the figure over all clips, which stands first, and those of the draws."""
    low, high = np.quantile(row[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(row[0]), float(low), float(high))
