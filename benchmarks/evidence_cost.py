"""Cost of evidence: processor time of a whole watch with and without it, in one interleaved run.

    python benchmarks/evidence_cost.py --json runs/evidence.json

A rendered video with an event every ten seconds is watched from file to events, alternately with and without evidence,
so that changes of the machine's load affect both. Measured is the processor time of the main process and of the decoder,
which writes clips and decodes snapshots. The first round is a warm-up.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import tempfile
from pathlib import Path

import av
import numpy as np

from streamad.config import parse_config
from streamad.files import write_json
from streamad.formatting import number
from streamad.service import watch

FPS, SECONDS, SIZE = 15, 60, (640, 480)


def make_video(path: Path) -> Path:
    """A textured background, over which a square moves for two of every ten seconds."""
    width, height = SIZE
    background = np.random.default_rng(3).integers(90, 130, (height, width), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "veryfast", "g": str(2 * FPS)})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        for k in range(FPS * SECONDS):
            picture = background.copy()
            if 6 * FPS <= k % (10 * FPS) < 8 * FPS:
                x = 40 + 12 * (k % (10 * FPS) - 6 * FPS)
                picture[200:290, x : x + 90] = 230
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="gray8")))
        container.mux(stream.encode())
    return path


def spent() -> float:
    """Processor time of this process and of its ended children, seconds."""
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


def turn(folder: Path, video: Path, model: str, threshold: float, *, evidence: bool) -> tuple[float, int]:
    """Watch the video; returns seconds of processor time and the number of events."""
    config = parse_config(
        json.dumps(
            {
                "model": model,
                "cameras": [{"id": "gate", "source": {"type": "file", "path": str(video)}, "threshold": threshold}],
                "rules": {"cooldown_seconds": 0},
                "events": {"path": str(folder / "events.sqlite")},
                "evidence": {"enabled": evidence, "folder": str(folder / "evidence"), "min_free_gigabytes": 0},
                "history": {"folder": str(folder / "scores"), "learn": False, "tighten": False},
                "outbox": {"folder": str(folder / "outbox")},
                "web": {"enabled": False},
            }
        )
    )
    before = spent()
    (summary,) = watch(config, once=True, message=lambda _: None).cameras
    return spent() - before, summary.alerts


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="adacl-motion-ped2")
    parser.add_argument("--threshold", type=float, default=0.5)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as name:
        video = make_video(Path(name) / "video.mp4")
        for k in range(arguments.rounds + 1):
            for evidence in (True, False) if k % 2 else (False, True):
                folder = Path(name) / f"{k}-{evidence}"
                cost, events = turn(folder, video, arguments.model, arguments.threshold, evidence=evidence)
                print(f"round {k}, evidence {evidence}: {cost:.2f} s of processor time, {events} events", flush=True)
                if k:
                    seconds[evidence].append(cost)
    ratios = [with_ / without for with_, without in zip(seconds[True], seconds[False], strict=True)]
    median = float(np.median(ratios))
    print(f"with evidence / without: median {number(median)}, from {number(min(ratios))} to {number(max(ratios))}")
    if arguments.json:
        write_json(arguments.json, {"ratios": ratios, "seconds": {"with": seconds[True], "without": seconds[False]}})
    return 0


if __name__ == "__main__":
    sys.exit(main())
