"""The report of `tools/bench.py`: text, Markdown for docs/performance.md, and the medians behind both."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
SPEEDUP_GOAL, OVERHEAD_GOAL = 4.0, 1.3


def spread(values: Sequence[float]) -> dict[str, float]:
    """Minimum, median and maximum."""
    return {"min": min(values), "median": float(np.median(values)), "max": max(values)}


def ratios(seconds: Mapping[str, Sequence[float]], frames: Mapping[str, int]) -> dict[str, dict[str, float]]:
    """The two goals, round by round, so that a load that came and went falls on both sides of a ratio.

    Args:
        seconds: contender → wall seconds of each round.
        frames: contender → frames of a run.
    """
    rate = {key: np.array([frames[key] / s for s in found]) for key, found in seconds.items()}
    slower = np.minimum(rate["c"], rate["d"])
    plain = np.maximum(rate["a"], rate["a1"])
    return {
        "b/a": spread((rate["b"] / plain).tolist()),
        "b/e": spread((rate["b"] / rate["e"]).tolist()),
        "slower(c,d)/b": spread((slower / rate["b"]).tolist()),
    }


def markdown(report: Mapping[str, Any]) -> str:
    """The whole report as Markdown."""
    machine, workload = report["machine"], report["workload"]
    lines = [
        f"Measured {report['date']} with streamad {report['version']} on {machine['cpu']}, {machine['cpus']} CPUs, "
        f"load average before the run {machine['load_average'][0]}. Python {machine['python']}, OpenVINO "
        f"{machine['openvino']}, torch {machine.get('torch') or 'not installed'} "
        f"({machine.get('torch_threads', 0)} threads), OpenCV {machine['opencv']} ({machine['opencv_threads']} "
        f"threads), one decoder thread.",
        "",
        f"Video: {workload['source']}; {workload['frames']} frames of {workload['width']}×{workload['height']}, H.264.",
        "",
        "| the machine itself | |",
        "|---|---|",
        f"| matrix product, numpy, float32 | {report['gemm_numpy_gflops']:.0f} GFLOP/s |",
        f"| matrix product, OpenVINO, float32 | {report['gemm_openvino_gflops']:.0f} GFLOP/s |",
        f"| memory copy, one thread, read + written | {report['copy_gbytes']:.1f} GB/s |",
    ]
    for model in report["models"]:
        lines += ["", *_model(model, report["rounds"])]
    return "\n".join(lines) + "\n"


def _model(model: Mapping[str, Any], rounds: int) -> list[str]:
    threads = model["engine_threads"]
    lines = [
        f"### {model['name']} ({model['what']}, {model['channels']} channel{'s' if model['channels'] > 1 else ''})",
        "",
        f"{model['cells_per_frame']:.1f} of {model['grid_cells']} cells move in a frame. A cell costs "
        f"{model['mflop_per_cell']:.1f} MFLOP. OpenVINO: {threads['threads']} threads, {threads['streams']} streams. "
        f"{rounds} rounds, interleaved; minimum, median and maximum of the rounds.",
        "",
        "| | contender | frames | frames/s: min | median | max | CPU ms a frame |",
        "|---|---|---|---|---|---|---|",
    ]
    for row in model["contenders"]:
        rate = row["frames_per_second"]
        lines.append(
            f"| {row['key']} | {row['name']} | {row['frames']} | {rate['min']:.0f} | **{rate['median']:.0f}** | "
            f"{rate['max']:.0f} | {row['cpu_ms_per_frame']:.2f} |"
        )
    found = model["ratios"]
    lines += [
        "",
        "| ratio | goal | min | median | max |",
        "|---|---|---|---|---|",
        _ratio("speed of b over the faster of a and a1", f"≥ {SPEEDUP_GOAL:g}", found["b/a"]),
        _ratio("time of b over the slower of c and d", f"≤ {OVERHEAD_GOAL:g}", found["slower(c,d)/b"]),
        _ratio("speed of b over e", "–", found["b/e"]),
        "",
        f"Inference alone reaches {model['engine_gflops']:.0f} GFLOP/s. A live camera alone makes one batch of each frame, "
        f"padded to the engine's next static size: {model['live_padding']:.2f} times the cells that move.",
        "",
        "| cells in a batch | static shape, ms | dynamic shape, ms | eager torch, ms |",
        "|---|---|---|---|",
    ]
    by_size: dict[int, dict[str, float]] = {}
    for batch in model["batches"]:
        by_size.setdefault(batch["size"], {})[batch["form"]] = batch["milliseconds"]
    for size, forms in sorted(by_size.items()):
        cells = (f"{forms[form]:.2f}" if form in forms else "–" for form in ("static", "dynamic", "eager torch"))
        lines.append(f"| {size} | {' | '.join(cells)} |")
    if model["memory"]:
        lines += ["", "| frames scored | resident memory, MiB |", "|---|---|"]
        lines += [f"| {point['frames']} | {point['resident_mib']:.1f} |" for point in model["memory"]]
    return lines


def _ratio(name: str, goal: str, found: Mapping[str, float]) -> str:
    return f"| {name} | {goal} | {found['min']:.2f} | **{found['median']:.2f}** | {found['max']:.2f} |"


def write_into(path: Path, text: str) -> None:
    """Replace what stands between the two marks of a page.

    Raises:
        ValueError: the page does not have both marks, once each and in order.
    """
    page = path.read_text(encoding="utf-8")
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise ValueError(f"{path} must hold {BEGIN} and then {END}, once each")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    path.write_text(f"{before}{BEGIN}\n{text.rstrip()}\n{END}{after}", encoding="utf-8")
