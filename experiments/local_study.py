"""Effect of per-location calibration and fusion, measured with normal video and synthetic anomalies made only from it.

    python experiments/synthetic_anomalies.py --out PSEUDO CLIP CLIP...
    python experiments/local_study.py --pseudo PSEUDO --models NAME,NAME --cache CACHE CLIP CLIP...

For each clip, the statistics come from the other clips (leave one clip out). Prints the AUC of synthetically anomalous frames
of a kind against all frames of the normal clips, for each model with and without per-location calibration under several
settings, and for every fused set of models. Anomaly maps are kept in CACHE, so that another run need not score again.
"""

from __future__ import annotations

import argparse
import itertools
from contextlib import closing
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.bundle import Manifest
from streamad.calibration.distribution import fit_distribution
from streamad.calibration.per_location import PerLocationScore, PerLocationSpec, pooled
from streamad.calibration.per_location_fit import CellSamples, fit_per_location, join_samples
from streamad.engines import EngineSpec
from streamad.evaluation.metrics import roc_auc
from streamad.inference import Model, Session, open_model
from streamad.sources import FileSpec, ImagesSpec, SourceSpec
from streamad.workflows.calibrate_per_location import is_per_location_by_default, local_spec

Floats = npt.NDArray[np.float64]
KINDS = ("double", "fast", "cart")


class Clip:
    """Anomaly maps and the detector's own scores of a clip. `index` has the numbers of its scored frames."""

    def __init__(self, path: Path) -> None:
        with np.load(path) as file:
            self.heat, self.score, self.index = file["heat"], file["score"], file["index"]


def source(path: Path, fps: float) -> SourceSpec:
    return FileSpec(path=path) if path.is_file() else ImagesSpec(path=path, fps=fps)


def scored(model: Model, paths: list[Path], folder: Path, limit: int | None) -> list[Clip]:
    """Score clips with a model, keeping the background from one clip to the next."""
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{path.stem}.npz" for path in paths]
    if not all(file.is_file() for file in files):
        session = Session(model)
        for path, file in zip(paths, files, strict=True):
            with closing(session.run_source(source(path, model.bundle.manifest.training.fps))) as results:
                rows = [result.score for result in itertools.islice(results, limit)]
            shape = next(row.anomaly_map.shape for row in rows if row.anomaly_map is not None)
            empty = np.full(shape, np.nan, np.float32)
            heat = np.stack([empty if row.anomaly_map is None else row.anomaly_map for row in rows])
            score = np.array([row.score for row in rows])
            np.savez(file, heat=heat, score=score, index=np.array([row.index for row in rows]))
    return [Clip(file) for file in files]


def local_scores(
    normal: list[Clip], pseudo: dict[tuple[str, int], Clip], spec: PerLocationSpec
) -> tuple[list[Floats], dict[tuple[str, int], Floats]]:
    """Return per-location scores of each clip and of its synthetic anomalies, by statistics of the other clips."""
    samples = []
    for number, clip in enumerate(normal):
        sample = CellSamples((clip.heat.shape[1], clip.heat.shape[2]), seed=number)
        for anomaly_map, score in zip(clip.heat, clip.score, strict=True):
            if np.isfinite(score):
                sample.add(pooled(anomaly_map, spec.pool))
        samples.append(sample)
    others = [fit_per_location(join_samples(samples[:k] + samples[k + 1 :]), spec) for k in range(len(normal))]

    def of(clip: Clip, number: int) -> Floats:
        state = PerLocationScore(others[number])
        known = np.isfinite(clip.score)
        return np.array([state.update(h)[0] if k else np.nan for h, k in zip(clip.heat, known, strict=True)])

    return [of(clip, k) for k, clip in enumerate(normal)], {key: of(clip, key[1]) for key, clip in pseudo.items()}


def by_frame(scores: Floats, index: npt.NDArray[np.int_], frames: int) -> Floats:
    answer = np.full(frames, np.nan)
    answer[index] = scores
    return answer


