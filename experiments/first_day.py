"""False alerts of the first day: what minutes of normal video say of the normal video after them.

    python experiments/first_day.py [--seconds 600] [--parts 4] [--out runs/first_day] PLACE PLACE...

A PLACE is a video, of which the first seconds are learned and the rest is watched, or a folder of clips (videos, or
folders of pictures at 10 frames/s), of which every part is left out in turn and watched. All of it must be normal. Fits
the motion detector as `streamad learn` does, and prints the false alerts by how far above the highest normal score the
threshold may lie (`HIGHEST_LEVEL`): the second table of docs/results/motion.md, "How far above normal video".
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
from motion_forms import Described, by_surprise, described, fitted

from streamad.alerts import AlertStateMachine
from streamad.calibration import calibrate
from streamad.calibration import calibration as limits
from streamad.detectors.motion.fitting import SURPRISE_POWER, TOP_CELLS
from streamad.detectors.motion.layout import CLOSEST
from streamad.detectors.motion.scorer import RunningMean, frame_scores
from streamad.detectors.motion.training import cross_fitted_scores

LEVELS = (1.0, 1.1, 1.15, 1.2, 1.3, 1.5)
SUFFIXES = (".mp4", ".avi")


def part_of(video: Described, frames: npt.NDArray[np.bool_]) -> Described:
    """Return some of the frames."""
    return replace(
        video, index=video.index[frames], seconds=video.seconds[frames], counts=video.counts[frames],
        values=video.values[np.repeat(frames, video.counts)], clips=video.clips[frames],
    )  # fmt: skip


def false_alerts(normal: Described, watched: Described, fps: float) -> dict[float, int]:
    """Learn one part, watch the other; return the number of alerts by level."""
    fitting = fitted(normal, 17)

    def scores(video: Described) -> npt.NDArray[np.float32]:
        away = by_surprise(fitting, video, fitting.distances(video), power=SURPRISE_POWER)
        return frame_scores(np.maximum(away, np.float32(CLOSEST)), video.counts, TOP_CELLS)

    cross = cross_fitted_scores(normal.clips, normal.seconds, scores(normal), fps)
    raw, found = scores(watched), {}
    for level in LEVELS:
        limits.HIGHEST_LEVEL = level
        made = calibrate(cross, fps=fps, model="learned", model_sha256="0" * 64, source="the part that was learned")
        found[level] = 0
        for clip in np.unique(watched.clips):
            machine, mean = AlertStateMachine(made.rules.of_calibration(made), "watched"), RunningMean()
            for k in np.flatnonzero(watched.clips == clip):
                score = mean.push(watched.seconds[k], float(raw[k]))
                change = machine.update(int(watched.index[k]), watched.seconds[k], score)
                found[level] += change is not None and change.kind == "opened"
    return found


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("places", nargs="+", type=Path, metavar="PLACE")
    parser.add_argument("--seconds", type=float, default=600.0, help="what is learned of a video")
    parser.add_argument("--parts", type=int, default=4, help="parts that the clips of a folder are divided into")
    parser.add_argument("--out", type=Path, default=Path("runs/first_day"), metavar="DIR")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    print(f"| watched | {' | '.join(f'{level:g} times' for level in LEVELS)} |\n|---|{'---|' * len(LEVELS)}")
    for place in options.places:
        clips = sorted(c for c in place.iterdir() if c.is_dir() or c.suffix in SUFFIXES) if place.is_dir() else [place]
        video = described(clips, options.out)
        fps = 1.0 / float(np.median(np.diff(video.seconds)))
        number = video.clips * options.parts // len(clips)
        chosen = [number == k for k in range(options.parts)] if place.is_dir() else [video.seconds >= options.seconds]
        for k, watched in enumerate(chosen):
            name = f"{place.name}, part {k + 1}" if place.is_dir() else place.stem
            if not (watched.any() and video.counts[~watched].any()):
                print(f"| {name} | {'– | ' * len(LEVELS)}")
                continue
            found = false_alerts(part_of(video, ~watched), part_of(video, watched), fps)
            minutes = watched.sum() / fps / 60
            print(f"| {name}, {minutes:.1f} min | {' | '.join(str(found[level]) for level in LEVELS)} |", flush=True)


if __name__ == "__main__":
    main()
