"""The motion detector on a camera's normal clips: each quarter is scored by a model of the other three.

    python experiments/synthetic_anomalies.py --out PSEUDO CLIP CLIP...
    python experiments/motion_study.py --pseudo PSEUDO --fps 10 CLIP CLIP...

For every quarter of the clips, a model is fitted to the rest, as `streamad train motion` does, and scores the quarter's
clips and their synthetic anomalies. Prints the AUC of each kind against the original clips, and the false alerts on the
clips compared with the expected number. What is normal in one quarter need not occur in the others; a detector must
cope with that.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.calibration import Calibration
from streamad.calibration.budget import alert_level, alert_peaks
from streamad.detectors.motion.training import fit_motion_bundle
from streamad.engines import EngineSpec
from streamad.evaluation.metrics import roc_auc
from streamad.inference import Model, open_model, score_clips
from streamad.sources import FileSpec, ImagesSpec, SourceSpec
from streamad.training.plan import TrainingPlan
from streamad.workflows.fit import calibrate_fit

Floats = npt.NDArray[np.float64]
KINDS = ("double", "fast", "cart", "other")
QUARTERS = 4


def spec_of(path: Path, fps: float) -> SourceSpec:
    """Return the source of a clip: a file or a folder of pictures."""
    return FileSpec(path=path) if path.is_file() else ImagesSpec(path=path, fps=fps)


def scores_of(model: Model, clips: list[SourceSpec]) -> list[Floats]:
    """Score every clip."""
    return [clip.scores for clip in score_clips(clips, model)]


def auc(anomalies: Floats, normal: Floats) -> float:
    """AUC over frames that have a score."""
    scores = np.concatenate([anomalies, normal])
    labels = np.concatenate([np.ones(len(anomalies)), np.zeros(len(normal))]).astype(np.uint8)
    has = ~np.isnan(scores)
    return roc_auc(scores[has], labels[has])


def alerts_of(scores: list[Floats], calibration: Calibration, fps: float) -> tuple[int, float]:
    """Number of alerts at the calibration's threshold, and the seconds in which one was possible."""
    policy = calibration.rules.of_calibration(calibration)
    pairs = [(s, alert_level(s, policy, fps=fps)) for s in scores]
    alerts = alert_peaks(pairs, policy, fps=fps)
    return len(alerts), sum(int((~np.isnan(level)).sum()) for _, level in pairs) / fps


def main() -> None:
    """Fit, score and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--pseudo", type=Path, required=True)
    parser.add_argument("--fps", type=float, default=10.0)
    parser.add_argument(
        "--alerts-per-day", type=float, default=1440.0, help="a budget that a few minutes of video can test"
    )
    parser.add_argument("--quarters", default="1,2,3,4")
    given = parser.parse_args()
    parts = [list(part) for part in np.array_split(np.arange(len(given.clips)), QUARTERS)]
    for number in (int(word) for word in given.quarters.split(",")):
        shown = [spec_of(clip, given.fps) for k, clip in enumerate(given.clips) if k not in parts[number - 1]]
        new = [given.clips[k] for k in parts[number - 1]]
        with tempfile.TemporaryDirectory() as folder:
            plan = TrainingPlan("study", "own video", "not stated", given.fps, "motion")
            fit = fit_motion_bundle(plan, shown, Path(folder))
            calibration = calibrate_fit(fit, source="study", alerts_per_day=given.alerts_per_day)
            with open_model(fit.bundle, EngineSpec(threads=1), hint="throughput") as model:
                normal = scores_of(model, [spec_of(clip, given.fps) for clip in new])
                line = f"quarter {number}:"
                for kind in KINDS:
                    names = [f"{kind}-{clip.stem}" for clip in new]
                    if not all((given.pseudo / name).is_dir() for name in names):
                        continue  # foreign objects need rendered scenes
                    made = scores_of(model, [spec_of(given.pseudo / name, given.fps) for name in names])
                    marked = [s[np.load(given.pseudo / f"{n}.npy")] for s, n in zip(made, names, strict=True)]
                    line += f"  {kind} {auc(np.concatenate(marked), np.concatenate(normal)):.3f}"
        alerts, seconds = alerts_of(normal, calibration, given.fps)
        expected = given.alerts_per_day * seconds / 86_400
        print(f"{line}  false alerts {alerts} of {expected:.1f} in {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
