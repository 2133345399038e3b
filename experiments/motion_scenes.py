"""The motion detector on rendered scenes with known truth; each seed is a different place.

    python experiments/motion_scenes.py --out FOLDER --seeds 11,12

For each seed, a scene is rendered (four normal clips of 24 s, one test video), and the same place with a cart and a
cyclist at walking speed. A model is fitted to three of the normal clips. Prints the AUC of each kind of anomaly against
the normal frames of the same video, the slopes of speed, direction and appearance, and the alerts on the fourth clip
and on the normal frames of the test video, at budgets of one per day and one per minute.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt
from motion_study import alerts_of, auc, scores_of

from streamad.detectors.motion.training import fit_motion_bundle
from streamad.engines import EngineSpec
from streamad.inference import open_model
from streamad.sources import FileSpec
from streamad.synthetic_scene import SceneTruth, load_truth, render_scene
from streamad.workflows.fit import calibrate_fit

Floats = npt.NDArray[np.float64]
WALKING = (0.9, 1.2)
BUDGETS = {"a day": 1.0, "a minute": 1440.0}


def scene_of(folder: Path, seed: int, *, slow: bool) -> SceneTruth:
    """Return the rendered scene, rendering it if needed."""
    if (folder / "truth.json").exists():
        return load_truth(folder)
    if slow:
        return render_scene(
            folder,
            seed=seed,
            training_seconds=4,
            training_videos=1,
            testing_seconds=60,
            anomalies=("cart", "cyclist"),
            pace=WALKING,
        )
    return render_scene(folder, seed=seed, training_seconds=96, training_videos=4, testing_seconds=75)


def kinds_of(truth: SceneTruth, frames: int) -> dict[str, npt.NDArray[np.bool_]]:
    """Map each kind of anomaly to whether each frame shows it."""
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for event in truth.events:
        found.setdefault(event.kind, np.zeros(frames, bool))[event.first_frame : event.last_frame + 1] = True
    return found


def main() -> None:
    """Render, fit, score and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="11,12")
    given = parser.parse_args()
    for seed in (int(word) for word in given.seeds.split(",")):
        truth = scene_of(given.out / str(seed), seed, slow=False)
        slow = scene_of(given.out / f"{seed}-slow", seed, slow=True)
        *shown, held = [FileSpec(path=truth.file(video)) for video in truth.training]
        tests = [(name, scene, FileSpec(path=scene.file(scene.testing[0]))) for name, scene in
                 (("test", truth), ("slow", slow))]  # fmt: skip
        with tempfile.TemporaryDirectory() as folder:
            fit = fit_motion_bundle(shown, Path(folder), name="scene")
            with open_model(fit.bundle, EngineSpec(threads=1), hint="throughput") as model:
                *tested, rest = scores_of(model, [*(clip for _, _, clip in tests), held], shown[-1])
        print(f"seed {seed}: slopes {fit.bundle.manifest.training.options['slopes']}", flush=True)
        normal = np.zeros(0)
        for (name, scene, _), scores in zip(tests, tested, strict=True):
            kinds = kinds_of(scene, len(scores))
            is_anomaly = scene.labels_of(scene.testing[0]) > 0
            kinds["moving"] = np.any([shows for kind, shows in kinds.items() if kind != "object_left"], axis=0)
            line = " ".join(f"{kind} {auc(scores[shows], scores[~is_anomaly]):.3f}" for kind, shows in kinds.items())
            print(f"  {name}: {line}", flush=True)
            normal = np.where(is_anomaly, np.nan, scores) if name == "test" else normal
        for words, budget in BUDGETS.items():
            calibration = calibrate_fit(fit, source="scene", alerts_per_day=budget)
            found = [alerts_of([scores], calibration, truth.fps)[0] for scores in (rest, normal)]
            seconds = [np.count_nonzero(~np.isnan(scores)) / truth.fps for scores in (rest, normal)]
            print(
                f"  one {words}: threshold {calibration.threshold:.2f}, {found[0]} alerts in {seconds[0]:.0f} s held out, "
                f"{found[1]} on the test's normal frames, {seconds[1]:.0f} s",
                flush=True,
            )


if __name__ == "__main__":
    main()
