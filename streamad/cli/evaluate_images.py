"""`streamad evaluate` of image benchmarks: ours beside the paper's."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from streamad.cli.common import (
    data,
    emit,
    output_folder,
    parse_pairs,
    progress_bar,
    say,
)
from streamad.errors import EngineError, UsageError, install_hint

if TYPE_CHECKING:
    from streamad.evaluation.images.results import ImageResult
    from streamad.training.image_benchmark import BenchmarkProgress


def evaluate_images(
    data_set: str,
    detector: str,
    *,
    folder: Path | None,
    seeds: str,
    classes: str | None,
    out: Path | None,
    option: list[str] | None,
    device: str,
    threads: int | None,
    as_json: bool,
) -> None:
    """Train a detector with each class of an image data set as the normal one, and test it on the official split.

    Started again with the same options, finished trainings are left, and one that was interrupted goes on.
    """
    from streamad.detectors import find_detector
    from streamad.evaluation.images import IMAGE_BENCHMARKS, load_images

    if data_set not in IMAGE_BENCHMARKS:
        raise UsageError(f"there is no data set {data_set!r}; known: {', '.join(IMAGE_BENCHMARKS)}")
    method = find_detector(detector)
    if not method.takes_images:
        raise UsageError(f"{detector} cannot be trained on images", hint="choose another detector")
    numbers, options = _numbers(seeds), parse_pairs(option)
    benchmark = load_images(data_set, _data_folder(folder))
    chosen = _classes(classes, benchmark.classes, data_set)
    try:
        from streamad.training.image_benchmark import run_image_benchmark
    except ModuleNotFoundError as error:
        raise EngineError(f"training needs the module {error.name}", hint=install_hint("train")) from error
    from streamad.evaluation.image_table import image_markdown, image_table
    from streamad.evaluation.images.results import read_results
    from streamad.files import write_atomic, write_json

    place = output_folder(out or Path("results") / f"{data_set}-{detector}")
    for note in benchmark.notes:
        say(f"note: {note}")

    with progress_bar() as bar:
        total = bar.add_task("checking the data", total=None)

        def progress(now: BenchmarkProgress) -> None:
            bar.update(
                total,
                description=f"{now.run + 1}/{now.runs}: class {now.class_name}, seed {now.seed}",
                completed=now.run + now.share,
                total=now.runs,
            )
            if now.result is not None:
                figure = 100 * now.result.auroc[now.result.headline]
                say(
                    f"{now.run + 1}/{now.runs} class {now.class_name}, seed {now.seed}: AUROC {figure:.2f} %, "
                    f"{now.result.epochs} epochs in {now.result.seconds:.0f} s{_remaining(now.remaining_seconds)}"
                )

        results = run_image_benchmark(
            benchmark, method, seeds=numbers, classes=chosen, out=place, device=device, options=options,
            threads=threads, progress=progress,
        )  # fmt: skip
    left = len(numbers) * len(chosen) - len(results)
    if left:
        say(f"note: {left} trainings are being done by other processes that write to {place}")
    # All that lies there: what other processes, or earlier calls with other classes, have done belongs to the table.
    everything = read_results(place)
    table = image_table(everything, _command(everything, option or [], device), method.published().get(data_set))
    write_json(place / "table.json", table)
    page = image_markdown(table)
    write_atomic(place / "table.md", page)
    if as_json:
        emit(table)
    else:
        data(page.rstrip("\n"))
    say(f"{place}: table.md, table.json and one file for each training")


def _data_folder(given: Path | None) -> Path:
    if given is not None:
        return given
    root = os.environ.get("STREAMAD_DATA")
    if not root:
        raise UsageError(
            "no folder of data was given", hint="give --data DIR, or set STREAMAD_DATA to a folder that has images/"
        )
    return Path(root) / "images"


def _numbers(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {text!r}: expected whole numbers with commas, such as 1,2,3") from error
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text!r}: seeds must be 0 or more, each named once")
    return seeds


def _classes(text: str | None, names: Sequence[str], data_set: str) -> list[int]:
    """Places of the classes named; a name goes before a number."""
    if text is None:
        return list(range(len(names)))
    known = {**{str(k): k for k in range(len(names))}, **{name.lower(): k for k, name in enumerate(names)}}
    found = []
    for part in text.split(","):
        word = part.strip().lower()
        if word not in known:
            raise UsageError(
                f"--classes: {data_set} has no class {part.strip()!r}",
                hint=f"its classes are {', '.join(names)}, or 0 to {len(names) - 1}",
            )
        if known[word] in found:
            raise UsageError(f"--classes: {part.strip()!r} was given twice", hint="name each class once")
        found.append(known[word])
    return found


def _command(results: Sequence[ImageResult], options: Sequence[str], device: str) -> str:
    """The command that makes all these results, for the record; folders, this machine's affair, are left out."""
    first = results[0]
    seeds = sorted({result.seed for result in results})
    classes = sorted({result.class_index for result in results})
    words = ["streamad", "evaluate", first.data_set, "--detector", first.detector]
    words += ["--seeds", ",".join(map(str, seeds))]
    if len(classes) < len(first.classes):
        words += ["--classes", ",".join(first.classes[k] for k in classes)]
    words += [word for text in options for word in ("--option", text)]
    words += ["--device", device] if device != "cpu" else []
    return f"{shlex.join(words)} --data DIR"


def _remaining(seconds: float | None) -> str:
    if not seconds:
        return ""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"; about {seconds:.0f} s remain"
    return f"; about {minutes // 60} h {minutes % 60} min remain" if minutes >= 60 else f"; about {minutes} min remain"
