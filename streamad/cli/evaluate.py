"""`streamad evaluate`: a model on a video data set, scores from files, or a detector on an image benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamad.cli.common import JsonOption, engine_option, precision_option
from streamad.errors import UsageError

VIDEO = "Video data sets"
FILES = "Scores from files"
PROTOCOL = "Video and scores: how figures are made"
IMAGES = "Image benchmarks"


def evaluate(
    data_set: Annotated[
        str | None,
        typer.Argument(
            metavar="DATASET",
            help="Video: a name of `datasets list`, or a folder. Images: mnist, fashion-mnist, cifar10 or mvtec.",
        ),
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--data", help="Folder with the data set; default: in $STREAMAD_DATA.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", "--report", help="Folder of the results; default: results/DATASET-MODEL, none for --scores."
        ),
    ] = None,
    name: Annotated[str | None, typer.Option("--name", help="The run's name in reports and comparisons.")] = None,
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
    as_json: JsonOption = False,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="The model bundle: a folder, or a name of `models list`.", rich_help_panel=VIDEO
        ),
    ] = None,
    label_set: Annotated[
        str | None,
        typer.Option("--label-set", help="Which labels, where a set has several (avenue).", rich_help_panel=VIDEO),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Clips at a time.", rich_help_panel=VIDEO)
    ] = None,
    engine: Annotated[str, engine_option(VIDEO)] = "auto",
    precision: Annotated[str, precision_option(VIDEO)] = "fp32",
    scores: Annotated[
        Path | None, typer.Option("--scores", help="Scores: .npz, .npy or .csv.", rich_help_panel=FILES)
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option("--labels", help="Their labels: .npz, .npy, .csv or a folder of .npy.", rich_help_panel=FILES),
    ] = None,
    fps: Annotated[
        float | None, typer.Option("--fps", min=0.1, help="Frames a second, for --threshold.", rich_help_panel=FILES)
    ] = None,
    normalization: Annotated[
        str | None,
        typer.Option(
            "--normalization", help="Protocols, with commas; default: all that are possible.", rich_help_panel=PROTOCOL
        ),
    ] = None,
    edge: Annotated[
        str,
        typer.Option(
            "--edge", help="Frames at a clip's ends without a score: leave_out or pad.", rich_help_panel=PROTOCOL
        ),
    ] = "leave_out",
    single_class: Annotated[
        str,
        typer.Option(
            "--single-class", help="Clips of one class in the macro AUC: leave_out or pad.", rich_help_panel=PROTOCOL
        ),
    ] = "leave_out",
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold", help="Raw score of an alert; default: the model's calibration.", rich_help_panel=PROTOCOL
        ),
    ] = None,
    allow_pickle: Annotated[
        bool,
        typer.Option(
            "--allow-pickle",
            help="Read pickled labels (arrays alone; nothing in them is run).",
            rich_help_panel=PROTOCOL,
        ),
    ] = False,
    detector: Annotated[
        str | None, typer.Option("--detector", help="adacl, alps, igd or learned_noise.", rich_help_panel=IMAGES)
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Seeds, with commas.", rich_help_panel=IMAGES)] = "1,2,3",
    classes: Annotated[
        str | None,
        typer.Option("--classes", help="Normal classes, with commas; default: all.", rich_help_panel=IMAGES),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            "--option", help="An option of the detector's own, name=value; repeatable.", rich_help_panel=IMAGES
        ),
    ] = None,
    device: Annotated[
        str, typer.Option("--device", help="Device to train on: cpu, cuda or cuda:N.", rich_help_panel=IMAGES)
    ] = "cpu",
) -> None:
    """Evaluate a model on a video data set, scores from files, or a detector on an image benchmark.

    `evaluate ped2 --data DIR --model NAME` scores the test clips as a camera would be scored, and writes report.html,
    report.md, result.json, scores.csv and scores.npz. Started again, finished clips are not scored again.

    `evaluate --scores FILE --labels FILE` takes scores made elsewhere.

    `evaluate mnist --detector NAME` trains with each class as the normal one; finished trainings are left, and one that
    was interrupted goes on.
    """
    from streamad.evaluation.images import IMAGE_BENCHMARKS

    files = {"labels": labels, "fps": fps}
    images = {"detector": detector, "classes": classes, "option": option}
    protocol = {"normalization": normalization, "threshold": threshold}
    if scores is not None:
        from streamad.cli.evaluate_videos import evaluate_files

        if data_set is not None or model is not None:
            raise UsageError("--scores evaluates a file: no data set and no --model", hint="leave one of them out")
        _refuse("scores from files", label_set=label_set, workers=workers, **images)
        evaluate_files(
            scores, labels, out=out, normalization=normalization, edge=edge, single_class=single_class,
            threshold=threshold, fps=fps, name=name, allow_pickle=allow_pickle, as_json=as_json,
        )  # fmt: skip
    elif data_set is None:
        raise UsageError(
            "nothing to evaluate", hint="give a data set with --model, an image benchmark with --detector, or --scores"
        )
    elif data_set in IMAGE_BENCHMARKS:
        from streamad.cli.evaluate_images import evaluate_images

        _refuse("image benchmarks", model=model, label_set=label_set, workers=workers, **files, **protocol)
        if detector is None:
            raise UsageError(f"{data_set} is an image benchmark: which detector?", hint="give --detector NAME")
        evaluate_images(
            data_set, detector, folder=folder, seeds=seeds, classes=classes, out=out, option=option, device=device,
            threads=threads, as_json=as_json,
        )  # fmt: skip
    else:
        from streamad.cli.evaluate_videos import evaluate_videos

        if model is None:
            known = ", ".join(IMAGE_BENCHMARKS)
            raise UsageError(f"{data_set}: with which model?", hint=f"give --model NAME (image benchmarks are {known})")
        _refuse("video data sets", **files, **images)
        evaluate_videos(
            data_set, model, folder=folder, out=out, label_set=label_set, normalization=normalization, edge=edge,
            single_class=single_class, threshold=threshold, workers=workers, engine=engine, precision=precision,
            threads=threads, name=name,
            allow_pickle=allow_pickle, as_json=as_json,
        )  # fmt: skip


def _refuse(what: str, **options: object) -> None:
    """Options of another kind of evaluation are an error: ignored, they would seem to count."""
    given = [f"--{name.replace('_', '-')}" for name, value in options.items() if value is not None]
    if given:
        raise UsageError(f"{', '.join(given)} does not apply to {what}", hint="see streamad evaluate --help")


def compare(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT...", help="Folders of `streamad evaluate`.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Markdown file to write as well.")] = None,
    draws: Annotated[
        int, typer.Option("--draws", min=0, help="Draws of test clips for the 95 % intervals; 0: no intervals.")
    ] = 2000,
    as_json: JsonOption = False,
) -> None:
    """Put several evaluations side by side, with intervals of their figures and of the differences to the first."""
    from streamad.cli.evaluate_videos import compare_results

    compare_results(results, out=out, draws=draws, as_json=as_json)
