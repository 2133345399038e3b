"""Report of `benchmarks/bench.py`: Markdown and plots for docs/results/performance.md, only from the JSON document."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from streamad.errors import StreamadError

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
# The palette of Okabe and Ito (2008), distinguishable with any color vision.
COLORS = ("#0072B2", "#56B4E9", "#009E73", "#E69F00", "#CC79A7", "#999999", "#D55E00", "#F0E442")
PRECISIONS = ("fp32", "bf16", "int8")


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return minimum, median and maximum."""
    return {"min": min(values), "median": float(np.median(values)), "max": max(values)}


def markdown(report: Mapping[str, Any]) -> str:
    """Return the whole report as Markdown."""
    machine, workload, limits = report["machine"], report["workload"], report["limits"]
    threads = report["models"][0]["threads"]
    busy = " **The machine was busy with other work: use the ratios, not the times.**" if report["busy"] else ""
    lines = [
        f"Measured {report['date']} with streamad {report['version']} on {machine['cpu']}, {machine['cpus']} CPUs, "
        f"load average before the run {machine['load_average'][0]}, in {report['seconds']} s.{busy} Python "
        f"{machine['python']}, OpenVINO {machine['openvino']}, torch {machine.get('torch') or 'not installed'}, OpenCV "
        f"{machine['opencv']}. Threads: one decodes, OpenVINO {threads['threads']}, torch "
        f"{machine.get('torch_threads', 0)}, OpenCV {machine['opencv_threads']}. Pinning: {machine['pinning']}.",
        "",
        f"Video: {workload['source']}; {workload['frames']} frames of {workload['width']}×{workload['height']}, H.264.",
        "",
        "| limits of the machine | |",
        "|---|---|",
        f"| matrix product, numpy, float32 | {limits['gemm_numpy_gflops']:.0f} GFLOP/s |",
        f"| matrix product, OpenVINO, float32 | {limits['gemm_openvino_gflops']:.0f} GFLOP/s |",
    ]
    for precision in PRECISIONS:
        rate = limits[f"convolution_{precision}_gflops"]
        shown = "not supported" if rate is None else f"{rate:.0f} GFLOP/s"
        lines.append(f"| convolution 1×1, 256 channels, OpenVINO, {precision} | {shown} |")
    lines += [f"| memory copy, one thread, read + written | {limits['copy_gbytes']:.1f} GB/s |", ""]
    lines += [*_parts(report["models"]), "", *_engines(report["models"])]
    if report.get("batches"):
        lines += ["", *_batches(report["batches"])]
    return "\n".join(lines) + "\n"


