"""`streamad evaluate`: a model on a video data set. The options and the table are shared with `evaluate-scores`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from streamad.cli.common import (
    EngineOption,
    JsonOption,
    ModelOption,
    PrecisionOption,
    ThreadsOption,
    emit,
    engine_spec,
    one_of,
    out_option,
    output_folder,
    progress_bar,
    say,
    say_notes,
    table,
)
from streamad.cli.completion import DATASETS, IMAGE_BENCHMARKS, complete_from
from streamad.cli.help import arg, opt
from streamad.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from streamad.evaluation.result import EvaluationRecord
    from streamad.evaluation.scored_clips import ScoredClip

PROTOCOL = "Protocol"

NameOption = Annotated[
    str | None, opt("--name", unit="TEXT", help="Name of the run in reports and comparisons.", panel="Output")
]
NormalizationOption = Annotated[
    str | None,
    opt(
        "--normalization",
        unit="NAMES",
        help="raw, per_video, running, calibrated; comma-separated. Default: all that apply.",
        panel=PROTOCOL,
    ),
]
EdgeOption = Annotated[
    str,
    opt("--edge", unit="RULE", help="Frames without a score at the ends of a clip: leave_out or pad.", panel=PROTOCOL),
]
SingleClassOption = Annotated[
    str,
    opt(
        "--single-class", unit="RULE", help="Clips with one class, in the macro AUC: leave_out or pad.", panel=PROTOCOL
    ),
]
AllowPickleOption = Annotated[
    bool, opt("--allow-pickle", help="Read pickled labels. Only arrays are read; no code in them runs.", panel="Input")
]


def threshold_option(default: str) -> Any:
    """The option for a threshold whose default is described so."""
    return opt("--threshold", unit="SCORE", help=f"Raw score that raises an alert. Default: {default}.", panel=PROTOCOL)


def _not_images(name: str) -> str:
    """Refuse the image benchmarks, which this command ran before they had one of their own."""
    if name in IMAGE_BENCHMARKS:
        raise UsageError(f"{name} is an image benchmark: use `streamad benchmark-images {name}`")
    return name


def evaluate(
    data_set: Annotated[
        str,
        arg(
            unit="DATASET",
            help="A name from `streamad datasets list`, or a folder with training/ and testing/.",
            complete=complete_from(DATASETS),
            callback=_not_images,
        ),
    ],
    model: ModelOption,
    folder: Annotated[
        Path | None,
        opt(
            "--data", unit="DIR", help="Folder of the data set, or its parent. Default: $STREAMAD_DATA.", panel="Input"
        ),
    ] = None,
    label_set: Annotated[
        str | None, opt("--label-set", unit="NAME", help="Label set, if there are several (avenue).", panel="Input")
    ] = None,
    clips: Annotated[
        str | None,
        opt(
            "--clips",
            unit="NAMES",
            help="Part of the test clips: names, numbers, and ranges such as 1..4, comma-separated. Default: all.",
            panel="Input",
        ),
    ] = None,
    allow_pickle: AllowPickleOption = False,
    out: Annotated[
        Path | None,
        out_option("Folder of the results. Default: results/DATASET-MODEL, with -part for a part.", "--report"),
    ] = None,
    name: NameOption = None,
    as_json: JsonOption = False,
    normalization: NormalizationOption = None,
    edge: EdgeOption = "leave_out",
    single_class: SingleClassOption = "leave_out",
    threshold: Annotated[float | None, threshold_option("the model's calibration")] = None,
    engine: EngineOption = "auto",
    precision: PrecisionOption = "fp32",
    threads: ThreadsOption = None,
    workers: Annotated[
        int | None,
        opt("--workers", min=1, unit="N", help="Clips scored at a time. Default: by CPUs and memory.", panel="Engine"),
    ] = None,
) -> None:
    """Evaluate a model on a video data set.

    Scores the test clips as a camera's frames would be scored, and writes report.html, report.md, result.json,
    scores.csv and scores.npz. If interrupted, the same command continues; clips that are finished are not scored again.

    Examples:
        streamad evaluate ped2 --data ~/datasets --model motion-ped2
        streamad evaluate ped2 --data ~/datasets --model motion-ped2 --clips 1..4
        streamad evaluate site/ --model models/gate --out results/gate
    """
    from streamad.bundle import load_bundle
    from streamad.evaluation.datasets import part_of
    from streamad.evaluation.report.tables import NOT_COMPARABLE
    from streamad.evaluation.scores import inversion_note
    from streamad.workflows.evaluate import default_name, evaluate_dataset, find_test_data

    protocol = protocol_of(normalization, edge, single_class)
    bundle = load_bundle(model)
    dataset = find_test_data(data_set, folder, label_set=label_set, allow_pickle=allow_pickle)
    if clips is not None:
        dataset = part_of(dataset, [part for part in clips.split(",") if part.strip()])
    place = output_folder(out or Path("results") / default_name(dataset, bundle))
    frames = sum(clip.frames for clip in dataset.testing)
    say(f"{dataset.name}, labels {dataset.labels}: {len(dataset.testing)} test clips, {frames} frames; {bundle.name}")
    if dataset.whole is not None:
        say(f"note: a part, {len(dataset.testing)} of {dataset.whole} test clips: {NOT_COMPARABLE}")
    for problem in dataset.problems:
        say(problem)
    say_notes(dataset.notes)
    with progress_bar() as bar:
        task = bar.add_task("scoring", total=len(dataset.testing))

        def report_clip(clip: ScoredClip) -> None:
            bar.update(task, advance=1, description=f"scored {clip.name}")
            for problem in clip.problems:
                say(f"{clip.name}: {problem}")

        evaluated = evaluate_dataset(
            dataset, bundle, place, name=name, engine=engine_spec(engine, threads, precision), workers=workers,
            **protocol, threshold=threshold, on_clip=report_clip,
        )  # fmt: skip
    evaluated.report(place)
    broken = [clip.name for clip in evaluated.record.clips if clip.problems]
    if broken:
        say(f"{len(broken)} clips have problems ({', '.join(broken[:5])}): see the report")
    say_notes(inversion_note(evaluated.record.protocols))
    show_result(evaluated.record, as_json)
    say(f"{place}: report.html, report.md, result.json, scores.csv, scores.npz")
    if dataset.problems or any(not clip.scored and clip.problems for clip in evaluated.record.clips):
        raise typer.Exit(ExitCode.SOURCE)  # the metrics lack the frames of unreadable clips


def show_result(result: EvaluationRecord, as_json: bool) -> None:
    """Print the metrics of each protocol."""
    if as_json:
        emit(asdict(result))
        return
    table(
        [
            {
                "protocol": e.normalization,
                "AUC micro": f"{e.auc_micro:.4f}",
                "AUC macro": None if e.auc_macro is None else f"{e.auc_macro:.4f}",
                "EER": f"{e.eer:.4f}",
                "AP": f"{e.average_precision:.4f}",
                "base rate": f"{e.base_rate:.4f}",
                "frames": e.frames,
                "unscored": e.unscored_frames,
            }
            for e in result.protocols
        ]
    )


def protocol_of(normalization: str | None, edge: str, single_class: str) -> Mapping[str, Any]:
    """The checked options of the protocol, as keyword arguments of `evaluate_dataset` and `protocols_of`.

    Raises:
        UsageError: An option has an unknown value.
    """
    from streamad.scoring import NORMALIZATIONS

    names = None if normalization is None else [part.strip() for part in normalization.split(",")]
    rules = ("leave_out", "pad")
    return {
        "protocols": names and tuple(one_of("--normalization", name, NORMALIZATIONS) for name in names),
        "edge": one_of("--edge", edge, rules),
        "single_class": one_of("--single-class", single_class, rules),
    }
