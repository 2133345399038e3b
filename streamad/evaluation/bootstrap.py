"""How much metrics of runs, and their differences, would vary with other test clips: a bootstrap over clips."""

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

Metric = Literal["auc_micro", "auc_macro", "eer"]
METRICS: tuple[Metric, ...] = get_args(Metric)

LEVEL = 0.95
MIN_CLIPS = 5
"""Minimum number of clips for an interval: few clips have too few combinations to represent others."""
USABLE = 0.9
"""Share of draws in which every run must have the metric; a draw without both classes has none."""

Floats = npt.NDArray[np.float64]
Frames = Sequence[tuple[Floats, npt.NDArray[np.uint8]]]


@dataclass(frozen=True)
class Interval:
    """A metric over all clips, and the bounds that contain 95 % of the draws."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class MetricIntervals:
    """One metric of several runs over the same clips.

    Attributes:
        normalization: The protocol.
        figure: "auc_micro", "auc_macro" or "eer", as in `Evaluation`; shares, 0..1.
        runs: One interval per run.
        differences: Each later run's metric minus the first one's, drawn together; one fewer than `runs`.
    """

    normalization: str
    figure: Metric
    runs: tuple[Interval, ...]
    differences: tuple[Interval, ...]


def clip_intervals(
    normalization: str,
    runs: Sequence[tuple[Frames, Sequence[float | None]]],
    *,
    draws: int,
    seed: int = 0,
) -> list[MetricIntervals]:
    """Intervals of frame-level metrics by the percentile bootstrap over clips (Efron and Tibshirani, 1993, chapter 13).

    Clips, not frames, are drawn with replacement: frames of one clip are correlated, and drawing them independently
    would make a few clips look like thousands of cases. Every run gets the same draws, so a difference compares runs on
    the same clips. With a dozen clips, such intervals are somewhat too narrow.

    Args:
        normalization: Name of the protocol, copied to the result.
        runs: For each run, scores and labels of each clip's scored frames, and each clip's AUC (None: it has none).
        draws: Number of draws; 2 000 give two reliable digits.
        seed: Seed of the draws.

    Returns:
        One entry per metric. A metric that more than a tenth of the draws lack is left out.

    Raises:
        ValueError: There are fewer than `MIN_CLIPS` clips, runs differ in their number of clips, or `draws` is 0.
    """
    clips = len(runs[0][0])
    if any(len(frames) != clips or len(aucs) != clips for frames, aucs in runs):
        raise ValueError(
            f"runs have {', '.join(str(len(frames)) for frames, _ in runs)} clips; the numbers must be equal"
        )
    if clips < MIN_CLIPS or draws < 1:
        raise ValueError(f"{clips} clips and {draws} draws; at least {MIN_CLIPS} and 1 are required")
    counts = np.random.default_rng(seed).multinomial(clips, np.full(clips, 1.0 / clips), size=draws)
    all_once = np.ones((1, clips), counts.dtype)
    drawn = [_metrics(frames, aucs, np.concatenate((all_once, counts))) for frames, aucs in runs]
    found = []
    for metric in METRICS:
        table = np.stack([one[metric] for one in drawn])  # (runs, 1 + draws); the first column has all clips once
        usable = np.isnan(table).sum(axis=0) == 0
        if not usable[0] or usable[1:].mean() < USABLE:
            continue
        rows = table[:, usable]
        found.append(
            MetricIntervals(
                normalization,
                metric,
                tuple(_interval(row) for row in rows),
                tuple(_interval(row - rows[0]) for row in rows[1:]),
            )
        )
    return found


def intervals_of(folders: Sequence[Path], results: Sequence[EvaluationRecord], *, draws: int) -> list[MetricIntervals]:
    """`clip_intervals` of evaluated runs, for each protocol that all of them have, from the `scores.csv` in their
    folders.

    Args:
        folders: Folders written by `streamad evaluate`.
        results: The results in these folders.
        draws: Number of draws.

    Raises:
        DatasetError: No interval can be computed: scores are missing, damaged, or do not match the result, runs have
            different clips or labels, or there are fewer than `MIN_CLIPS` clips. The message says which.
    """
    names = [clip.name for clip in results[0].clips]
    if len(names) < MIN_CLIPS:
        raise DatasetError(f"{len(names)} test clips are too few for an interval; at least {MIN_CLIPS} are required")
    common = [e.normalization for e in results[0].protocols]
    for result in results[1:]:
        if [clip.name for clip in result.clips] != names:
            raise DatasetError(f"{result.name} and {results[0].name} have different test clips")
        common = [name for name in common if name in {e.normalization for e in result.protocols}]
    found: list[MetricIntervals] = []
    truth: list[npt.NDArray[np.uint8]] | None = None
    read = cache(_read)  # a file is used by several protocols
    for normalization in common:
        runs = []
        for folder, result in zip(folders, results, strict=True):
            evaluation = next(e for e in result.protocols if e.normalization == normalization)
            frames, labels = _frames_of(folder, evaluation, names, read)
            truth = truth or labels
            if any(not np.array_equal(a, b) for a, b in zip(truth, labels, strict=True)):
                raise DatasetError(f"{result.name} and {results[0].name} have different labels")
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
    scores, labels = read(path, ("calibrated_score", *reversed(SCORE_COLUMNS)) if calibrated else SCORE_COLUMNS)
    if labels is None or list(scores) != list(names):
        raise DatasetError(f"{path} and the result beside it have different clips", hint="evaluate again")
    truth = [labels[name] for name in names]
    frames, _ = scored_frames(
        [scores[name] for name in names],
        truth,
        normalization="calibrated" if evaluation.normalization == "local" else evaluation.normalization,
        edge=evaluation.edge,
        names=names,
    )
    auc = _metrics(frames, evaluation.auc_videos, np.ones((1, len(names)), np.int64))["auc_micro"][0]
    if abs(auc - evaluation.auc_micro) > 1e-6:
        raise DatasetError(
            f"{path} gives a micro AUC of {auc:.4f} ({evaluation.normalization}), the result beside it "
            f"{evaluation.auc_micro:.4f}",
            hint="they come from different evaluations; evaluate again",
        )
    return frames, truth


def _metrics(frames: Frames, aucs: Sequence[float | None], counts: npt.NDArray[np.int64]) -> dict[Metric, Floats]:
    """Metrics of each draw, (draws,), NaN where undefined. `counts`, (draws, clips): how often a draw contains each
    clip.
    """
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
    """Interval from a row that has the metric over all clips first and then those of the draws."""
    low, high = np.quantile(row[1:], [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(row[0]), float(low), float(high))
