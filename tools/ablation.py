"""Run one of the papers' ablations on images: the same benchmark with one choice changed.

    STREAMAD_DATA=... python tools/ablation.py adacl-loss --out results/ablations --write docs/results/ablation-adacl-loss.md
    python tools/ablation.py --list

Every variant is a run of `streamad benchmark-images BENCHMARK --detector DETECTOR --option ...` and resumes in the same
way: finished parts are kept. A variant that equals the detector's defaults uses the finished run in `--reuse`
DATASET-DETECTOR (docs/results/images has the trainings of the published tables). Nothing is selected by these results.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from streamad.detectors import find_detector
from streamad.evaluation.images import load_images
from streamad.files import write_atomic
from streamad.training.image_benchmark import BenchmarkProgress, run_image_benchmark


@dataclass(frozen=True)
class Study:
    """One ablation.

    Attributes:
        detector: Name of the detector.
        data_set: Name of the data set.
        question: The question of the study.
        variants: Options by the variant's name.
        published: The paper's mean AUROC of a variant in percent, if stated.
        classes: Classes to run. Default: all.
    """

    detector: str
    data_set: str
    question: str
    variants: Mapping[str, Mapping[str, Any]]
    published: Mapping[str, float] = field(default_factory=dict)


KINDS = ("cut_paste", "puzzle", "rotate", "mix_up")
PUBLISHED = {"latent": 64, "contrast": False}
"""ALPS as close to the paper as possible (the latent's length is from the authors' other code)."""
STUDIES = {
    "adacl-loss": Study("adacl", "mnist", "squared error or binary cross-entropy", {"mse": {}, "bce": {"loss": "bce"}}),
    "adacl-labels": Study(
        "adacl",
        "mnist",
        "labels drawn from intervals, or 0 and 1: how far seeds lie apart",
        {"continuous": {}, "discrete": {"labels": "discrete"}},
    ),
    "adacl-augmentations": Study(
        "adacl", "mnist", "each augmentation alone, or all", {"all": {}, **{kind: {"kinds": kind} for kind in KINDS}}
    ),
    "adacl-intervals": Study(
        "adacl",
        "mnist",
        "intervals of the labels",
        {
            "[0, .3] and [.7, 1]": {},
            "[0, .2] and [.8, 1]": {"normal": "0,.2", "anomaly": ".8,1"},
            "[0, .1] and [.9, 1]": {"normal": "0,.1", "anomaly": ".9,1"},
        },
    ),
    "alps-perturbation": Study(
        "alps",
        "mnist",
        "autoencoder, autoencoder with random latent noise, learned perturbation",
        {"AE": {"mode": "ae"}, "AE + noise": {"mode": "noise"}, "ALPS": {}},
        {"AE": 95.42, "AE + noise": 95.95, "ALPS": 97.65},
    ),
    "alps-as-published": Study(
        "alps",
        "mnist",
        "no equal contrast, no noise beside the distorter, no bound of it, 64 latents",
        {
            "AE": {"mode": "ae", **PUBLISHED},
            "AE + noise": {"mode": "noise", **PUBLISHED},
            "ALPS": {"noise": 0, "bounded": False, **PUBLISHED},
        },
        {"AE": 95.42, "AE + noise": 95.95, "ALPS": 97.65},
    ),
    "learned-noise": Study(
        "learned_noise",
        "cifar10",
        "baseline, Gaussian noise, learned noise",
        {"baseline": {"noise": "none"}, "Gaussian": {"noise": "gaussian"}, "learned": {"noise": "learned"}},
        {"baseline": 60.10, "Gaussian": 60.65, "learned": 62.47},
    ),
}


def tell(label: str, progress: BenchmarkProgress) -> None:
    if progress.result is not None:
        auroc = 100 * progress.result.auroc[progress.result.headline]
        print(f"{label}: {progress.class_name}, seed {progress.seed}: {auroc:.2f} %", file=sys.stderr, flush=True)


def figure(value: float | None) -> str:
    """Format with two decimals; a dash if the value is not known: from one seed alone, or not stated in the paper."""
    return "–" if value is None else f"{value:.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", nargs="?", choices=list(STUDIES))
    parser.add_argument("--list", action="store_true", help="list the ablations")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("STREAMAD_DATA", "data")) / "images")
    parser.add_argument("--out", type=Path, default=Path("results/ablations"))
    parser.add_argument("--reuse", type=Path, help="folder with finished runs of `streamad benchmark-images`")
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--classes", help="comma-separated numbers of the normal classes; default: all")
    parser.add_argument("--option", action="append", default=[], help="option name=value for every variant")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int)
    parser.add_argument("--write", type=Path, help="Markdown page to write; default: standard output")
    arguments = parser.parse_args()
    if arguments.list or arguments.study is None:
        for name, study in STUDIES.items():
            print(f"{name}: {study.detector} on {study.data_set}: {study.question} ({', '.join(study.variants)})")
        return
    study = STUDIES[arguments.study]
    seeds = [int(seed) for seed in arguments.seeds.split(",")]
    benchmark = load_images(study.data_set, arguments.data)
    classes = [int(k) for k in arguments.classes.split(",")] if arguments.classes else None
    common = dict(text.split("=", 1) for text in arguments.option)
    rows, seconds = [], 0.0
    for label, options in study.variants.items():
        known = arguments.reuse / f"{study.data_set}-{study.detector}" if arguments.reuse else None
        as_it_stands = known is not None and known.is_dir() and not common and not options
        results = run_image_benchmark(
            benchmark,
            find_detector(study.detector),
            seeds=seeds,
            out=known if as_it_stands else arguments.out / arguments.study / label.replace(" ", "").replace("/", ""),
            classes=classes,
            device=arguments.device,
            options={**common, **options},
            threads=arguments.threads,
            progress=lambda progress, label=label: tell(label, progress),
        )
        figures = {(r.seed, r.class_index): 100 * r.auroc[r.headline] for r in results}
        means = [np.mean([f for (s, _), f in figures.items() if s == seed]) for seed in seeds]
        spread = (
            np.mean(
                [np.std([f for (_, c), f in figures.items() if c == name], ddof=1) for name in {c for _, c in figures}]
            )
            if len(seeds) > 1
            else None
        )
        seconds += sum(r.seconds for r in results)
        published = study.published.get(label)
        rows.append(
            f"| {label} | {np.mean(means):.2f} | {figure(np.std(means, ddof=1) if len(means) > 1 else None)} | "
            f"{figure(spread)} | {figure(published)} |"
        )
    asked = "all classes" if classes is None else f"classes {', '.join(map(str, classes))}"
    command = f"python tools/ablation.py {arguments.study} --seeds {arguments.seeds}"
    command += f" --classes {arguments.classes}" if arguments.classes else ""
    command += "".join(f" --option {option}" for option in arguments.option)
    text = "\n".join(
        [
            f"# Ablation `{arguments.study}`: {study.question}",
            "",
            f"{study.detector} on {study.data_set}, {asked}, seeds {arguments.seeds}; AUROC in percent on the official "
            f"test split. Produced by `{command}`; {seconds / 60:.0f} minutes of training on "
            f"{os.cpu_count()} cores, shared with other work. Nothing was selected by these results.",
            "",
            "| variant | mean over classes | sd of the mean over seeds | mean sd over seeds per class | paper, all classes |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
    if arguments.write:
        write_atomic(arguments.write, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
