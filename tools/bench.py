"""Speed and memory of streamad, as ratios in one interleaved run.

    make bench                       or: python tools/bench.py --rounds 5 --frames 1200

Contenders are run in rounds (a a1 b c d e t, a a1 b c …) after a warm-up, so that a change of the machine's load
falls on all of them; the report gives minimum, median and maximum. Nothing here is a test: times are read, not
asserted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from bench_contenders import Contender, contenders, dynamic_openvino, eager_network, prepare
from bench_machine import (
    SETTLE_SECONDS,
    copy_bandwidth,
    describe,
    engine_threads,
    gemm_numpy,
    gemm_openvino,
    time_batches,
)
from bench_report import markdown, ratios, spread, write_into
from bench_workload import HEIGHT, WIDTH, Workload, flop_of_cell, make_video, pick_bundles

from streamad import __version__
from streamad.alerts.spec import RuleSpec
from streamad.bundle import Bundle
from streamad.errors import StreamadError
from streamad.files import write_json
from streamad.pipeline import open_model
from streamad.pipeline.alerting import alert_settings

ROOT = Path(__file__).resolve().parent.parent
CHECKPOINTS = (2_000, 5_000, 10_000, 20_000)


def measure(
    bundle: Bundle, what: str, workload: Workload, options: argparse.Namespace, scratch: Path
) -> dict[str, Any]:
    """All figures of one model."""
    network, dynamic = eager_network(bundle), dynamic_openvino(bundle)
    with open_model(bundle, hint="throughput") as model:
        model.warm_up()
        # Without a calibration any threshold serves: the rule costs the same wherever it lies.
        given = None if bundle.calibration_path else 0.5
        settings = alert_settings(model, RuleSpec(), camera="bench", threshold=given)
        prepared = prepare(workload.path, model, workload.frames)
        rows = contenders(
            workload.path, model, settings, network, dynamic, prepared,
            slow_frames=options.slow_frames, scratch=scratch,
        )  # fmt: skip
        wall, cpu = run_rounds(rows, options.rounds)
    frames = {row.key: row.frames for row in rows}
    flop = flop_of_cell(bundle.manifest.input.channels)
    return {
        "name": bundle.name,
        "what": what,
        "channels": bundle.manifest.input.channels,
        "cells_per_frame": prepared.per_frame,
        "grid_cells": prepared.grid_cells,
        "live_padding": prepared.live_padding,
        "mflop_per_cell": flop / 1e6,
        "engine_gflops": prepared.cells * flop / spread(wall["d"])["median"] / 1e9,
        "engine_threads": engine_threads(bundle, "throughput"),
        "contenders": [
            {
                "key": row.key,
                "name": row.name,
                "frames": row.frames,
                "seconds": wall[row.key],
                "frames_per_second": spread([row.frames / s for s in wall[row.key]]),
                "cpu_ms_per_frame": 1e3 * spread(cpu[row.key])["median"] / row.frames,
            }
            for row in rows
        ],
        "ratios": ratios(wall, frames),
        "batches": [asdict(batch) for batch in time_batches(bundle, network)],
        "memory": memory(workload, bundle, options.memory_frames),
    }


def run_rounds(rows: Sequence[Contender], rounds: int) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Wall and CPU seconds of every contender in every round; one warm-up round is thrown away."""
    wall: dict[str, list[float]] = {row.key: [] for row in rows}
    cpu: dict[str, list[float]] = {row.key: [] for row in rows}
    for number in range(rounds + 1):
        for row in rows:
            time.sleep(SETTLE_SECONDS)
            seconds, busy = row.timed()
            label = f"round {number}/{rounds}" if number else "warm-up"
            print(f"  {label} {row.key}: {row.frames / seconds:8.1f} frames/s", file=sys.stderr, flush=True)
            if number:
                wall[row.key].append(seconds)
                cpu[row.key].append(busy)
    return wall, cpu


def memory(workload: Workload, bundle: Bundle, frames: int) -> list[dict[str, float]]:
    """Resident memory at the checkpoints up to `frames`, by a process that never imported torch."""
    checkpoints = [c for c in CHECKPOINTS if c < frames] + [frames] if frames else []
    if not checkpoints:
        return []
    script = Path(__file__).with_name("bench_memory.py")
    done = subprocess.run(
        [sys.executable, str(script), str(workload.path), str(bundle.path), *map(str, checkpoints)],
        stdout=subprocess.PIPE, text=True, check=True,
    )  # fmt: skip
    return [json.loads(line) for line in done.stdout.splitlines()]


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="bundle; default: adacl-motion-ped2 where it is, else untrained networks")
    parser.add_argument("--rounds", type=_positive, default=5, help="rounds after the warm-up (default 5)")
    parser.add_argument("--frames", type=_positive, default=1200, help="frames of the video (default 1200)")
    parser.add_argument(
        "--slow-frames", type=_positive, default=150, help="frames of a run of contenders a, a1 and e (default 150)"
    )
    parser.add_argument(
        "--memory-frames", type=int, default=CHECKPOINTS[-1], help="frames of the memory run, 0 for none (20000)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every figure as JSON")
    parser.add_argument(
        "--write-docs", action="store_true", help="put the report into docs/performance.md between its marks"
    )
    return parser.parse_args(arguments)


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"expected 1 or more, got {value}")
    return value


def main() -> int:
    """Run everything and print the report."""
    options = parse()
    report: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d"),
        "version": __version__,
        "rounds": options.rounds,
        "machine": describe(),
        "gemm_numpy_gflops": gemm_numpy(),
        "gemm_openvino_gflops": gemm_openvino(),
        "copy_gbytes": copy_bandwidth(),
        "models": [],
    }
    with tempfile.TemporaryDirectory(prefix="streamad-bench-") as temporary:
        scratch = Path(temporary)
        workload = make_video(scratch, options.frames)
        report["workload"] = {
            "source": workload.source, "frames": workload.frames, "width": WIDTH, "height": HEIGHT,
        }  # fmt: skip
        print(f"video: {workload.source}, {workload.frames} frames", file=sys.stderr)
        for bundle, what in pick_bundles(options.model, scratch):
            print(f"model: {bundle.name} ({what})", file=sys.stderr)
            report["models"].append(measure(bundle, what, workload, options, scratch))
    text = markdown(report)
    print(text)
    if options.json is not None:
        write_json(options.json, report)
    if options.write_docs:
        write_into(ROOT / "docs" / "performance.md", text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StreamadError as error:
        sys.exit(f"error: {error}" + (f"\n  what to do: {error.hint}" if error.hint else ""))
