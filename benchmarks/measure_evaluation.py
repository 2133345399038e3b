"""Cost of an evaluation beyond its scoring, and whether its memory grows with the number of frames.

    python benchmarks/measure_evaluation.py time --data /data/ped2 --rounds 5
    python benchmarks/measure_evaluation.py memory 2000 20000

`time`: `streamad evaluate ped2` (decoding, scoring, metrics, localization, report; the command as users start it)
compared with a process that scores the same clips with the same code and writes only their scores. Rounds are
interleaved, so that the machine's load affects both, and the minima over the rounds are compared. CPU seconds are shown
too, because they depend less on that load.

`memory`: maximum resident memory of an evaluation with one worker, of one test clip of the given length with moving
shapes and pixel masks.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

SCORING = """
import sys
from pathlib import Path
from time import perf_counter
from streamad.bundle import load_bundle
from streamad.evaluation.datasets import load_dataset
from streamad.workflows.evaluate_scoring import score_dataset
bundle, data = load_bundle(sys.argv[1]), load_dataset("ped2", Path(sys.argv[2]))
started = perf_counter()
score_dataset(data, bundle, Path(sys.argv[3]))
print(perf_counter() - started)
"""


def run(*arguments: str) -> tuple[float, float, str]:
    """Run a Python process; return (wall seconds, CPU seconds, standard output)."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run([sys.executable, *arguments], check=True, stdout=subprocess.PIPE, text=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return wall, cpu, done.stdout


def measure_time(model: str, data: Path, rounds: int) -> None:
    """Print both times of each round and the ratios of their minima."""
    rows = []
    for number in range(rounds):
        with tempfile.TemporaryDirectory() as folder:
            wall, cpu, inside = run("-c", SCORING, model, str(data), f"{folder}/a")
            evaluation, evaluation_cpu, _ = run(
                "-m", "streamad", "evaluate", "ped2", "--model", model, "--data", str(data), "--out", f"{folder}/b"
            )
        rows.append((float(inside), wall, cpu, evaluation, evaluation_cpu))
        print(
            f"round {number + 1}: scoring {rows[-1][0]:.2f} s, its process {wall:.2f} s ({cpu:.2f} s of CPU); "
            f"evaluation {evaluation:.2f} s ({evaluation_cpu:.2f} s of CPU)",
            flush=True,
        )
    inside, wall, cpu, evaluation, evaluation_cpu = np.min(rows, axis=0)
    print(f"evaluation / scoring, process by process: {evaluation / wall:.2f}; CPU seconds: {evaluation_cpu / cpu:.2f}")
    print(f"evaluation's process / scoring alone, without start and loading: {evaluation / inside:.2f}")


def write_long_clip(root: Path, frames: int) -> None:
    """Write a data set with one test clip, with JPEG frames and .npy masks, one frame at a time."""
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
    import cv2
    from bundle_support import moving_shapes

    for split, count in (("training", 100), ("testing", frames)):
        folder = root / split / "frames" / "01"
        folder.mkdir(parents=True)
        for t, picture in enumerate(moving_shapes(count, seed=1)):
            cv2.imwrite(str(folder / f"{t:06d}.jpg"), picture)
    height, width = next(iter(moving_shapes(1, seed=1))).shape
    labels = np.zeros(frames, np.uint8)
    for name in ("frame_labels", "pixel_masks"):
        (root / "testing" / name).mkdir()
    masks = np.lib.format.open_memmap(
        root / "testing" / "pixel_masks" / "01.npy", "w+", np.uint8, (frames, height, width)
    )
    for first in range(50, frames, 200):
        labels[first : first + 60] = 1
        masks[first : first + 60, 20:60, 30:90] = 1
    np.save(root / "testing" / "frame_labels" / "01.npy", labels)


def measure_memory(model: str, lengths: list[int]) -> None:
    """Print the maximum resident memory for each length, each measured in a separate process."""
    for frames in lengths:
        with tempfile.TemporaryDirectory() as folder:
            root = Path(folder) / "long"
            write_long_clip(root, frames)
            program = (
                "import resource, sys; from streamad.cli.main import main; code = 0\n"
                "try: main()\n"
                "except SystemExit as end: code = end.code\n"
                "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)\n"
                "sys.exit(code)"
            )
            wall, _, out = run(
                "-c", program, "evaluate", str(root), "--model", model, "--out", f"{folder}/out", "--workers", "1"
            )
            result = json.loads((Path(folder) / "out" / "result.json").read_text())
        kilobytes = int(out.split()[-1])
        scored = result["protocols"][0]["frames"]
        print(f"{frames} frames ({scored} scored): {kilobytes / 1024:.0f} MiB, {wall:.0f} s", flush=True)


def main() -> None:
    """Run the command line; see the module docstring."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="what", required=True)
    timed = commands.add_parser("time")
    timed.add_argument("--model", default="adacl-motion-ped2")
    timed.add_argument("--data", type=Path, required=True, help="folder of Ped2, or its parent")
    timed.add_argument("--rounds", type=int, default=5)
    memory = commands.add_parser("memory")
    memory.add_argument("--model", default="adacl-ped2")
    memory.add_argument("frames", type=int, nargs="+")
    options = parser.parse_args()
    if options.what == "time":
        measure_time(options.model, options.data, options.rounds)
    else:
        measure_memory(options.model, options.frames)


if __name__ == "__main__":
    main()
