"""Results of the image benchmarks as a table: ours beside the paper's, with what readers need to judge them."""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from streamad.errors import UsageError
from streamad.evaluation.images.defects import ACCURACY, PIXELS, PIXELS_PER_IMAGE
from streamad.evaluation.images.results import ImageResult, identity, require_same


@dataclass(frozen=True)
class Published:
    """AUROC, or another metric, in % reported by a paper, with one class normal.

    Attributes:
        mean: Mean over all classes.
        source: Paper and table.
        classes: By class in the official order. None: the paper reports only the mean.
        note: How it differs from a one-class result of a single model.
        metrics: The paper's results by other metrics, by the names in `streamad.evaluation.images.defects`.
    """

    mean: float
    source: str
    classes: tuple[float, ...] | None = None
    note: str | None = None
    metrics: Mapping[str, Published] = field(default_factory=dict)

    def of(self, classes: Sequence[int], total: int) -> float | None:
        """Mean over these of all `total` classes; None if the paper does not report it."""
        if len(classes) == total:
            return self.mean
        return statistics.fmean(self.classes[k] for k in classes) if self.classes else None


def image_table(results: Sequence[ImageResult], command: str, published: Published | None = None) -> dict[str, Any]:
    """Build the table of one detector on one data set.

    The mean over classes is computed for every seed that has all classes present in `results`, together with its
    standard deviation over seeds. Standard deviations are sample standard deviations (n − 1), None for one seed.

    Args:
        results: Trainings of one detector with one set of options.
        command: The command that produces these results.
        published: The paper's result on this data set.

    Returns:
        A JSON document: AUROC in %, times in seconds.

    Raises:
        UsageError: There is no result, results differ in data set, detector, or options, or a class and seed appears
            twice.
    """
    if not results:
        raise UsageError("there are no results for a table", hint="run `streamad evaluate` first")
    first = results[0]
    for result in results[1:]:
        place = f"class {result.classes[result.class_index]}, seed {result.seed}"
        here = {**identity(first), "scores": list(first.auroc)}
        require_same({**identity(result), "scores": list(result.auroc)}, here, f"the result of {place}")
    pairs = [(result.class_index, result.seed) for result in results]
    if len(set(pairs)) < len(pairs):
        raise UsageError("a class appears twice with the same seed", hint="remove one of the two results")
    classes = sorted({k for k, _ in pairs})
    seeds = sorted({seed for _, seed in pairs})
    scores = list(first.auroc)
    metrics = [name for name in first.metrics if all(name in run.metrics for run in results)]
    by_pair = dict(zip(pairs, results, strict=True))
    theirs = published.classes if published else None
    rows = []
    for k in classes:
        mine = [by_pair[k, seed] for seed in seeds if (k, seed) in by_pair]
        rows.append(
            {
                "class": first.classes[k],
                "auroc": _spread([run.auroc[first.headline] for run in mine]),
                "paper": theirs[k] if theirs else None,
                "scores": {name: _spread([run.auroc[name] for run in mine if name in run.auroc]) for name in scores},
                "metrics": {name: _spread([run.metrics[name] for run in mine]) for name in metrics},
                "seeds": [run.seed for run in mine],
                "epochs": sorted(run.epochs for run in mine),
                "best_epochs": sorted(run.best_epoch for run in mine),
                "training_images": mine[0].samples,
                "seconds": statistics.fmean(run.seconds for run in mine),
            }
        )
    whole = [seed for seed in seeds if all((k, seed) in by_pair for k in classes)]
    total = len(first.classes)
    aurocs, further = ({pair: getattr(run, kind) for pair, run in by_pair.items()} for kind in ("auroc", "metrics"))
    return {
        "data_set": first.data_set,
        "detector": first.detector,
        "score": first.headline,
        "classes": rows,
        "mean": {
            "of": len(classes),
            "classes": total,
            "seeds": whole,
            "auroc": _mean(aurocs, classes, whole, first.headline),
            "paper": published.of(classes, total) if published else None,
            "scores": {name: _mean(aurocs, classes, whole, name) for name in scores},
            "metrics": {name: _mean(further, classes, whole, name) for name in metrics},
        },
        "paper": {"source": published.source, "note": published.note} if published else None,
        "paper_metrics": {
            name: {"source": theirs_by.source, "mean": theirs_by.of(classes, total), "all": theirs_by.mean}
            for name, theirs_by in (published.metrics if published else {}).items()
            if name in metrics
        },
        "protocol": {
            "split": first.layout,
            "validation_images": sorted({run.validation for run in results}),
            "checkpoint": sorted({run.rule for run in results}),
            "test_images": sorted({run.test for run in results}),
            "notes": sorted({note for run in results for note in run.notes}),
        },
        "seeds": seeds,
        "options_given": first.given,
        "options": _shared([run.description for run in results]),
        "hardware": [dict(item) for item in sorted({tuple(vars(run.hardware).items()) for run in results})],
        "versions": sorted({run.version for run in results}),
        "seconds": {
            "training": sum(run.seconds for run in results),
            "scoring": sum(run.scoring_seconds for run in results),
        },
        "command": command,
    }


