"""Whether a budget of false alerts holds on normal video that the calibration has not seen: leave one clip out.

    python experiments/budget_study.py --models NAME,NAME --cache CACHE CLIP CLIP...

Each clip is monitored with a calibration and per-location statistics of the other clips, as `streamad calibrate`
computes them. Prints the number of alerts that the budget allows in all clips and the number that occurred, with the
model's own score and with per-location calibration, and the share of frames whose calibrated score reaches 2, which
should be 1 %. Only normal video is used. Anomaly maps are kept in CACHE, which `experiments/local_study.py` reads and
writes too.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from local_study import Clip, scored

from streamad.bundle import Manifest
from streamad.calibration import AlertPolicySpec, Calibration, calibrate
from streamad.calibration.budget import alert_level, alert_peaks
from streamad.calibration.per_location import PerLocationScore
from streamad.engines import EngineSpec
from streamad.inference import open_model
from streamad.workflows.calibrate_per_location import Spool, crossfit, local_spec

SECONDS_A_DAY = 86400.0
Floats = npt.NDArray[np.float64]


@dataclass
class Held:
    """Results on clips that the calibration has not seen."""

    expected: float = 0.0
    alerts: int = 0
    frames: int = 0
    rare: int = 0

    def watch(self, scores: Floats, calibration: Calibration, rules: AlertPolicySpec) -> None:
        """Add a clip's alerts and rare frames."""
        policy = rules.of_calibration(calibration)
        level = alert_level(scores, policy, fps=calibration.fps)
        peaks = alert_peaks([(scores, level)], policy, fps=calibration.fps)
        self.alerts += len(peaks)
        known = scores[np.isfinite(scores)]
        self.expected += calibration.alerts_per_day * known.size / calibration.fps / SECONDS_A_DAY
        self.frames += known.size
        self.rare += int((calibration.distribution.calibrated_array(known) >= 2).sum())

    def __str__(self) -> str:
        return f"{self.alerts} | {self.rare / max(self.frames, 1):.1%}"


def study(clips: Sequence[Clip], manifest: Manifest, rules: AlertPolicySpec, budget: float) -> tuple[Held, Held]:
    """Evaluate each clip with the calibration of the others, with its own score and per location."""
    own, local = Held(), Held()
    fps = manifest.training.fps
    spec = local_spec(manifest, fps)
    for number, clip in enumerate(clips):
        others = [c for k, c in enumerate(clips) if k != number]
        own.watch(clip.score, calibrated([c.score for c in others], fps, rules, budget), rules)
        with Spool() as spool:
            for other in others:
                for heat in other.heat:
                    spool.add(heat)
            fitted = crossfit(spool, [np.isfinite(c.score) for c in others], spec)
        state = PerLocationScore(fitted.statistics)
        scores = np.array(
            [
                state.update(heat)[0] if np.isfinite(score) else np.nan
                for heat, score in zip(clip.heat, clip.score, strict=True)
            ]
        )
        local.watch(scores, calibrated(fitted.scores, fps, rules, budget), rules)
    return own, local


def calibrated(scores: list[Floats], fps: float, rules: AlertPolicySpec, budget: float) -> Calibration:
    """Calibrate on these clips."""
    return calibrate(
        scores, fps=fps, model="study", model_sha256="0" * 64, source="study", alerts_per_day=budget, rules=rules
    )


def main() -> None:
    """Score clips that are not cached, then print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--models", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="maximum number of frames per clip")
    parser.add_argument("--alerts-per-day", type=float, default=5760)
    parser.add_argument("--cooldown", type=float, default=2.0, help="seconds")
    given = parser.parse_args()
    print("| | expected | own score | reach 2 | local | reach 2 |")
    print("|---|---|---|---|---|---|")
    total = Held(), Held()
    for name in given.models.split(","):
        with open_model(name, EngineSpec(threads=1), hint="throughput") as model:
            manifest = model.bundle.manifest
            # Score the first clip an extra time first, so that the background is known from the first frame.
            clips = scored(model, [given.clips[-1], *given.clips], given.cache / model.bundle.name, given.limit)[1:]
        rules = AlertPolicySpec(cooldown_seconds=given.cooldown)
        found = study(clips, manifest, rules, given.alerts_per_day)
        print(f"| {name} | {found[0].expected:.1f} | {found[0]} | {found[1]} |", flush=True)
        for whole, part in zip(total, found, strict=True):
            whole.expected, whole.alerts = whole.expected + part.expected, whole.alerts + part.alerts
            whole.frames, whole.rare = whole.frames + part.frames, whole.rare + part.rare
    print(f"| all | {total[0].expected:.1f} | {total[0]} | {total[1]} |")


if __name__ == "__main__":
    main()
