"""Effect of per-location calibration and fusion on rendered scenes with known truth.

    python experiments/local_scene.py --models NAME,NAME --out FOLDER --seeds 11,12

For each seed, a scene is rendered. The models are calibrated on its normal clips (each with and without per-location
statistics), fused on them, and score its test clips. Prints the AUC over all test frames, and the AUC of calibrated
scores over all seeds together.
"""

from __future__ import annotations

import argparse
import itertools
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.calibration import Calibration
from streamad.engines import EngineSpec
from streamad.evaluation.metrics import roc_auc
from streamad.inference import Model, Session, open_model
from streamad.sources import FileSpec
from streamad.synthetic_scene import render_scene
from streamad.synthetic_scene.truth import SceneTruth
from streamad.workflows.calibrate import calibrate_model
from streamad.workflows.fuse import fuse_models

Floats = npt.NDArray[np.float64]


def test_scores(model: Model, truth: SceneTruth, calibration: Calibration) -> tuple[Floats, npt.NDArray[np.uint8]]:
    """Return calibrated scores and labels of all scored test frames. The background is known."""
    session = Session(model, scorer=model.scorer("camera", calibration.local))
    scores, labels = [], []
    for video in (truth.training[-1], *truth.testing):
        for score in (result.score for result in session.run_source(FileSpec(path=truth.file(video)))):
            if video in truth.testing and np.isfinite(score.score):
                scores.append(calibration.calibrated(score.score))
                labels.append(truth.labels_of(video)[score.index])
    return np.array(scores), np.array(labels, dtype=np.uint8)


def main() -> None:
    """Render, calibrate, score and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--models", required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seeds", default="11,12")
    parser.add_argument("--seconds", type=float, default=150.0, help="length of the normal video")
    given = parser.parse_args()
    found: dict[str, list[tuple[Floats, npt.NDArray[np.uint8]]]] = {}
    names = given.models.split(",")
    models = [open_model(name, EngineSpec(threads=1), hint="throughput") for name in names]
    for seed in (int(s) for s in given.seeds.split(",")):
        truth = render_scene(given.out / f"scene-{seed}", seed=seed, training_seconds=given.seconds)
        clips = [FileSpec(path=truth.file(video)) for video in truth.training]
        for name, model in zip(names, models, strict=True):
            for local in (False, True):
                calibration = calibrate_model(model, clips, source="scene", fps=truth.fps, local=local)
                what = f"{name}, {'local' if local else 'own score'}"
                found.setdefault(what, []).append(test_scores(model, truth, calibration))
        for number, pair in enumerate(itertools.combinations(models, 2)):
            for rule in ("mean", "max"):
                bundle = fuse_models(pair, clips, given.out / f"fused-{seed}-{number}-{rule}", source="scene",
                                     fps=truth.fps, rule=rule)  # type: ignore[arg-type]  # fmt: skip
                with open_model(bundle, EngineSpec(threads=1), hint="throughput") as fused:
                    assert bundle.calibration_path is not None
                    scored = test_scores(fused, truth, Calibration.load(bundle.calibration_path))
                members = " + ".join(model.bundle.name for model in pair)
                found.setdefault(f"{rule} of {members}", []).append(scored)
    for what, parts in found.items():
        each = " ".join(f"{roc_auc(scores, labels):.3f}" for scores, labels in parts)
        joint = roc_auc(np.concatenate([s for s, _ in parts]), np.concatenate([t for _, t in parts]))
        print(f"{what:72s} {each}  together {joint:.3f}", flush=True)


if __name__ == "__main__":
    main()
