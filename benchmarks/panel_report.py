"""Report of `benchmarks/panel.py`: Markdown and pictures for docs/results/panel.md, only from the JSON document."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from panel_baselines import BASELINES
from panel_metrics import totals

from streamad.visual.plot import EVENT_COLOR, SCORE_COLOR, THRESHOLD_COLOR, TRUTH_COLOR

Report = Mapping[str, Any]
NONE = "–"


def best_ranked(baselines: Mapping[str, Any]) -> str | None:
    """Return the baseline with the highest macro AUC; None if no video has both classes."""
    ranked = {name: found["macro"] for name, found in baselines.items() if found["macro"] is not None}
    return max(ranked, key=lambda name: ranked[name]) if ranked else None


def best_alerting(baselines: Mapping[str, Any]) -> str | None:
    """Return the baseline that finds the most events; ties go to the one with the fewest wrong alerts."""
    order = {name: (found["found"], -found["wrong"]) for name, found in baselines.items()}
    return max(order, key=lambda name: order[name]) if order else None


def markdown(report: Report, earlier: Sequence[Report] = ()) -> str:
    """Return the whole report as Markdown.

    Args:
        report: Results of `benchmarks/panel.py`.
        earlier: Reports of earlier versions, oldest first.
    """
    machine, cameras = report["machine"], report["cameras"]
    lines = [
        f"Measured {report['date']} with streamad {report['version']}, commit {report['commit'] or 'unknown'}, on "
        f"{machine['cpu']}, {machine['cpus']} CPUs, load average before the run {machine['load_average'][0]}. Python "
        f"{machine['python']}, OpenVINO {machine['openvino']}, OpenCV {machine['opencv']}.",
        "",
        "## Beside the best baseline",
        "",
        "| camera | macro AUC | baseline | events found | baseline | wrong alerts | baseline | normal video |",
        "|---|---|---|---|---|---|---|---|",
        *(_camera_row(name, camera) for name, camera in cameras.items()),
        "",
        "## All cameras",
        "",
        "| | cameras | mean macro AUC | events found | wrong alerts | wrong alerts per hour |",
        "|---|---|---|---|---|---|",
        *_total_rows(cameras),
        "",
        "## Alerts and speed",
        "",
        "| camera | AUC | median delay | wrong alerts per hour | learning | scoring |",
        "|---|---|---|---|---|---|",
        *(_speed_row(name, camera["product"]) for name, camera in cameras.items()),
    ]
    failed = [f"- `{name}`: {c['product']['failed']}" for name, c in cameras.items() if "failed" in c["product"]]
    if failed:
        lines += ["", "Not measured, and counted as missed events:", "", *failed]
    if earlier:
        lines += ["", "## Then and now", "", comparison([*earlier, report]).rstrip()]
    pictures = [name for name, camera in cameras.items() if "trace" in camera]
    if pictures:
        lines += ["", "## Scores over time"]
        for name in pictures:
            lines += ["", f"![score of {name} over time, with its threshold, events and alerts](panel/{name}.svg)"]
    return "\n".join(lines) + "\n"


def comparison(reports: Sequence[Report]) -> str:
    """Return a table of every camera's metrics from report to report, oldest first, and notes on the differences."""
    names = sorted({name for report in reports for name in report["cameras"]})
    titles = [f"{r['version']} ({r['commit']}, {r['date']})" for r in reports]
    lines = [" → ".join(titles) + ":", "", "| camera | macro AUC | events found | wrong alerts |", "|---|---|---|---|"]
    for name in names:
        products = [report["cameras"].get(name, {}).get("product") for report in reports]
        cells = (" → ".join(_then(shown, p) for p in products) for shown in (_macro, _found, _wrong))
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _then(shown: Any, product: Mapping[str, Any] | None) -> str:
    if product is None:
        return NONE
    return "failed" if "failed" in product else shown(product)


def _camera_row(name: str, camera: Mapping[str, Any]) -> str:
    product, baselines = camera["product"], camera["baselines"]
    ranked, alerting = best_ranked(baselines), best_alerting(baselines)
    failed = "failed" in product
    cells = [
        "failed" if failed else _macro(product) + _bounds(product.get("macro_interval")),
        NONE if ranked is None else f"{_macro(baselines[ranked])} {ranked}",
        "failed" if failed else _found(product) + _bounds(product.get("found_interval")),
        NONE if alerting is None else f"{_found(baselines[alerting])} {alerting}",
        "failed" if failed else _wrong(product),
        NONE if alerting is None else f"{_wrong(baselines[alerting])} {alerting}",
        _duration(next(iter(baselines.values()), product)["normal_seconds"]),
    ]
    return f"| {name} | {' | '.join(cells)} |"


