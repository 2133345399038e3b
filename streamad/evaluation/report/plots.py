"""The report's plots as SVG: ROC curves, score traces, histograms."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Literal

import numpy as np
import numpy.typing as npt
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from streamad.calibration import Calibration
from streamad.evaluation.metrics import eer, roc_auc, roc_curve
from streamad.evaluation.scored_clips import ScoredClip
from streamad.formatting import readable
from streamad.scoring import Normalization, normalize

# The palette of Okabe and Ito (2008), distinguishable with any color vision; dashes add redundancy.
STYLES: dict[Normalization, tuple[str, str]] = {
    "calibrated": ("#0072B2", "-"),
    "raw": ("#56B4E9", "--"),
    "running": ("#E69F00", "-."),
    "per_video": ("#CC79A7", ":"),
}
NORMAL_COLOR, ABNORMAL_COLOR, THRESHOLD_COLOR = "#009E73", "#D55E00", "#000000"
_COLUMNS = 2
_BINS = 60


def figures_of(
    clips: Sequence[ScoredClip], calibration: Calibration | None = None, threshold: float | None = None
) -> dict[str, str]:
    """Create all plots: "roc", "histogram", "clips" (why protocols differ), "traces"; each an SVG element.

    Args:
        clips: Scores of each clip.
        calibration: Adds the ROC curve of calibrated scores. Default: none.
        threshold: Marks the threshold. Default: none.
    """
    return {
        "roc": roc_figure(clips, calibration),
        "histogram": histogram_figure(clips, threshold),
        "clips": gap_figure(clips, threshold),
        "traces": trace_figure(clips, threshold),
    }


def roc_figure(clips: Sequence[ScoredClip], calibration: Calibration | None) -> str:
    """ROC curves of all scored frames under each protocol, with the equal-error line."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for protocol in STYLES:
            if protocol == "calibrated" and calibration is None:
                continue
            values, truth = pooled(clips, protocol, calibration)
            fpr, tpr, _ = roc_curve(values, truth)
            color, line = STYLES[protocol]
            name = "local" if protocol == "calibrated" and calibration and calibration.local else protocol
            text = f"{name}: AUC {roc_auc(values, truth):.4f}, EER {eer(values, truth):.4f}"
            axes.plot(fpr, tpr, color=color, linestyle=line, linewidth=2, label=text)
        axes.plot([0, 1], [1, 0], color="#a0a0a0", linewidth=0.8, label="equal errors")
        axes.set(xlim=(0, 1), ylim=(0, 1.005), xlabel="false-positive rate", ylabel="true-positive rate")
        axes.set_aspect("equal")
        axes.legend(loc="lower right", fontsize=9)
        _plain(axes)

    return _svg((6.4, 6.0), draw)


def histogram_figure(clips: Sequence[ScoredClip], threshold: float | None) -> str:
    """Raw scores of normal and abnormal frames, with the threshold."""

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        values = np.concatenate([clip.alert_scores for clip in clips])
        finite = np.isfinite(values)
        values, truth = values[finite], np.concatenate([clip.labels for clip in clips])[finite]
        low, high = np.quantile(values, [0.001, 0.999]) if len(values) else (0.0, 1.0)
        if threshold is not None:
            low, high = min(low, threshold), max(high, threshold)
        bins = np.linspace(low, high if high > low else low + 1, _BINS)
        for kind, color, hatch in ((0, NORMAL_COLOR, ""), (1, ABNORMAL_COLOR, "//")):
            part = np.clip(values[truth == kind], low, high)
            if len(part):
                weights = np.full(len(part), 1 / len(part))
                name = f"{'abnormal' if kind else 'normal'} ({len(part)} frames)"
                axes.hist(part, bins.tolist(), weights=weights, color=color, alpha=0.55, hatch=hatch, label=name)
        if threshold is not None:
            label = f"threshold {threshold:.4g}"
            axes.axvline(threshold, color=THRESHOLD_COLOR, linestyle=(0, (6, 3)), label=label)
        axes.set(xlabel="raw score", ylabel="share of the frames of its kind")
        axes.legend(fontsize=9)
        _plain(axes)

    return _svg((7.4, 3.6), draw)


