"""Resident memory while scoring many frames, in a separate process.

    python benchmarks/bench_memory.py VIDEO MODEL PRECISION 2000 5000 10000 20000
    python benchmarks/bench_memory.py VIDEO MODEL PRECISION --seconds 4

Prints one JSON object per checkpoint. It needs only the base install, so torch is not included in the results.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

from streamad.calibration import AlertPolicySpec
from streamad.engines import EngineSpec
from streamad.inference import open_model
from streamad.inference.alerting import resolve_policy
from streamad.inference.reading import prefetched
from streamad.inference.session import Session
from streamad.sources import FileSpec, open_source

MANY = 10**9


def resident_bytes() -> int:
    """Return the resident memory of this process (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmRSS: resident memory can be measured only on Linux")


def main(video: str, model: str, precision: str, checkpoints: Sequence[int], seconds: float | None) -> None:
    """Score the video repeatedly; report at the checkpoints, or when the time is up."""
    spec = EngineSpec.model_validate({"name": "openvino", "precision": precision})
    with (
        open_model(model, spec, hint="throughput") as loaded,
        open_source(FileSpec(path=Path(video), loop=True), camera="bench") as source,
    ):
        # Use a threshold: a budget needs a calibration, and memory does not depend on the threshold.
        policy = resolve_policy(loaded.bundle, AlertPolicySpec(), camera="bench", threshold=0.5)
        session = Session(loaded, policy, camera="bench")
        frames = prefetched(islice(iter(source), checkpoints[-1] if checkpoints else MANY))
        started = time.monotonic()
        for number, _ in enumerate(session.run(frames), 1):
            over = seconds is not None and time.monotonic() - started >= seconds
            if number in checkpoints or over:
                print(json.dumps({"frames": number, "resident_mib": round(resident_bytes() / 2**20, 1)}), flush=True)
            if over:
                frames.close()
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("model")
    parser.add_argument("precision")
    parser.add_argument("checkpoints", nargs="*", type=int)
    parser.add_argument("--seconds", type=float)
    given = parser.parse_args()
    if not given.checkpoints and given.seconds is None:
        parser.error("specify checkpoints or --seconds")
    main(given.video, given.model, given.precision, sorted(given.checkpoints), given.seconds)
