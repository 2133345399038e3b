"""`streamad evaluate-scores`: the scores of any program against labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from streamad import __version__
from streamad.cli.common import JsonOption, output_folder, say, say_notes
from streamad.cli.evaluate import (
    PROTOCOL,
    AllowPickleOption,
    EdgeOption,
    NameOption,
    NormalizationOption,
    SingleClassOption,
    protocol_of,
    show_result,
)
from streamad.cli.help import arg, opt
from streamad.errors import UsageError


def evaluate_scores(
    scores_file: Annotated[
        Path, arg(unit="SCORES", help="Scores of each frame: .npz, .npy or .csv; higher is more anomalous.")
    ],
    labels_file: Annotated[
        Path | None,
        opt(
            "--labels",
            unit="FILE",
            help="Labels: .npz, .npy, .csv, or a folder of .npy. Default: the column `label` of a CSV.",
            panel="Input",
        ),
    ] = None,
    fps: Annotated[
        float | None,
        opt("--fps", min=0.1, unit="FPS", help="Frames per second; required by --threshold.", panel="Input"),
    ] = None,
    allow_pickle: AllowPickleOption = False,
    out: Annotated[
        Path | None,
        opt(
            "--out",
            "-o",
            "--report",
            unit="DIR",
            help="Folder for a report and scores.csv. Default: none is written.",
            panel="Output",
        ),
    ] = None,
    name: NameOption = None,
    as_json: JsonOption = False,
    normalization: NormalizationOption = None,
    edge: EdgeOption = "leave_out",
    single_class: SingleClassOption = "leave_out",
    threshold: Annotated[
        float | None,
        opt(
            "--threshold",
            unit="SCORE",
            help="Raw score that raises an alert. Default: alerts are not evaluated.",
            panel=PROTOCOL,
        ),
    ] = None,
) -> None:
    """Evaluate scores from any program against labels.

    Examples:
        streamad evaluate-scores theirs.npz --labels labels.npz --out results/theirs
        streamad evaluate-scores scores.csv --threshold 0.3 --fps 25 --json
    """
    import numpy as np

    from streamad.calibration import AlertPolicySpec
    from streamad.evaluation.report import ReportContent, figures_of, html_report, markdown_report
    from streamad.evaluation.result import ClipRecord, EvaluationRecord, Origin, inversion_note, protocols_of
    from streamad.evaluation.score_files import read_labels, read_scores
    from streamad.evaluation.scored_clips import ScoredClip
    from streamad.files import write_atomic
    from streamad.scoring.score_table import score_table
    from streamad.workflows.evaluate_events import alert_metrics, alerts_of
    from streamad.workflows.evaluate_report import score_rows, write_figures

    scores, labels = read_scores(scores_file, allow_pickle=allow_pickle)
    notes: list[str] = []
    if labels_file is not None:
        labels = read_labels(labels_file, scores, allow_pickle=allow_pickle, note=notes.append)
    if labels is None:
        raise UsageError(f"{scores_file} has no labels", hint="give --labels FILE, or a CSV with a column `label`")
    if threshold is not None and fps is None:
        raise UsageError("--threshold requires the frame rate, for delays and alerts per hour", hint="give --fps")
    names = list(scores)
    values, truth = [scores[n] for n in names], [labels[n] for n in names]
    policy = None if threshold is None else AlertPolicySpec().at(threshold, baseline=threshold)
    clips = []
    for n, v, t in zip(names, values, truth, strict=True):
        alerts = ((), frozenset[int]()) if policy is None or fps is None else alerts_of(n, v, fps, policy)
        clips.append(ScoredClip(n, v, t, fps, *alerts))
    protocols = protocols_of(values, truth, names=names, **protocol_of(normalization, edge, single_class))
    notes += inversion_note(protocols)
    say_notes(notes)
    result = EvaluationRecord(
        name=name or scores_file.stem,
        data_set=scores_file.name,
        label_set=labels_file.name if labels_file else "label column",
        clips=tuple(
            ClipRecord(n, len(v), int((~np.isnan(v)).sum()), int(t.sum()))
            for n, v, t in zip(names, values, truth, strict=True)
        ),
        protocols=protocols,
        localization=None,
        alerts=None if policy is None else alert_metrics(clips, policy),
        origin=Origin(streamad=__version__),
        notes=(*notes, "Scores of another program: whether anything was selected on test data is not known here."),
    )
    if out is not None:
        place = output_folder(out)
        write_atomic(place / "scores.csv", score_table(score_rows(clips)))
        result.save(place / "result.json")
        figures = figures_of(clips, threshold=threshold)
        write_figures(place, figures)
        write_atomic(place / "report.md", markdown_report(result, list(figures)))
        write_atomic(place / "report.html", html_report(ReportContent(result), figures))
        say(f"{place}: report.html, report.md, result.json, scores.csv")
    show_result(result, as_json)
