"""Resident memory of the pipeline over many frames, in a process of its own.

    python tools/bench_memory.py VIDEO MODEL 2000 5000 10000 20000

One JSON object a checkpoint on standard output. It needs the base install alone, so torch is not in the figures.
"""

from __future__ import annotations

import json
import sys
from itertools import islice
from pathlib import Path

from streamad.alerts.spec import RuleSpec
from streamad.alerts.tracker import EventTracker
from streamad.bundle import combined_sha256
from streamad.pipeline import open_model
from streamad.pipeline.alerting import alert_settings
from streamad.pipeline.offline import pair_scores, prefetched
from streamad.sources import FileSpec, open_source


def resident_bytes() -> int:
    """Resident memory of this process (Linux)."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) * 1024
    raise OSError("/proc/self/status has no VmRSS: resident memory can be measured on Linux alone")


def main(video: str, model: str, checkpoints: list[int]) -> None:
    """Score the video over and over and report at the checkpoints."""
    with (
        open_model(model, hint="throughput") as loaded,
        open_source(FileSpec(path=Path(video), loop=True), camera="bench") as source,
    ):
        # A threshold: a budget needs a calibration, and the memory does not depend on where alerts begin.
        settings = alert_settings(loaded, RuleSpec(), camera="bench", threshold=0.5)
        scorer = loaded.scorer("bench")
        tracker = EventTracker(
            settings.rule("bench"),
            model=loaded.bundle.name,
            model_sha256=combined_sha256(loaded.bundle),
            box_of_cell=scorer.cell_box,
        )
        scores = pair_scores(prefetched(islice(iter(source), checkpoints[-1])), loaded, scorer)
        for number, (_, score) in enumerate(scores, 1):
            tracker.update(score.index, score.pts_seconds, score.score, score.heatmap)
            if number in checkpoints:
                print(json.dumps({"frames": number, "resident_mib": round(resident_bytes() / 2**20, 1)}), flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit("usage: bench_memory.py VIDEO MODEL FRAMES...")
    main(sys.argv[1], sys.argv[2], sorted(int(text) for text in sys.argv[3:]))