def _total_rows(cameras: Mapping[str, Any]) -> list[str]:
    methods = {"streamad": [camera["product"] for camera in cameras.values()]}
    methods |= {name: [camera["baselines"][name] for camera in cameras.values()] for name in BASELINES}
    rows = []
    for name, found in methods.items():
        whole, measured = totals(found), sum("failed" not in camera for camera in found)
        rows.append(
            f"| {name} | {measured} of {len(cameras)} | {_macro(whole)}{_bounds(whole['macro_interval'])} | "
            f"{_found(whole)}{_bounds(whole['found_interval'])} | {whole['wrong']} in "
            f"{_duration(whole['normal_seconds'])} | {_number(whole['wrong_per_hour'], '.1f')} |"
        )
    return rows


def _speed_row(name: str, product: Mapping[str, Any]) -> str:
    if "failed" in product:
        return f"| {name} |{f' {NONE} |' * 5}"
    return (
        f"| {name} | {_number(product['auc'], '.3f')} | {_number(product['median_delay_seconds'], '.1f', ' s')} | "
        f"{_number(product['wrong_per_hour'], '.1f')} | {product['learn_seconds']:.0f} s | "
        f"{product['frames_per_second']:.0f} frames/s |"
    )


def _macro(found: Mapping[str, Any]) -> str:
    return _number(found["macro"], ".3f")


def _found(found: Mapping[str, Any]) -> str:
    return f"{found['found']} of {found['events']}" if found["events"] else NONE


def _wrong(found: Mapping[str, Any]) -> str:
    return str(found["wrong"])


def _bounds(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f" ({interval[0]:.2f} to {interval[1]:.2f})"


def _number(value: float | None, form: str, unit: str = "") -> str:
    return NONE if value is None else f"{value:{form}}{unit}"


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 3600 else f"{seconds / 3600:.2f} h"


def picture(trace: Mapping[str, Any], title: str) -> str:
    """Return an SVG of a camera's score over time: threshold, labeled events, alerts and starts of videos."""
    unit, scale = ("h", 3600.0) if trace["starts"][-1] > 7200 else ("s", 1.0)
    step, scores = trace["step_seconds"] / scale, np.array(trace["scores"].split(), np.float64)
    starts = np.array(trace["starts"]) / scale
    # Fixed ids and no date, so that equal traces give equal files.
    with rc_context({"svg.hashsalt": "streamad", "svg.fonttype": "none", "font.family": "sans-serif"}):
        figure = Figure(figsize=(9.0, 2.6), layout="constrained", facecolor="white")
        FigureCanvasSVG(figure)
        axes = figure.subplots()
        whole = axes.get_xaxis_transform()  # heights as fractions of the axes
        for name, color, label in (
            ("events", TRUTH_COLOR, "labeled event"),
            ("not_counted", "#999999", "not counted"),
        ):
            spans = [(start / scale, (end - start) / scale) for start, end in trace[name]]
            if spans:
                axes.broken_barh(spans, (0, 1), transform=whole, facecolor=color, alpha=0.2, linewidth=0, label=label)
        axes.vlines(starts[1:-1], 0, 1, transform=whole, color="#cccccc", linewidth=0.5)
        axes.plot((np.arange(len(scores)) + 0.5) * step, scores, color=SCORE_COLOR, linewidth=0.9, label="score")
        label = f"threshold {trace['threshold']:.3g}"
        axes.axhline(trace["threshold"], color=THRESHOLD_COLOR, linestyle=(0, (6, 3)), linewidth=1.2, label=label)
        alerts = [(start / scale, max((end - start) / scale, step)) for start, end in trace["alerts"]]
        if alerts:
            axes.broken_barh(alerts, (0, 0.06), transform=whole, facecolor=EVENT_COLOR, label="alert")
        axes.set_xlim(0, starts[-1])
        axes.set_title(title, fontsize=10, loc="left")
        axes.set_xlabel(f"time ({unit})", fontsize=8)
        axes.set_ylabel("score", fontsize=8)
        axes.tick_params(labelsize=8)
        figure.legend(loc="outside upper right", fontsize=8, ncols=5, frameon=False)
        for side in ("top", "right"):
            axes.spines[side].set_visible(False)
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()