def _parts(models: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "Frames per second of each stage alone, and of all stages together, with OpenVINO in float32 (median of rounds):",
        "",
        "| model | inputs per frame | decode | preprocess | infer | score | end to end | time relative to the slower of decoding and inference |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for model in models:
        rate = {
            row["stage"]: row["frames_per_second"]["median"]
            for row in model["rows"]
            if row["engine"] in ("", "openvino fp32") and row["stage"] != "plain loop"
        }
        over = min(rate["decode"], rate["infer"]) / rate["end to end"]
        cells = " | ".join(_number(rate[stage]) for stage in ("decode", "tile", "infer", "score", "end to end"))
        lines.append(f"| `{model['name']}` | {model['tiles_per_frame']:.1f} | {cells} | {over:.2f} |")
    return lines


def _engines(models: Sequence[Mapping[str, Any]]) -> list[str]:
    lines = [
        "Every engine from file to alerts, compared with the loop of the papers' programs (OpenCV decodes, eager PyTorch runs the "
        "whole network on the whole input of every frame) and with the same loop with OpenVINO on the exported network. Frames per "
        "second: minimum, median and maximum of the rounds. Cameras: the largest of 1, 2, 4, 8, … cameras at 25 frames per second "
        "that `streamad run` sustained.",
        "",
        "| model | engine | min | median | max | × papers' loop | CPU ms per frame | inference alone | GFLOP/s | cameras | MiB |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for model in models:
        infer = {row["engine"]: row for row in model["rows"] if row["stage"] == "infer"}
        cameras = {row["engine"]: row for row in model["cameras"]}
        memory = {row["engine"]: row["resident_mib"] for row in model["memory"]}
        for row in model["rows"]:
            if row["stage"] not in ("end to end", "plain loop"):
                continue
            rate, ratio, ours = row["frames_per_second"], row["ratio_to_papers_loop"], row["stage"] == "end to end"
            alone = infer[row["engine"]] if ours else None
            held = cameras.get(row["engine"]) if ours else None
            name = row["engine"] if ours else f"{row['engine']}, plain loop"
            lines.append(
                f"| `{model['name']}` | {name} | {_number(rate['min'])} | **{_number(rate['median'])}** | "
                f"{_number(rate['max'])} | {'–' if ratio is None else format(ratio['median'], '.1f')} | "
                f"{row['cpu_ms_per_frame']:.2f} | {'–' if alone is None else _number(alone['frames_per_second']['median'])} | "
                f"{'–' if alone is None else format(alone['gflops'], '.0f')} | {_cameras(held)} | "
                f"{_number(memory[row['engine']]) if ours and row['engine'] in memory else '–'} |"
            )
    return lines


def _cameras(held: Mapping[str, Any] | None) -> str:
    if held is None or not held["tried"]:
        return "–"
    if not held["bounded"]:
        return str(held["held"])
    return f"≥ {held['held']}" if held["held"] else f"< {held['tried'][0]['cameras']}"


def _batches(batches: Mapping[str, Any]) -> list[str]:
    lines = [
        f"Why batches have static sizes: milliseconds per batch of `{batches['model']}`, OpenVINO, float32.",
        "",
        "| patches in a batch | static shape | dynamic shape |",
        "|---|---|---|",
    ]
    by_size: dict[int, dict[str, float]] = {}
    for batch in batches["times"]:
        by_size.setdefault(batch["size"], {})[batch["form"]] = batch["milliseconds"]
    for size, forms in sorted(by_size.items()):
        cells = (f"{forms[form]:.2f}" if form in forms else "–" for form in ("static", "dynamic"))
        lines.append(f"| {size} | {' | '.join(cells)} |")
    return lines


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def plots(report: Mapping[str, Any], folder: Path) -> None:
    """Draw two plots: speed of every engine and the plain loops, and inference relative to the machine's limits."""
    import matplotlib

    matplotlib.rcParams["svg.hashsalt"] = "streamad"  # equal results give equal files
    matplotlib.rcParams["svg.fonttype"] = "none"
    folder.mkdir(parents=True, exist_ok=True)
    _speed_plot(report["models"], folder / "performance-speed.svg")
    _limit_plot(report, folder / "performance-limit.svg")


def _speed_plot(models: Sequence[Mapping[str, Any]], path: Path) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    labels: list[str] = []
    for model in models:
        for row in model["rows"]:
            if (label := _label(row)) and label not in labels:
                labels.append(label)
    figure = Figure(figsize=(11, 5), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    width = 0.85 / len(labels)
    for k, label in enumerate(labels):
        values = [next((r["frames_per_second"] for r in m["rows"] if _label(r) == label), None) for m in models]
        at = [i for i, v in enumerate(values) if v is not None]
        middle = np.array([v["median"] for v in values if v is not None])
        low = middle - [v["min"] for v in values if v is not None]
        high = np.array([v["max"] for v in values if v is not None]) - middle
        axes.bar(
            np.array(at) + (k - (len(labels) - 1) / 2) * width, middle, width, label=label, yerr=[low, high],
            color=COLORS[k % len(COLORS)], hatch="//" if "plain" in label else None, error_kw={"linewidth": 0.8},
        )  # fmt: skip
    axes.axhline(25, color="black", linestyle="--", linewidth=0.8)
    axes.annotate("25 frames/s", (-0.49, 25.8), fontsize=8)
    axes.set_yscale("log")
    axes.set_ylabel("frames a second, file to alerts")
    axes.set_xticks(range(len(models)), [m["name"] for m in models], fontsize=8)
    axes.legend(fontsize=8, ncols=2)
    figure.savefig(path, metadata={"Date": None})


def _label(row: Mapping[str, Any]) -> str:
    """Return a bar's label; "" for rows that are not drawn."""
    return {"end to end": row["engine"], "plain loop": f"plain loop, {row['engine']}"}.get(row["stage"], "")


def _limit_plot(report: Mapping[str, Any], path: Path) -> None:
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    models, limits = report["models"], report["limits"]
    figure = Figure(figsize=(11, 4.5), layout="constrained")
    FigureCanvasSVG(figure)
    axes = figure.subplots()
    for k, precision in enumerate(PRECISIONS):
        rates = [
            next(
                (r["gflops"] for r in m["rows"] if (r["stage"], r["engine"]) == ("infer", f"openvino {precision}")),
                None,
            )
            for m in models
        ]
        at = [i for i, r in enumerate(rates) if r is not None]
        axes.bar(
            np.array(at) + (k - 1) * 0.27, [r for r in rates if r is not None], 0.27, color=COLORS[k], label=precision
        )
        limit = limits[f"convolution_{precision}_gflops"]
        if limit is not None:
            axes.axhline(limit, color=COLORS[k], linestyle="--", linewidth=1)
            axes.annotate(
                f"1×1 convolution, {precision}", (len(models) - 0.5, limit), fontsize=8, ha="right", va="bottom"
            )
    axes.set_ylabel("GFLOP/s of inference, OpenVINO")
    axes.set_xticks(range(len(models)), [m["name"] for m in models], fontsize=8)
    axes.legend(fontsize=8)
    figure.savefig(path, metadata={"Date": None})


def write_into(path: Path, text: str) -> None:
    """Replace the text between the two marks of a page.

    Raises:
        ValueError: If the page does not have both marks, once each and in order.
    """
    page = path.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"{path} must contain {BEGIN} and then {END}, once each")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{text.rstrip()}\n{END}{after}", encoding="utf-8")


def end(main: Callable[[], int]) -> NoReturn:
    """Run a script's main function and end with its exit code, or with one of streamad's errors as a message."""
    try:
        sys.exit(main())
    except StreamadError as error:
        sys.exit(f"error: {error}" + (f"\n  hint: {error.hint}" if error.hint else ""))
