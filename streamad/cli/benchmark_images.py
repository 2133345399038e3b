"""`streamad benchmark-images`: the papers' one-class image benchmarks, with the paper's results beside ours."""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from streamad.cli.common import (
    DeviceOption,
    JsonOption,
    OptionsOption,
    TrainThreadsOption,
    data,
    emit,
    one_of,
    out_option,
    output_folder,
    parse_pairs,
    progress_bar,
    say,
    say_notes,
)
from streamad.cli.completion import IMAGE_BENCHMARKS, complete_detector, complete_from
from streamad.cli.help import arg, opt
from streamad.detectors import BUILT_IN, DEFAULT
from streamad.errors import EngineError, UsageError, install_hint, suggestion

if TYPE_CHECKING:
    from streamad.evaluation.images.results import ImageResult
    from streamad.training.image_benchmark import BenchmarkProgress


def benchmark_images(
    data_set: Annotated[
        str,
        arg(unit="BENCHMARK", help="mnist, fashion-mnist, cifar10 or mvtec.", complete=complete_from(IMAGE_BENCHMARKS)),
    ],
    detector: Annotated[
        str,
        opt(
            "--detector",
            unit="NAME",
            help=f"Detector to train: {', '.join(name for name in BUILT_IN if name != DEFAULT)}, or a plugin.",
            complete=complete_detector,
        ),
    ],
    folder: Annotated[
        Path | None,
        opt("--data", unit="DIR", help="Folder of the data. Default: $STREAMAD_DATA/images.", panel="Input"),
    ] = None,
    classes: Annotated[
        str | None,
        opt("--classes", unit="NAMES", help="Normal classes, comma-separated. Default: all present.", panel="Input"),
    ] = None,
    seeds: Annotated[str, opt("--seeds", unit="N,N", help="Seeds, comma-separated.", panel="Training")] = "1,2,3",
    option: OptionsOption = None,
    device: DeviceOption = "cpu",
    threads: TrainThreadsOption = None,
    out: Annotated[Path | None, out_option("Folder of the results. Default: results/BENCHMARK-DETECTOR.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Run a paper's one-class image benchmark.

    Each class in turn is the normal one: a detector is trained on it and tested on the official split. The table shows
    the paper's result beside ours. If interrupted, the same command continues. Needs the train extra.

    Examples:
        streamad benchmark-images mnist --detector adacl --data ~/datasets/images
        streamad benchmark-images mvtec --detector igd --data ~/datasets/images --classes bottle,screw --seeds 1
    """
    from streamad.detectors import find_detector
    from streamad.evaluation.images import load_images

    one_of("BENCHMARK", data_set, IMAGE_BENCHMARKS)
    method = find_detector(detector)
    if not method.takes_images:
        raise UsageError(f"{detector} cannot be trained on images", hint="choose another detector")
    numbers, options = _numbers(seeds), parse_pairs(option)
    benchmark = load_images(data_set, _data_folder(folder, data_set))
    present = range(len(benchmark.classes)) if benchmark.present is None else benchmark.present
    chosen = list(present) if classes is None else _classes(classes, benchmark.classes, data_set)
    if len(present) < len(benchmark.classes):
        names = ", ".join(benchmark.classes[k] for k in present)
        say(f"{data_set}: {len(present)} of {len(benchmark.classes)} classes are there: {names}")
    try:
        from streamad.training.image_benchmark import run_image_benchmark
    except ModuleNotFoundError as error:
        raise EngineError(f"training needs the module {error.name}", hint=install_hint("train")) from error
    from streamad.evaluation.image_table import image_markdown, image_table
    from streamad.evaluation.images.results import read_results
    from streamad.files import write_atomic, write_json

    place = output_folder(out or Path("results") / f"{data_set}-{detector}")
    say_notes(benchmark.notes)

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
        say(f"note: other processes that write to {place} are running {left} trainings")
    # The table includes the results of other processes and of earlier calls with other classes.
    everything = read_results(place)
    table = image_table(everything, _command(everything, option or [], device), method.published().get(data_set))
    write_json(place / "table.json", table)
    page = image_markdown(table)
    write_atomic(place / "table.md", page)
    if as_json:
        emit(table)
    else:
        data(page.rstrip("\n"))
    say(f"{place}: table.md, table.json and one file per training")


def _data_folder(given: Path | None, data_set: str) -> Path:
    if given is not None:
        return given
    root = os.environ.get("STREAMAD_DATA")
    if not root:
        raise UsageError(
            "the folder of the data is not known",
            hint="give --data DIR, or set STREAMAD_DATA to a folder with images/",
        )
    images = Path(root) / "images"
    # MVTec AD, a set of folders, may lie beside images/ as the video data sets do.
    return Path(root) if data_set == "mvtec" and not (images / "mvtec").is_dir() else images


def _numbers(text: str) -> list[int]:
    try:
        seeds = [int(part) for part in text.split(",")]
    except ValueError as error:
        raise UsageError(f"--seeds {text!r}: expected comma-separated integers, such as 1,2,3") from error
    if min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise UsageError(f"--seeds {text!r}: seeds must be at least 0, each given once")
    return seeds


def _classes(text: str, names: Sequence[str], data_set: str) -> list[int]:
    """Indices of the named classes. A name has precedence over a number."""
    known = {**{str(k): k for k in range(len(names))}, **{name.lower(): k for k, name in enumerate(names)}}
    found = []
    for part in text.split(","):
        word = part.strip().lower()
        if word not in known:
            raise UsageError(
                f"--classes: {data_set} has no class {part.strip()!r}",
                hint=suggestion(part.strip(), names) or f"its classes are {', '.join(names)}, or 0 to {len(names) - 1}",
            )
        if known[word] in found:
            raise UsageError(f"--classes: {part.strip()!r} was given twice", hint="give each class once")
        found.append(known[word])
    return found


def _command(results: Sequence[ImageResult], options: Sequence[str], device: str) -> str:
    """The command that reproduces these results, for the record, without the folders of this machine."""
    first = results[0]
    seeds = sorted({result.seed for result in results})
    classes = sorted({result.class_index for result in results})
    words = ["streamad", "benchmark-images", first.data_set, "--detector", first.detector]
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