def image_markdown(table: dict[str, Any]) -> str:
    """Format the document of `image_table` as a page of Markdown."""
    rows, mean, paper, protocol = table["classes"], table["mean"], table["paper"], table["protocol"]
    lines = [
        f"# {table['detector']} on {table['data_set']}",
        "",
        "One class normal, AUROC in %, mean ± standard deviation over seeds.",
        "",
        "| class | ours | paper | seeds | epochs | seconds per training |",
        "|---|---|---|---|---|---|",
    ]
    for row in rows:
        lines.append(
            f"| {row['class']} | {_text(row['auroc'])} | {_figure(row['paper'])} | {len(row['seeds'])} | "
            f"{_range(row['epochs'])} | {_seconds(row['seconds'])} |"
        )
    name = "mean" if mean["of"] == mean["classes"] else f"mean of {mean['of']} of {mean['classes']} classes"
    epochs = [epoch for row in rows for epoch in row["epochs"]]
    seconds = statistics.fmean(row["seconds"] for row in rows)
    lines += [
        f"| **{name}** | **{_text(mean['auroc'])}** | **{_figure(mean['paper'])}** | {len(mean['seeds'])} | "
        f"{_range(epochs)} | {_seconds(seconds)} |",
        "",
        f"- Score: `{table['score']}`, fixed before these trainings.",
    ]
    if len(mean["seeds"]) < len(table["seeds"]):
        lines.append(
            f"- The mean is over {len(mean['seeds'])} of {len(table['seeds'])} seeds; the others are unfinished."
        )
    if paper:
        lines.append(f"- Paper: {paper['source']}." + (f" Note: {paper['note']}." if paper["note"] else ""))
    lines += [
        f"- Seeds: {', '.join(map(str, table['seeds']))}.",
        f"- Data: {protocol['split']}; {_range(protocol['test_images'])} test images, all scored.",
        *(f"- Note: {note}." for note in protocol["notes"]),
        *(f"- Checkpoint: {rule}." for rule in protocol["checkpoint"]),
        *(f"- Hardware: {_hardware(item)}." for item in table["hardware"]),
        f"- Time: {_time(table['seconds']['training'])} of training, {_time(table['seconds']['scoring'])} of scoring.",
        f"- Command: `{table['command']}`",
        f"- Options given: {_options(table['options_given'])}; all options: {_options(table['options'])}.",
        "",
        "All scores of the detector:",
        "",
        f"| class | {' | '.join(mean['scores'])} |",
        f"|---|{'---|' * len(mean['scores'])}",
    ]
    for label, scores in [*((row["class"], row["scores"]) for row in rows), (f"**{name}**", mean["scores"])]:
        lines.append(f"| {label} | {' | '.join(_text(value) for value in scores.values())} |")
    lines += _metric_lines(table, name)
    return "\n".join(lines) + "\n"


METRIC_TITLES = {
    PIXELS: "pixel AUROC: the pixels of all test images in one curve",
    PIXELS_PER_IMAGE: "pixel AUROC within each anomalous image, their mean (the IGD paper's metric)",
    ACCURACY: "mean of the shares of normal and of anomalous images that are judged right, with the highest score of "
    "held-out normal images as the threshold",
}


def _metric_lines(table: dict[str, Any], name: str) -> list[str]:
    """Lines on the metrics of data sets with masks; none without them."""
    metrics, paper = table["mean"]["metrics"], table["paper_metrics"]
    if not metrics:
        return []
    lines = ["", "In %, by the masks of the data set:", "", f"| class | {' | '.join(metrics)} |"]
    lines.append(f"|---|{'---|' * len(metrics)}")
    for label, values in [*((row["class"], row["metrics"]) for row in table["classes"]), (f"**{name}**", metrics)]:
        lines.append(f"| {label} | {' | '.join(_text(values[metric]) for metric in metrics)} |")
    if paper:
        figures = (_figure(paper[metric]["mean"]) if metric in paper else "–" for metric in metrics)
        lines.append(f"| paper, the same classes | {' | '.join(figures)} |")
    lines.append("")
    lines += [f"- `{metric}`: {METRIC_TITLES.get(metric, metric)}." for metric in metrics]
    lines += [
        f"- Paper's `{metric}` over all classes: {theirs['all']:.2f}; {theirs['source']}."
        for metric, theirs in paper.items()
    ]
    return lines


def _spread(values: Sequence[float]) -> dict[str, float | None]:
    """Mean and standard deviation of values from 0 to 1, in %."""
    if not values:
        return {"mean": None, "sd": None}
    return {
        "mean": 100 * statistics.fmean(values),
        "sd": 100 * statistics.stdev(values) if len(values) > 1 else None,
    }


def _mean(
    values: Mapping[tuple[int, int], Mapping[str, float]], classes: Sequence[int], seeds: Sequence[int], name: str
) -> dict[str, float | None]:
    return _spread([statistics.fmean(values[k, seed][name] for k in classes) for seed in seeds])


def _shared(descriptions: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """What all descriptions have in common; details of a class or seed are in its own file."""
    return {
        key: value
        for key, value in descriptions[0].items()
        if all(key in other and other[key] == value for other in descriptions)
    }


def _text(value: dict[str, float | None]) -> str:
    if value["mean"] is None:
        return "–"
    return f"{value['mean']:.2f}" + ("" if value["sd"] is None else f" ± {value['sd']:.2f}")


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"


def _seconds(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def _time(seconds: float) -> str:
    return f"{seconds / 3600:.1f} h" if seconds >= 3600 else f"{seconds:.0f} s"


def _range(values: Sequence[int]) -> str:
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low}–{high}"


def _hardware(item: dict[str, Any]) -> str:
    return (
        f"{item['device']}; {item['cpus']} processors ({item['machine']}), {item['threads']} threads, "
        f"torch {item['torch']}"
    )


def _options(options: dict[str, Any]) -> str:
    def plain(value: Any) -> str:
        return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)

    return ", ".join(f"`{name}={plain(value)}`" for name, value in options.items()) or "none"
