"""`streamad evaluate`: a model on a video data set, scores from files, or a detector on an image benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streamad.cli.common import DeviceOption, EngineOption, JsonOption, OptionsOption, PrecisionOption
from streamad.errors import UsageError


def evaluate(
    data_set: Annotated[
        str | None,
        typer.Argument(
            metavar="DATASET",
            help="Video: a name of `datasets list`, or a folder. Images: mnist, fashion-mnist, cifar10 or mvtec.",
        ),
    ] = None,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Video: the model bundle, a folder or a name of `models list`.")
    ] = None,
    folder: Annotated[
        Path | None, typer.Option("--data", help="Folder with the data set; default: in $STREAMAD_DATA.")
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", "--report", help="Folder of the results; default: results/DATASET-MODEL."),
    ] = None,
    scores: Annotated[
        Path | None, typer.Option("--scores", help="Evaluate scores made elsewhere: .npz, .npy or .csv.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option("--labels", help="With --scores: labels, .npz, .npy, .csv or a folder of .npy.")
    ] = None,
    label_set: Annotated[
        str | None, typer.Option("--label-set", help="Video: which labels, where a set has several (avenue).")
    ] = None,
    normalization: Annotated[
        str | None, typer.Option("--normalization", help="Protocols, with commas; default: all that are possible.")
    ] = None,
    edge: Annotated[
        str, typer.Option("--edge", help="Frames at a clip's ends without a score: leave_out or pad.")
    ] = "leave_out",
    single_class: Annotated[
        str, typer.Option("--single-class", help="Clips of one class in the macro AUC: leave_out or pad.")
    ] = "leave_out",
    workers: Annotated[int | None, typer.Option("--workers", min=1, help="Video: clips at a time.")] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "fp32",
    name: Annotated[str | None, typer.Option("--name", help="The run's name in reports and comparisons.")] = None,
    allow_pickle: Annotated[
        bool, typer.Option("--allow-pickle", help="Read pickled labels (arrays alone; nothing in them is run).")
    ] = False,
    detector: Annotated[
        str | None, typer.Option("--detector", help="Images: adacl, alps, igd or learned_noise.")
    ] = None,
    seeds: Annotated[str, typer.Option("--seeds", help="Images: seeds, with commas.")] = "1,2,3",
    classes: Annotated[
        str | None, typer.Option("--classes", help="Images: normal classes, with commas; default: all.")
    ] = None,
    option: OptionsOption = None,
    device: DeviceOption = "cpu",
    threads: Annotated[int | None, typer.Option("--threads", min=1, help="CPU threads.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Evaluate a model on a video data set, scores from files, or a detector on an image benchmark.

    Video: scores the test clips as a camera would be scored, and writes report.html, report.md, result.json, scores.csv
    and scores.npz. Started again, finished clips are not scored again.

    Images: trains with each class as the normal one; finished trainings are left, and one that was interrupted goes on.
    """
    from streamad.evaluation.images import IMAGE_BENCHMARKS

    if scores is not None:
        from streamad.cli.evaluate_videos import evaluate_files

        if data_set is not None or model is not None:
            raise UsageError("--scores evaluates a file: no data set and no --model", hint="leave one of them out")
        evaluate_files(
            scores, labels, out=out, normalization=normalization, edge=edge, single_class=single_class, name=name,
            allow_pickle=allow_pickle, as_json=as_json,
        )  # fmt: skip
    elif data_set is None:
        raise UsageError(
            "nothing to evaluate", hint="give a data set with --model, an image benchmark with --detector, or --scores"
        )
    elif data_set in IMAGE_BENCHMARKS:
        from streamad.cli.evaluate_images import evaluate_images

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
        evaluate_videos(
            data_set, model, folder=folder, out=out, label_set=label_set, normalization=normalization, edge=edge,
            single_class=single_class, workers=workers, engine=engine, precision=precision,
            threads=threads, name=name,
            allow_pickle=allow_pickle, as_json=as_json,
        )  # fmt: skip


def compare(
    results: Annotated[list[Path], typer.Argument(metavar="RESULT...", help="Folders of `streamad evaluate`.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Markdown file to write as well.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Put several evaluations side by side."""
    from streamad.cli.evaluate_videos import compare_results

    compare_results(results, out=out, as_json=as_json)
