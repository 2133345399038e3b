"""Cost of the frame-quality gate relative to scoring, for every model, in one interleaved run.

    python benchmarks/gate_cost.py --json runs/gate.json

Each model scores the video of `benchmarks/bench.py` from file to alerts, alternately with and without the gate, so that
changes of the machine's load affect both. In turns with the gate, the processor time of its thread inside the gate is
measured, with the caches as scoring leaves them. It is printed as a share of the processor time of all threads in the
neighboring turn without the gate. The gate has seen the video once before, as on a camera that has run for some
minutes. The first round is a warm-up.
"""

from __future__ import annotations

import argparse
import copy
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import numpy as np
from bench_contenders import LEAD
from bench_workload import MODELS, Workload, make_video

from streamad.calibration import AlertPolicy, AlertPolicySpec
from streamad.detectors import CameraScorer
from streamad.engines import EngineSpec
from streamad.errors import BundleError, EngineError
from streamad.files import write_json
from streamad.frame import Frame
from streamad.inference import open_model
from streamad.inference.alerting import resolve_policy
from streamad.inference.gated_scorer import GatedScorer
from streamad.inference.model import Model
from streamad.inference.reading import prefetched
from streamad.inference.session import Session
from streamad.sources import FileSpec, open_source
from streamad.sources.quality.gate import QualityGate, Verdict

PRECISIONS = ("fp32", "bf16", "int8")


class CountedGate(QualityGate):
    """A gate that measures the processor time of its checks, seconds, and counts the frames that it rejects."""

    spent = 0.0
    held = 0

    def check(self, frame: Frame) -> Verdict:
        before = time.thread_time()
        verdict = super().check(frame)
        self.spent += time.thread_time() - before
        self.held += verdict.reason is not None
        return verdict


def turn(
    model: Model, policy: AlertPolicy, warm: CameraScorer, gate: CountedGate | None, path: Path, seconds: float
) -> tuple[int, float]:
    """Score the video for a time, after its first frames; return (frames, processor seconds of all threads)."""
    scorer: CameraScorer = copy.deepcopy(warm)
    if gate is not None:
        scorer = GatedScorer(scorer, gate)
    session = Session(model, policy, camera="bench", scorer=scorer)
    count = 0
    with open_source(FileSpec(path=path), camera="bench") as source:
        frames = iter(source)
        for frame in islice(frames, LEAD):
            if gate is not None:
                gate.check(frame)
        if gate is not None:
            gate.spent = 0.0
        began, spent = time.perf_counter(), time.process_time()

        def until() -> Iterator[Frame]:
            nonlocal count
            for frame in frames:
                if time.perf_counter() - began >= seconds and count:
                    return
                count += 1
                yield frame

        with closing(prefetched(until())) as ahead:
            for _ in session.run(ahead):
                pass
        spent = time.process_time() - spent
    return count, spent


def measure(
    name: str, precision: str, workload: Workload, known: CountedGate, rounds: int, seconds: float
) -> dict[str, object] | None:
    """Measure one model in one precision; None if it does not have that precision."""
    spec = EngineSpec.model_validate({"name": "openvino", "precision": precision})
    try:
        model = open_model(name, spec, hint="throughput")
    except (BundleError, EngineError):
        return None
    with model:
        model.warm_up()
        warm = model.scorer("bench")
        given = None if model.bundle.calibration_path else 0.5
        policy = resolve_policy(model.bundle, AlertPolicySpec(), camera="bench", threshold=given)
        with open_source(FileSpec(path=workload.path), camera="bench") as source:
            for frame in islice(source, LEAD):
                warm.preprocess(frame)
        rows, held = [], 0
        for number in range(rounds + 1):
            gate = copy.deepcopy(known)
            plain = turn(model, policy, warm, None, workload.path, seconds)
            gated = turn(model, policy, warm, gate, workload.path, seconds)
            held += gate.held
            if number:
                rows.append((plain[1] / plain[0], gate.spent / gated[0], gated[1] / gated[0]))
    without, gates, together = np.array(rows).T
    return {
        "model": name, "precision": precision, "scoring_ms": 1e3 * float(np.median(without)),
        "gate_ms": 1e3 * float(np.median(gates)), "share": [float(v) for v in np.sort(gates / without)],
        "ratio": [float(v) for v in np.sort(together / without)], "held": held,
    }  # fmt: skip


def main() -> int:
    """Measure all models and print a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=list(MODELS), metavar="MODEL", help="bundles")
    parser.add_argument("--rounds", type=int, default=7, help="measured rounds (default 7)")
    parser.add_argument("--seconds", type=float, default=2.0, help="duration of each turn (default 2)")
    parser.add_argument("--frames", type=int, default=1200, help="number of frames in the video (default 1200)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results")
    given = parser.parse_args()
    found = []
    with tempfile.TemporaryDirectory(prefix="streamad-gate-") as folder:
        workload = make_video(Path(folder), given.frames)
        print(f"video: {workload.source}, {workload.frames} frames", file=sys.stderr)
        known = CountedGate()
        with open_source(FileSpec(path=workload.path), camera="bench") as source:
            for frame in source:
                known.check(frame)
        print("| model | precision | scoring, ms a frame | gate, ms | share | processor time with it |")
        print("|---|---|---|---|---|---|")
        for name in given.models:
            for precision in PRECISIONS:
                row = measure(name, precision, workload, known, given.rounds, given.seconds)
                if row is None:
                    continue
                found.append(row)
                low, share, high = (1e2 * float(np.quantile(np.array(row["share"]), q)) for q in (0, 0.5, 1))
                ratio = float(np.median(np.array(row["ratio"])))
                print(
                    f"| {name} | {precision} | {row['scoring_ms']:.2f} | {row['gate_ms']:.3f} | "
                    f"{share:.1f} % ({low:.1f} to {high:.1f}) | ×{ratio:.3f} |", flush=True,
                )  # fmt: skip
    if given.json is not None:
        write_json(given.json, {"workload": workload.source, "frames": workload.frames, "rows": found})
    return 0


if __name__ == "__main__":
    sys.exit(main())
