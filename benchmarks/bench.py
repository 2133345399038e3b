"""Speed, cameras and memory of every available model and engine, in one interleaved run of limited length.

    make bench          or: python benchmarks/bench.py --json runs/bench.json
    make bench-docs     or: python benchmarks/bench.py --from runs/bench.json --write-docs

The contenders of a model take turns, round after round after a warm-up round, so that changes of the machine's load
affect all of them. The report gives minimum, median and maximum. The budget determines the number of rounds. Nothing
here is a test: times are reported, not asserted.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from bench_cameras import most_cameras
from bench_contenders import Contender, Subject, padding_of_live_batches
from bench_machine import (
    SETTLE_SECONDS,
    convolution_openvino,
    copy_bandwidth,
    describe,
    engine_threads,
    gemm_numpy,
    gemm_openvino,
    time_batches,
)
from bench_report import end, markdown, plots, spread, write_into
from bench_workload import FPS, HEIGHT, MODELS, WIDTH, Workload, make_video

from streamad import __version__
from streamad.bundle import Bundle, load_bundle
from streamad.engines.base import BATCH_SIZES
from streamad.engines.flops import count_flops
from streamad.files import write_json

ROOT = Path(__file__).resolve().parent.parent
TURN_SECONDS = 0.4
"""Time that a contender runs in one round."""
LEAST_ROUNDS, MOST_ROUNDS = 2, 7
FOR_SPEED = 0.58
"""Share of the budget for the contenders; the rest is for cameras and memory."""
MEMORY_SECONDS = 2.0


def measure_speed(bundle: Bundle, workload: Workload, scratch: Path, deadline: float) -> dict[str, Any]:
    """Run all contenders of one model in rounds until the deadline, at least two rounds."""
    with ExitStack() as stack:
        subject = Subject(bundle, workload.path, stack)
        rows = subject.contenders(scratch)
        gemm: list[float] = []
        rounds, last = -1, 0.0  # the first round is a warm-up
        while rounds < LEAST_ROUNDS or (rounds < MOST_ROUNDS and time.monotonic() + last < deadline):
            began = time.monotonic()
            gemm.append(gemm_numpy())
            for row in rows:
                time.sleep(SETTLE_SECONDS)
                rate = row.turn(TURN_SECONDS, keep=rounds >= 0)
                say(f"  {bundle.name} round {rounds + 1}: {row.stage} {row.engine}: {rate:.1f} frames/s")
            rounds, last = rounds + 1, time.monotonic() - began
        cells = bundle.manifest.tiling.kind == "cells"
        answer = {
            "name": bundle.name,
            "detector": bundle.manifest.detector,
            "tiles_per_frame": subject.per_frame,
            "rounds": rounds,
            "gemm_gflops": spread(gemm),
            "threads": engine_threads(bundle, "throughput" if cells else "latency"),
            "live_padding": padding_of_live_batches(subject.tiles[False], BATCH_SIZES) if cells else None,
            "rows": [described(row, rows, bundle, subject.per_frame) for row in rows],
        }
    return answer


def described(row: Contender, rows: Sequence[Contender], bundle: Bundle, per_frame: float) -> dict[str, Any]:
    """Return one contender's results. Ratios to the papers' loop are computed round by round."""
    paper = next((r for r in rows if (r.stage, r.engine) == ("plain loop", "torch fp32")), None)
    ratios = [] if paper is None else [ours / theirs for ours, theirs in zip(row.rates, paper.rates, strict=True)]
    middle = float(np.median(row.rates))
    gflop = None
    if row.stage == "infer":
        streams = "carried" in row.what and bundle.streaming_path is not None
        path = bundle.streaming_path if streams else bundle.onnx_path
        assert path is not None
        gflop = count_flops(path) / 1e9 * (1 if streams else per_frame)
    return {
        "stage": row.stage,
        "engine": row.engine,
        "what": row.what,
        "frames_per_second": spread(row.rates),
        "cpu_ms_per_frame": 1e3 * float(np.median(row.costs)),
        "gflop_per_frame": gflop,
        "gflops": None if gflop is None else gflop * middle,
        "ratio_to_papers_loop": spread(ratios) if ratios else None,
    }


def measure_cameras(bundle: Bundle, found: dict[str, Any], workload: Workload, deadline: float) -> list[dict[str, Any]]:
    """Find the maximum number of cameras for OpenVINO in float32 and, if the model supports it, in 8 bits."""
    answer = []
    speeds = {r["engine"]: r["frames_per_second"]["median"] for r in found["rows"] if r["stage"] == "end to end"}
    for precision in ("fp32", "int8"):
        speed = speeds.get(f"openvino {precision}")
        if speed is not None:
            engine = {"name": "openvino", "precision": precision}
            held = most_cameras(str(bundle.path), engine, workload.path, FPS, speed, deadline)
            numbers = ", ".join(f"{t['cameras']} at {t['slowest']:.1f} frames/s" for t in held["tried"])
            say(f"  {found['name']} {precision}: cameras: {numbers or 'no time left'}")
            answer.append({"engine": f"openvino {precision}", **held})
    return answer


def measure_memory(bundle: Bundle, found: dict[str, Any], workload: Workload) -> list[dict[str, Any]]:
    """Measure the resident memory of a process that scores the video without torch."""
    answer = []
    script = Path(__file__).with_name("bench_memory.py")
    for precision in ("fp32", "int8"):
        if any(r["engine"] == f"openvino {precision}" for r in found["rows"]):
            done = subprocess.run(
                [sys.executable, str(script), str(workload.path), str(bundle.path), precision, "--seconds", str(MEMORY_SECONDS)],
                stdout=subprocess.PIPE, text=True, check=True, env=os.environ | {"PYTHONPATH": str(ROOT)},
            )  # fmt: skip
            answer.append({"engine": f"openvino {precision}", **json.loads(done.stdout.splitlines()[-1])})
    return answer


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Run all measurements."""
    started = time.monotonic()
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "version": __version__,
        "budget_seconds": options.budget,
        "busy": options.busy,
        "machine": describe(),
        "limits": {
            "gemm_numpy_gflops": gemm_numpy(),
            "gemm_openvino_gflops": gemm_openvino(),
            **{f"convolution_{p}_gflops": convolution_openvino(p) for p in ("fp32", "bf16", "int8")},
            "copy_gbytes": copy_bandwidth(),
        },
        "models": [],
    }
    bundles = [load_bundle(name) for name in options.models]
    with tempfile.TemporaryDirectory(prefix="streamad-bench-") as temporary:
        scratch = Path(temporary)
        workload = make_video(scratch, options.frames)
        report["workload"] = {
            "source": workload.source, "frames": workload.frames, "width": WIDTH, "height": HEIGHT,
        }  # fmt: skip
        say(f"video: {workload.source}, {workload.frames} frames")
        speed_ends = started + FOR_SPEED * options.budget
        # A round of the window networks takes twice as long as one of the others.
        weights = [2 if bundle.streaming_path is not None else 1 for bundle in bundles]
        for number, bundle in enumerate(bundles):
            now = time.monotonic()
            share = (speed_ends - now) * weights[number] / sum(weights[number:])
            report["models"].append(measure_speed(bundle, workload, scratch, now + share))
        for number, (bundle, found) in enumerate(zip(bundles, report["models"], strict=True)):
            found["memory"] = measure_memory(bundle, found, workload)
            now = time.monotonic()
            share = (started + options.budget - now) / (len(bundles) - number)
            found["cameras"] = measure_cameras(bundle, found, workload, now + share)
        cells = [b for b in bundles if b.manifest.tiling.kind == "cells"][:1]
        if cells and time.monotonic() < started + options.budget:
            report["batches"] = {"model": cells[0].name, "times": [asdict(b) for b in time_batches(cells[0], None, 5)]}
    report["seconds"] = round(time.monotonic() - started)
    return report


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=list(MODELS), metavar="MODEL", help="bundles; default: one per form"
    )
    parser.add_argument("--budget", type=float, default=450, help="approximate duration in seconds (default 450)")
    parser.add_argument("--frames", type=int, default=1200, help="number of frames in the video (default 1200)")
    parser.add_argument("--busy", action="store_true", help="note in the report that the machine had other work")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results as JSON")
    parser.add_argument(
        "--from", type=Path, dest="source", metavar="FILE", help="use these results instead of measuring"
    )
    parser.add_argument(
        "--write-docs", action="store_true", help="write table and plots of docs/results/performance.md"
    )
    return parser.parse_args(arguments)


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Measure, or read results, and print the report."""
    options = parse()
    logging.getLogger("streamad").setLevel(logging.ERROR)
    report = json.loads(options.source.read_text(encoding="utf-8")) if options.source is not None else run(options)
    if options.json is not None:
        write_json(options.json, report)
    text = markdown(report)
    print(text)
    if options.write_docs:
        write_into(ROOT / "docs" / "results" / "performance.md", text)
        write_json(ROOT / "docs" / "results" / "performance.json", report)
        plots(report, ROOT / "docs" / "results" / "figures")
    return 0


if __name__ == "__main__":
    end(main)
