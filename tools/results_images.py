"""Combine the tables of `streamad benchmark-images` into one page.

    python tools/results_images.py --runs docs/results/images --write docs/results/images.md

Each folder of `--runs` is the `--out` of one `streamad benchmark-images BENCHMARK --detector DETECTOR`.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from streamad.detectors import BUILT_IN, find_detector
from streamad.evaluation.images import IMAGE_BENCHMARKS
from streamad.files import write_atomic


def spread(value: dict[str, float | None]) -> str:
    if value["mean"] is None:
        return "–"
    return f"{value['mean']:.2f}" + ("" if value["sd"] is None else f" ± {value['sd']:.2f}")


def row(folder: Path, table: dict[str, Any]) -> str:
    mean = table["mean"]
    paper = "–" if mean["paper"] is None else f"{mean['paper']:.2f}"
    whole = "" if mean["of"] == mean["classes"] else f" ({mean['of']} of {mean['classes']} classes)"
    hours = table["seconds"]["training"] / 3600
    return (
        f"| {method(table)} | {table['data_set']}{whole} | {spread(mean['auroc'])} | {paper} | "
        f"{len(mean['seeds'])} | {hours:.1f} h | [table]({folder.as_posix()}/table.md) |"
    )


def method(table: dict[str, Any]) -> str:
    """The detector, with the options that are not its defaults for the data set."""
    given = ", ".join(f"`{name}={value}`" for name, value in table["options_given"].items())
    return f"{table['detector']}, {given}" if given else str(table["detector"])


METRICS = ("pixel_auroc", "pixel_auroc_per_image", "mean_accuracy")


def defect_row(table: dict[str, Any]) -> str:
    """Metrics by masks, each as ours / the paper's for the same classes, or for all of them in brackets."""
    cells = []
    for name in METRICS:
        ours = table["mean"]["metrics"].get(name)
        paper = table["paper_metrics"].get(name)
        theirs = "–"
        if paper:
            theirs = f"({paper['all']:.2f})" if paper["mean"] is None else f"{paper['mean']:.2f}"
        cells.append("–" if ours is None else f"{spread(ours)} / {theirs}")
    classes = ", ".join(entry["class"] for entry in table["classes"])
    return f"| {method(table)} | {classes} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=Path, default=Path("docs/results/images"))
    parser.add_argument("--write", type=Path, help="Markdown page to write; default: standard output")
    options = parser.parse_args()
    tables = {
        folder.parent: json.loads(folder.read_text(encoding="utf-8"))
        for folder in sorted(options.runs.glob("*/table.json"))
    }
    done = {(table["detector"], table["data_set"]) for table in tables.values()}
    missing = [
        (name, data_set)
        for name in sorted(BUILT_IN)
        for data_set in sorted(find_detector(name).published())
        if (name, data_set) not in done and data_set in IMAGE_BENCHMARKS
    ]
    lines = [
        "# Image benchmarks",
        "",
        "One class is normal. Training uses only its training images, and all test images of the official split are scored. "
        "Mean AUROC over the classes in percent, ± standard deviation of that mean over seeds. Written by "
        "`python tools/results_images.py`; each table has its command, seeds, epochs, hardware and the rule that selected "
        "the weights.",
        "",
        "No weights and no epoch were selected on test images. **Options were, in part, revised after test figures had been "
        "seen:** those of all three rows of Fashion-MNIST and of IGD on MNIST after first tables, and epochs and batch on "
        "MVTec AD after a training of one epoch. The choices themselves were made on labeled training images or by time: "
        "[how the choices were made](README.md#how-the-choices-were-made). `ours` is our form of each method, not the paper's: "
        "[the papers' tables, ours beside](papers.md).",
        "",
        "| detector | data set | ours | paper | seeds | training | |",
        "|---|---|---|---|---|---|---|",
        *(row(folder.relative_to(options.runs.parent), table) for folder, table in tables.items()),
        "",
    ]
    defects = [table for table in tables.values() if table["mean"].get("metrics")]
    if defects:
        lines += [
            "## Defects in images",
            "",
            "By the masks of the data set, in percent: ours / the paper's for the same classes, in brackets the paper's mean over "
            "all classes, where it gives no other. `pixel_auroc`: the pixels of all test images in one curve. "
            "`pixel_auroc_per_image`: within each anomalous image, their mean, as the paper has it. `mean_accuracy`: mean of the "
            "shares of normal and anomalous images that are judged right, with the highest score of held-out normal images as the "
            "threshold.",
            "",
            "| detector | classes | pixel_auroc | pixel_auroc_per_image | mean_accuracy |",
            "|---|---|---|---|---|",
            *map(defect_row, defects),
            "",
        ]
    if missing:
        lines += ["Not run, for lack of data or time; the command to do so:", ""]
        lines += [
            f"- `streamad benchmark-images {data_set} --detector {detector} --data DIR`"
            for detector, data_set in missing
        ]
        lines.append("")
    text = "\n".join(lines)
    if options.write:
        write_atomic(options.write, text)
    else:
        print(text)


if __name__ == "__main__":
    main()
