"""`streamad evaluate` of video data sets and of score files; `streamad compare`."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import typer

from streamad import __version__
from streamad.cli.common import data, emit, engine_spec, output_folder, progress_bar, say, table
from streamad.errors import ExitCode, UsageError

if TYPE_CHECKING:
    from streamad.evaluation.result import EvaluationResult
    from streamad.evaluation.scores import Edge, SingleClass
    from streamad.scoring import Normalization
    from streamad.workflows.evaluate_scoring import ClipScores


def evaluate_videos(
    data_set: str,
    model: str,
    *,
    folder: Path | None,
    out: Path | None,
    label_set: str | None,
    normalization: str | None,
    edge: str,
    single_class: str,
    threshold: float | None,
    workers: int | None,
    engine: str,
    precision: str,
    threads: int | None,
    name: str | None,
    allow_pickle: bool,
    as_json: bool,
) -> None:
    """Score the test clips of a data set and write scores, figures and a report."""
    from streamad.bundle import load_bundle
    from streamad.evaluation.datasets import DATASETS, load_dataset
    from streamad.evaluation.result import inversion_note
    from streamad.workflows.evaluate import evaluate_dataset
    from streamad.workflows.evaluate_report import write_report, write_scores

    protocols, edges, single = _protocols(normalization), _edge(edge), _single(single_class)
    bundle = load_bundle(model)
    if folder is None and data_set.lower() in DATASETS:
        root = os.environ.get("STREAMAD_DATA")
        if not root:
            raise UsageError(
                f"where is {data_set}?", hint="give --data DIR, or set STREAMAD_DATA to the folder that has it"
            )
        folder = Path(root)
    dataset = load_dataset(data_set, folder, label_set=label_set, allow_pickle=allow_pickle, keep_damaged=True)
    place = output_folder(out or Path("results") / f"{dataset.name}-{bundle.name}")
    frames = sum(clip.frames for clip in dataset.testing)
    say(f"{dataset.name}, labels {dataset.labels}: {len(dataset.testing)} test clips, {frames} frames; {bundle.name}")
    for problem in dataset.problems:
        say(problem)
    for note in dataset.notes:
        say(f"note: {note}")
    with progress_bar() as bar:
        task = bar.add_task("scoring", total=len(dataset.testing))

        def progress(clip: ClipScores, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=f"scored {clip.name}")
            for problem in clip.problems:
                say(f"{clip.name}: {problem}")

        evaluated = evaluate_dataset(
            dataset, bundle, place, name=name, engine=engine_spec(engine, threads, precision), workers=workers,
            protocols=protocols, edge=edges, single_class=single, threshold=threshold, progress=progress,
        )  # fmt: skip
    write_scores(place, evaluated)
    write_report(place, evaluated, dataset)
    broken = [clip.name for clip in evaluated.result.clips if clip.problems]
    if broken:
        say(f"{len(broken)} clips have problems ({', '.join(broken[:5])}): see the report")
    for note in inversion_note(evaluated.result.protocols):
        say(f"note: {note}")
    _show(evaluated.result, as_json)
    say(f"{place}: report.html, report.md, result.json, scores.csv, scores.npz")
    if dataset.problems or any(not clip.scored and clip.problems for clip in evaluated.result.clips):
        raise typer.Exit(ExitCode.SOURCE)  # the figures lack the frames of clips that cannot be read


def evaluate_files(
    scores_file: Path,
    labels_file: Path | None,
    *,
    out: Path | None,
    normalization: str | None,
    edge: str,
    single_class: str,
    threshold: float | None,
    fps: float | None,
    name: str | None,
    allow_pickle: bool,
    as_json: bool,
) -> None:
    """Evaluate scores that were made elsewhere."""
    from streamad.calibration import AlertPolicySpec
    from streamad.evaluation.report import ReportContent, figures_of, html_report, markdown_report
    from streamad.evaluation.result import ClipRecord, EvaluationResult, Origin, inversion_note, protocols_of
    from streamad.evaluation.score_files import read_labels, read_scores
    from streamad.evaluation.scored_clips import ScoredClip
    from streamad.files import write_atomic
    from streamad.workflows.evaluate_events import alert_metrics, alerts_of
    from streamad.workflows.evaluate_report import scores_csv, write_figures

    scores, labels = read_scores(scores_file, allow_pickle=allow_pickle)
    notes: list[str] = []
    if labels_file is not None:
        labels = read_labels(labels_file, scores, allow_pickle=allow_pickle, note=notes.append)
    if labels is None:
        raise UsageError(f"{scores_file} has no labels", hint="give --labels FILE, or a CSV with a column label")
    if threshold is not None and fps is None:
        raise UsageError("--threshold needs the frames a second, for delays and alerts an hour", hint="give --fps")
    names = list(scores)
    values, truth = [scores[n] for n in names], [labels[n] for n in names]
    policy = None if threshold is None else AlertPolicySpec().at(threshold, baseline=threshold)
    traces = []
    for n, v, t in zip(names, values, truth, strict=True):
        alerts = ((), frozenset[int]()) if policy is None or fps is None else alerts_of(n, v, fps, policy)
        traces.append(ScoredClip(n, v, t, fps, *alerts))
    protocols = protocols_of(
        values,
        truth,
        names=names,
        protocols=_protocols(normalization),
        edge=_edge(edge),
        single_class=_single(single_class),
    )
    notes += inversion_note(protocols)
    for note in notes:
        say(f"note: {note}")
    result = EvaluationResult(
        name=name or scores_file.stem,
        data_set=scores_file.name,
        label_set=labels_file.name if labels_file else "label column",
        clips=tuple(
            ClipRecord(n, len(v), int((~np.isnan(v)).sum()), int(t.sum()))
            for n, v, t in zip(names, values, truth, strict=True)
        ),
        protocols=protocols,
        localization=None,
        alerts=None if policy is None else alert_metrics(traces, policy),
        origin=Origin(streamad=__version__),
        notes=(*notes, "Scores of another program: whether anything was picked on test data is not known here."),
    )
    if out is not None:
        place = output_folder(out)
        write_atomic(place / "scores.csv", scores_csv(traces))
        result.save(place / "result.json")
        figures = figures_of(traces, threshold=threshold)
        write_figures(place, figures)
        write_atomic(place / "report.md", markdown_report(result, list(figures)))
        write_atomic(place / "report.html", html_report(ReportContent(result), figures))
        say(f"{place}: report.html, report.md, result.json, scores.csv")
    _show(result, as_json)


def compare_results(folders: Sequence[Path], *, out: Path | None, draws: int, as_json: bool) -> None:
    """Put results side by side, with intervals where their scores allow it."""
    from streamad.errors import DatasetError
    from streamad.evaluation.bootstrap import FigureIntervals, intervals_of
    from streamad.evaluation.report import comparison_markdown
    from streamad.evaluation.result import EvaluationResult, inversion_note
    from streamad.files import write_atomic

    results = [EvaluationResult.load(folder) for folder in folders]
    sets = {(r.data_set, r.label_set) for r in results}
    if len(sets) > 1:
        say("note: these runs are of different data sets or label sets; their figures do not compare")
    for result in results:
        for note in inversion_note(result.protocols):
            say(f"note: {result.name}: {note}")
    frames = {r.protocols[0].frames for r in results}
    if len(sets) == 1 and len(frames) > 1:
        say(f"note: the runs scored different numbers of frames ({', '.join(map(str, sorted(frames)))})")
    intervals: list[FigureIntervals] = []
    if draws:
        try:
            intervals = intervals_of(folders, results, draws=draws)
        except DatasetError as error:
            say(f"note: no intervals: {error}" + (f"; {error.hint}" if error.hint else ""))
    page = comparison_markdown(results, intervals, draws)
    if out is not None:
        write_atomic(out, page)
    if as_json:
        emit({"results": [asdict(r) for r in results], "draws": draws, "intervals": [asdict(i) for i in intervals]})
    else:
        data(page.rstrip("\n"))


def _show(result: EvaluationResult, as_json: bool) -> None:
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


def _protocols(text: str | None) -> tuple[Normalization, ...] | None:
    from streamad.scoring import NORMALIZATIONS

    if text is None:
        return None
    chosen = [part.strip() for part in text.split(",")]
    wrong = [part for part in chosen if part not in NORMALIZATIONS]
    if wrong:
        raise UsageError(f"--normalization {wrong[0]!r}: expected {', '.join(NORMALIZATIONS)}, with commas")
    return cast("tuple[Normalization, ...]", tuple(chosen))


def _edge(text: str) -> Edge:
    return cast("Edge", _one_of("--edge", text))


def _single(text: str) -> SingleClass:
    return cast("SingleClass", _one_of("--single-class", text))


def _one_of(option: str, text: str) -> str:
    if text not in ("leave_out", "pad"):
        raise UsageError(f"{option} {text!r}: expected leave_out or pad")
    return text
