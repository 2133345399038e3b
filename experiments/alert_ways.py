"""How long a score must stay high, and how far above normal video: the panel's events and false alerts by alert policy.

    python experiments/alert_ways.py [--only ped1 umn3] [--out runs/alert_ways]

Fits the motion detector to the normal videos of every camera of the panel (see benchmarks/panel.py) and scores its watched
videos, once. Applies policies with one and with two ways to open an alert to these scores, each calibrated on the normal
scores as `streamad learn` does. Prints the tables of docs/results/motion.md, and the policy that the other scenes would
select for each scene.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "benchmarks"))
from panel import Camera, load_cameras
from panel_metrics import WatchedVideo, measure

from streamad.alerts import AlertStateMachine
from streamad.calibration import AlertPolicySpec, calibrate
from streamad.calibration import calibration as limits
from streamad.detectors.motion.training import fit_motion_bundle
from streamad.files import write_json
from streamad.inference import open_model
from streamad.sources import FileSpec
from streamad.training.plan import TrainingPlan

LEVELS = (1.1, 1.2, 1.3)
ONE_WAY, SLOW, FAST = (0.12, 0.5, 0.8, 1.0), (0.5, 0.8, 1.0, 1.2), (0.0, 0.12, 0.2)
Found = dict[str, tuple[int, int, list[float | None]]]
"""By camera: events found, false alerts, and the delay of every event (None: missed)."""


def scored(camera: Camera, out: Path) -> dict[str, npt.NDArray[Any]]:
    """Return the normal scores, and (index, seconds, score) of every frame of the watched videos; kept in `out`."""
    path = out / f"{camera.name}.npz"
    if not path.exists():
        shutil.rmtree(out / camera.name, ignore_errors=True)
        plan = TrainingPlan("watched", "own video", "not stated", camera.fps, "motion")
        fit = fit_motion_bundle(plan, [FileSpec(path=video) for video in camera.normal], out / camera.name)
        arrays = {f"normal{k}": scores for k, scores in enumerate(fit.scores)} | {"fps": np.array(fit.fps)}
        with open_model(fit.bundle, hint="throughput") as model:
            for video in camera.watched:
                rows = [(s.index, s.pts_seconds, s.score) for s in model.score(video)]
                arrays[f"watched {video.stem}"] = np.array(rows)
        np.savez(path, **arrays)
        print(f"{camera.name}: scored", file=sys.stderr)
    with np.load(path) as file:
        return {name: file[name] for name in file.files}


def watch(camera: Camera, arrays: dict[str, npt.NDArray[Any]], rules: AlertPolicySpec) -> dict[str, Any]:
    """Calibrate on the normal scores and apply the policy to the watched videos; return what `measure` does."""
    normal = [scores for name, scores in arrays.items() if name.startswith("normal")]
    made = calibrate(
        normal, fps=float(arrays["fps"]), model="watched", model_sha256="0" * 64, source="panel", rules=rules
    )
    videos = []
    for video in camera.watched:
        rows = arrays[f"watched {video.stem}"]
        labels = camera.labels_of(video, int(rows[-1, 0]) + 1)
        scores, alerts = np.full(len(labels), np.nan), np.zeros(len(labels), bool)
        machine = AlertStateMachine(rules.of_calibration(made), camera.name)
        for index, seconds, score in rows:
            machine.update(int(index), seconds, score)
            if index < len(labels):
                scores[int(index)], alerts[int(index)] = score, machine.state == "open"
        videos.append(WatchedVideo(scores, alerts, labels))
    return measure(videos, camera.fps)


def total(found: Found, cameras: Iterable[str]) -> tuple[int, int]:
    """Return the number of events found and of false alerts over some cameras."""
    given = [found[camera] for camera in cameras]
    return sum(events for events, _, _ in given), sum(wrong for _, wrong, _ in given)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="cameras, or what their names start with")
    parser.add_argument("--out", type=Path, default=Path("runs/alert_ways"), metavar="DIR")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    cameras = load_cameras(options.only)
    arrays = {camera.name: scored(camera, options.out) for camera in cameras}
    policies = [(seconds, seconds) for seconds in ONE_WAY] + [(f, s) for f, s in product(FAST, SLOW) if f < s]
    table: dict[tuple[float, float, float], Found] = {}
    for level, (fast, slow) in product(LEVELS, policies):
        rules = AlertPolicySpec(min_duration_seconds=slow, fast_duration_seconds=fast)
        limits.HIGHEST_LEVEL = level
        table[level, fast, slow] = {}
        for camera in cameras:
            result = watch(camera, arrays[camera.name], rules)
            table[level, fast, slow][camera.name] = result["found"], result["wrong"], result["delays_seconds"]
    names = [camera.name for camera in cameras]
    print("| held for | " + " | ".join(f"{level:g} times" for level in LEVELS) + " |\n|---|" + "---|" * len(LEVELS))
    for fast, slow in policies:
        cells = []
        for level in LEVELS:
            found = table[level, fast, slow]
            delays = [d for _, _, all_delays in found.values() for d in all_delays if d is not None]
            events, wrong = total(found, names)
            cells.append(f"{events}, {wrong} false, {np.median(delays):.2f} s")
        words = f"{slow:g} s" if fast == slow else f"{fast:g} or {slow:g} s"
        print(f"| {words} | " + " | ".join(cells) + " |")
    scenes = {name.split("-")[0] for name in names}
    left_out = []
    for scene in sorted(scenes):
        own = [name for name in names if name.split("-")[0] == scene]
        others = [name for name in names if name not in own]
        fewest = min(total(found, others)[1] for found in table.values())
        quiet = [key for key in table if total(table[key], others)[1] == fewest]
        best = max(quiet, key=lambda key: (total(table[key], others)[0], key[0]))
        left_out.append({"scene": scene, "chosen": best, "found": total(table[best], own)})
        print(f"{scene}: the other scenes choose {best}: events and false alerts here {total(table[best], own)}")
    write_json(options.out / "left_out.json", left_out)


if __name__ == "__main__":
    main()
