"""Score plots: scores over time with threshold, alerts and, if known, the ground truth."""

from __future__ import annotations

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from streamad.files import write_atomic
from streamad.formatting import drawable

# The palette of Okabe and Ito (2008), distinguishable with any color vision. Hatching and dashes repeat the
# information.
SCORE_COLOR = "#0072B2"
THRESHOLD_COLOR = "#D55E00"
RELEASE_COLOR = "#E69F00"
TRUTH_COLOR = "#009E73"
EVENT_COLOR = "#CC79A7"

_DPI = 100
_WIDTH = 1600  # pixels
_HEIGHT = 600  # pixels
_LANES = 3

Truth = tuple[float, float, str]


@dataclass(frozen=True)
class PlotEvent:
    """An alert on the time axis, seconds."""

    start_seconds: float
    end_seconds: float
    label: str


def plot_scores(
    path: Path,
    *,
    seconds: npt.NDArray[np.floating],
    scores: npt.NDArray[np.floating],
    threshold: float | None = None,
    release: float | None = None,
    events: Sequence[PlotEvent] = (),
    truth: Sequence[Truth] = (),
    title: str = "",
    score_label: str = "anomaly score",
) -> None:
    """Write the score plot of one video as a PNG of 1600×600 pixels.

    Args:
        path: The file to write, atomically.
        seconds: (T,) time of each frame, increasing.
        scores: (T,) score of each frame, higher is more anomalous; frames without a score (NaN) are hatched.
        threshold: Score from which an alert is raised; a dashed line with its value.
        release: Score below which an alert ends; a dotted line.
        events: Alerts, drawn as bars below the axis.
        truth: True anomalies as (start, end, kind), seconds; shaded.
        title: Title above the plot.
        score_label: Label of the y axis.

    Raises:
        ValueError: If seconds and scores do not match or are empty.
        OutputError: If the file cannot be written.
    """
    if seconds.ndim != 1 or seconds.shape != scores.shape or seconds.size == 0:
        raise ValueError(
            "seconds and scores must be 1-D, of equal length and not empty, "
            f"got shapes {seconds.shape} and {scores.shape}"
        )
    figure = Figure(figsize=(_WIDTH / _DPI, _HEIGHT / _DPI), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(6.0, 1.0))
    upper.set_title(drawable(title), fontsize=13, loc="left", parse_math=False)
    upper.set_ylabel(score_label, fontsize=12, parse_math=False)
    _draw_scores(upper, seconds.astype(np.float64), scores, truth)
    for line, color, dashes, name in (
        (threshold, THRESHOLD_COLOR, (6, 3), "threshold"),
        (release, RELEASE_COLOR, (1.5, 2), "release"),
    ):
        if line is not None:
            upper.axhline(line, color=color, linestyle=(0, dashes), linewidth=1.8, label=f"{name} {line:.4g}")
    upper.set_ylim(_limits(scores, threshold, release))
    upper.legend(loc="upper left", fontsize=10, framealpha=0.9, ncols=6, borderaxespad=0.4)
    _draw_events(lower, events)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=_DPI)
    write_atomic(Path(path), buffer.getvalue())


def _limits(scores: npt.NDArray[np.floating], threshold: float | None, release: float | None) -> tuple[float, float]:
    lines = np.array([line for line in (threshold, release) if line is not None], dtype=np.float64)
    everything = np.concatenate([scores[np.isfinite(scores)].astype(np.float64), lines])
    if everything.size == 0:
        return 0.0, 1.0
    low, high = float(everything.min()), float(everything.max())
    span = high - low if high > low else max(abs(high), 1.0)
    # Leave room at the top for the legend and the names of true anomalies.
    return low - 0.04 * span, high + 0.24 * span


def _draw_scores(
    axes: Axes, seconds: npt.NDArray[np.float64], scores: npt.NDArray[np.floating], truth: Sequence[Truth]
) -> None:
    step = float(np.median(np.diff(seconds))) if seconds.size > 1 else 1.0
    axes.set_xlim(seconds[0] - step / 2, seconds[-1] + step / 2)
    axes.grid(visible=True, color="#d8d8d8", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    axes.tick_params(labelbottom=False, labelsize=10)
    for number, (start, end, kind) in enumerate(truth):
        name = "true anomaly" if number == 0 else None
        axes.axvspan(start, end, facecolor=TRUTH_COLOR, alpha=0.2, linewidth=0, label=name)
        axes.annotate(
            kind.replace("_", " "),
            ((start + end) / 2, 0.845),
            xycoords=("data", "axes fraction"),
            ha="center",
            va="top",
            fontsize=10,
            color="#00573F",
            parse_math=False,
            annotation_clip=True,
        )
    missing = ~np.isfinite(scores)
    for number, (first, last) in enumerate(_runs(missing)):
        axes.axvspan(
            seconds[first] - step / 2,
            seconds[last] + step / 2,
            facecolor="#f2f2f2",
            edgecolor="#9a9a9a",
            hatch="///",
            linewidth=0,
            label="no score" if number == 0 else None,
        )
    width = 1.5 if seconds.size < 4000 else 0.9
    scores = np.where(missing, np.nan, scores)
    axes.plot(seconds, scores, color=SCORE_COLOR, linewidth=width, label="score")
    lone = ~missing & np.r_[True, missing[:-1]] & np.r_[missing[1:], True]
    if lone.any():
        # A single score between two gaps has no visible line.
        axes.plot(seconds[lone], scores[lone], ".", color=SCORE_COLOR, markersize=5)


def _draw_events(axes: Axes, events: Sequence[PlotEvent]) -> None:
    axes.set_ylim(_LANES, 0)
    axes.set_yticks([])
    axes.set_xlabel("time (s)", fontsize=12)
    axes.tick_params(labelsize=10)
    axes.set_ylabel("alerts", fontsize=12, rotation=0, ha="right", va="center")
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    first, last = axes.get_xlim()
    span = last - first
    free = [-np.inf] * _LANES
    for event in sorted(events, key=lambda e: e.start_seconds):
        # If labels would overlap, use the next lane. A character of 10 pt text is about 8 px wide.
        needs = max(event.end_seconds, event.start_seconds + span * 8.0 * (len(event.label) + 2) / 1480)
        open_lanes = [lane for lane in range(_LANES) if free[lane] <= event.start_seconds]
        lane = open_lanes[0] if open_lanes else int(np.argmin(free))
        free[lane] = needs
        length = max(event.end_seconds - event.start_seconds, span / 800)
        axes.broken_barh([(event.start_seconds, length)], (lane + 0.1, 0.8), facecolor=EVENT_COLOR)
        axes.text(
            event.start_seconds + span * 0.002,
            lane + 0.52,
            event.label,
            va="center",
            fontsize=9.5,
            clip_on=True,
            parse_math=False,
        )
    if not events:
        axes.text(0.5, 0.5, "none", transform=axes.transAxes, ha="center", va="center", color="#707070")


def _runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """(first, last) index of every run of True, both inclusive."""
    edges = np.diff(np.concatenate([[0], flags.astype(np.int8), [0]]))
    starts, ends = np.flatnonzero(edges == 1), np.flatnonzero(edges == -1) - 1
    return list(zip(starts.tolist(), ends.tolist(), strict=True))