def gap_figure(clips: Sequence[ScoredClip], threshold: float | None) -> str:
    """Why protocols differ: each clip's range of raw scores, normal and abnormal frames separately.

    `per_video` stretches each row to the same range before comparing; `calibrated` compares them as they are.
    """

    def draw(figure: Figure) -> None:
        axes = figure.subplots()
        for row, clip in enumerate(clips):
            for kind, color, shift in ((0, NORMAL_COLOR, -0.17), (1, ABNORMAL_COLOR, 0.17)):
                part = clip.alert_scores[(clip.labels == kind) & np.isfinite(clip.alert_scores)]
                if not len(part):
                    continue
                low, quarter, middle, three, high = np.quantile(part, [0.02, 0.25, 0.5, 0.75, 0.98])
                label = ("abnormal" if kind else "normal") + " frames: 2, 25, 50, 75, 98 %"
                axes.plot([low, high], [row + shift] * 2, color=color, linewidth=1.4)
                axes.plot(
                    [quarter, three], [row + shift] * 2, color=color, linewidth=6, solid_capstyle="butt", label=label
                )
                axes.plot([middle], [row + shift], "|", color="black", markersize=8)
        if threshold is not None:
            label = f"threshold {threshold:.4g}"
            axes.axvline(threshold, color=THRESHOLD_COLOR, linestyle=(0, (6, 3)), label=label)
        names = [readable(clip.name) for clip in clips]
        axes.set_yticks(range(len(clips)), names, fontsize=8, parse_math=False)
        axes.invert_yaxis()
        axes.set_xlabel("raw score")
        entries = dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
        axes.legend(entries.values(), entries, fontsize=8, loc="upper left", bbox_to_anchor=(0, 1.12), ncols=3)
        _plain(axes)

    return _svg((9.0, 1.2 + 0.34 * len(clips)), draw)


def trace_figure(clips: Sequence[ScoredClip], threshold: float | None) -> str:
    """Raw scores of every clip over time on one scale, with true intervals shaded and alerts as bars."""
    rows = -(-len(clips) // _COLUMNS)
    width, height = 13.0, 1.75 * rows

    def draw(figure: Figure) -> None:
        axes = figure.subplots(rows, _COLUMNS, squeeze=False)
        # Manual layout: a layout engine renders everything twice, which takes seconds for a hundred clips.
        figure.subplots_adjust(
            left=0.45 / width,
            right=1 - 0.15 / width,
            bottom=0.4 / height,
            top=1 - 0.25 / height,
            wspace=0.08,
            hspace=0.5,
        )
        values = np.concatenate([clip.alert_scores[np.isfinite(clip.alert_scores)] for clip in clips] or [np.zeros(1)])
        low, high = (float(values.min()), float(values.max())) if len(values) else (0.0, 1.0)
        span = (high - low) or 1.0
        for place, clip in zip(axes.ravel(), clips, strict=False):
            _trace(place, clip, threshold, low - 0.12 * span, high + 0.05 * span)
        for place in axes.ravel()[len(clips) :]:
            place.set_axis_off()

    return _svg((width, height), draw, layout=None)


def pooled(
    clips: Sequence[ScoredClip], protocol: Normalization, calibration: Calibration | None
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.uint8]]:
    """Scores of all clips under a protocol, and their labels, without frames that have no score."""
    chosen = calibration if protocol == "calibrated" else None
    scores = [clip.alert_scores if protocol == "calibrated" else clip.scores for clip in clips]
    values = np.concatenate(normalize(scores, protocol, chosen))
    truth = np.concatenate([clip.labels for clip in clips])
    kept = ~np.isnan(values)
    return values[kept], truth[kept]


def _trace(axes: Axes, clip: ScoredClip, threshold: float | None, low: float, high: float) -> None:
    step = 1 / clip.fps if clip.fps else 1.0
    seconds = np.arange(len(clip.alert_scores)) * step
    for first, stop in clip.runs():
        axes.axvspan(first * step, stop * step, color=ABNORMAL_COLOR, alpha=0.18, linewidth=0)
    axes.plot(seconds, clip.alert_scores, color=STYLES["calibrated"][0], linewidth=1.1)
    if threshold is not None:
        axes.axhline(threshold, color=THRESHOLD_COLOR, linestyle=(0, (6, 3)), linewidth=0.9)
    for start, end in clip.alerts:
        axes.broken_barh([(start, max(end - start, step))], (low, 0.05 * (high - low)), color="#CC79A7")
    axes.set(xlim=(0, max(step, len(clip.alert_scores) * step)), ylim=(low, high))
    axes.set_title(readable(clip.name), fontsize=9, loc="left", pad=2, parse_math=False)
    axes.tick_params(labelsize=7)
    axes.xaxis.set_major_locator(MaxNLocator(7))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.set_xlabel("s" if clip.fps else "frame", fontsize=7, labelpad=0)
    _plain(axes)


def _plain(axes: Axes) -> None:
    axes.grid(visible=True, color="#e2e2e2", linewidth=0.6)
    axes.set_axisbelow(True)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)


def _svg(
    size: tuple[float, float],
    draw: Callable[[Figure], None],
    layout: Literal["constrained"] | None = "constrained",
) -> str:
    # Fixed ids and no date, so that equal plots give equal files.
    # A clip may be named $x$, which is not a formula.
    fixed = {"svg.hashsalt": "streamad", "svg.fonttype": "none", "font.family": "sans-serif", "text.parse_math": False}
    with rc_context(fixed):  # type: ignore[arg-type]
        figure = Figure(figsize=size, layout=layout, facecolor="white")
        FigureCanvasSVG(figure)
        draw(figure)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