def aucs(
    normal: list[Floats], pseudo: dict[tuple[str, int], Floats], labels: dict[tuple[str, int], npt.NDArray[np.bool_]]
) -> list[float]:
    """Return the AUC for each kind: labeled frames against all frames of the normal clips."""
    answer = []
    quiet = np.concatenate(normal)
    for kind in KINDS:
        loud = np.concatenate([pseudo[key][labels[key][: len(pseudo[key])]] for key in pseudo if key[0] == kind])
        values = np.concatenate([quiet[np.isfinite(quiet)], loud[np.isfinite(loud)]])
        truth = np.arange(values.size) >= np.isfinite(quiet).sum()
        answer.append(roc_auc(values, truth.astype(np.uint8)))
    return answer


def show(name: str, figures: list[float]) -> None:
    print(f"{name:72s} " + " ".join(f"{v:.3f}" for v in figures) + f"  mean {np.mean(figures):.3f}", flush=True)


def settings(manifest: Manifest, wide: bool) -> list[PerLocationSpec]:
    """Return the settings to try."""
    base = local_spec(manifest)
    if not wide:
        return [base]
    pools = (1,) if manifest.tiling.kind == "cells" else (1, 3, 5)
    grid = itertools.product(pools, (100.0, 500.0, 2000.0, 1e9), (0.01, 0.03, 0.1), (1, 5))
    return [PerLocationSpec(pool=p, prior_samples=m, share=s, median_frames=t) for p, m, s, t in grid]


def main() -> None:
    """Score clips that are not cached, then print the results."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("clips", nargs="+", type=Path)
    parser.add_argument("--pseudo", type=Path, required=True)
    parser.add_argument("--models", required=True)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--limit", type=int, help="maximum number of frames per clip")
    parser.add_argument("--grid", action="store_true", help="try many settings")
    given = parser.parse_args()
    keys = [(kind, k) for kind in KINDS for k in range(len(given.clips))]
    places = [given.pseudo / f"{kind}-{given.clips[k].stem}" for kind, k in keys]
    labels = {key: np.load(f"{place}.npy") for key, place in zip(keys, places, strict=True)}
    calibrated = {}
    print(f"{'':72s} " + " ".join(KINDS))
    for name in given.models.split(","):
        with open_model(name, EngineSpec(threads=1), hint="throughput") as model:
            manifest = model.bundle.manifest
            everything = scored(
                model, [given.clips[-1], *given.clips, *places], given.cache / model.bundle.name, given.limit
            )[1:]
        normal, pseudo = everything[: len(given.clips)], dict(zip(keys, everything[len(given.clips) :], strict=True))
        own = [clip.score for clip in normal], {key: clip.score for key, clip in pseudo.items()}
        show(f"{name}: own score", aucs(*own, {k: labels[k][pseudo[k].index] for k in keys}))
        chosen = own
        for spec in settings(manifest, given.grid):
            local = local_scores(normal, pseudo, spec)
            what = f"pool {spec.pool}, m {spec.prior_samples:g}, share {spec.share:g}, median {spec.median_frames}"
            show(f"{name}: local, {what}", aucs(*local, {k: labels[k][pseudo[k].index] for k in keys}))
            if spec == local_spec(manifest) and is_per_location_by_default(manifest):
                chosen = local
        frames = [int(clip.index.max()) + 1 for clip in normal]
        lined = [by_frame(s, c.index, n) for s, c, n in zip(chosen[0], normal, frames, strict=True)]
        spread = [np.concatenate([s for j, s in enumerate(lined) if j != k]) for k in range(len(lined))]
        curves = [fit_distribution(values[np.isfinite(values)]) for values in spread]
        calibrated[name] = (
            [curve.calibrated_array(s) for curve, s in zip(curves, lined, strict=True)],
            {k: curves[k[1]].calibrated_array(by_frame(chosen[1][k], pseudo[k].index, len(labels[k]))) for k in keys},
        )
    for count in range(1, len(calibrated) + 1):
        for members in itertools.combinations(calibrated, count):
            for rule in ("mean", "max") if count > 1 else ("mean",):
                join = np.mean if rule == "mean" else np.max

                def shortest(parts: list[Floats]) -> list[Floats]:
                    return [part[: min(map(len, parts))] for part in parts]

                normal_scores = [
                    np.asarray(join(shortest([calibrated[m][0][k] for m in members]), axis=0))
                    for k in range(len(given.clips))
                ]
                fused = {
                    key: np.asarray(join(shortest([calibrated[m][1][key] for m in members]), axis=0)) for key in keys
                }
                show(f"{rule} of {' + '.join(members)}", aucs(normal_scores, fused, labels))


if __name__ == "__main__":
    main()
