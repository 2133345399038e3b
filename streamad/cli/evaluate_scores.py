"""`streamad evaluate-scores`: the scores of any program against labels."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from streamad import __version__
from streamad.cli.common import JsonOption, out_option, output_folder, say, say_notes
from streamad.cli.evaluate import (
    AllowPickleOption,
    EdgeOption,
    NameOption,
    NormalizationOption,
    SingleClassOption,
    protocol_of,
    show_result,
    threshold_option,
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
        Path | None, out_option("Folder for a report and scores.csv. Default: none is written.", "--report")
    ] = None,
    name: NameOption = None,
    as_json: JsonOption = False,
    normalization: NormalizationOption = None,
    edge: EdgeOption = "leave_out",
    single_class: SingleClassOption = "leave_out",
    threshold: Annotated[float | None, threshold_option("alerts are not evaluated")] = None,
) -> None:
    """Evaluate scores from any program against labels.

    Examples:
        streamad evaluate-scores theirs.npz --labels labels.npz --out results/theirs
        streamad evaluate-scores scores.csv --threshold 0.3 --fps 25 --json
    """
    from streamad.calibration import AlertPolicySpec
    from streamad.evaluation.report import ReportContent
    from streamad.evaluation.result import AlertMetrics, ClipRecord, EvaluationRecord, Origin
    from streamad.evaluation.score_files import read_labels, read_scores
    from streamad.evaluation.scored_clips import ScoredClip
    from streamad.evaluation.scores import inversion_note, protocols_of
    from streamad.workflows.evaluate import with_alerts
    from streamad.workflows.evaluate_report import write_report

    scores, labels = read_scores(scores_file, allow_pickle=allow_pickle)
    notes: list[str] = []
    if labels_file is not None:
        labels = read_labels(labels_file, scores, allow_pickle=allow_pickle, note=notes.append)
    if labels is None:
        raise UsageError(f"{scores_file} has no labels", hint="give --labels FILE, or a CSV with a column `label`")
    if threshold is not None and fps is None:
        raise UsageError("--threshold requires the frame rate, for delays and alerts per hour", hint="give --fps")
    clips = [ScoredClip(clip, scores[clip], labels[clip], fps) for clip in scores]
    policy = None
    if threshold is not None:
        policy = AlertPolicySpec().at(threshold, baseline=threshold)
        clips = [with_alerts(clip, policy) for clip in clips]
    protocols = protocols_of(clips, **protocol_of(normalization, edge, single_class))
    notes += inversion_note(protocols)
    say_notes(notes)
    result = EvaluationRecord(
        name=name or scores_file.stem,
        data_set=scores_file.name,
        label_set=labels_file.name if labels_file else "label column",
        clips=tuple(ClipRecord.of(clip) for clip in clips),
        protocols=protocols,
        localization=None,
        alerts=None if policy is None else AlertMetrics.of(clips, policy),
        origin=Origin(streamad=__version__),
        notes=(*notes, "Scores of another program: whether anything was selected on test data is not known here."),
    )
    if out is not None:
        place = output_folder(out)
        write_report(place, ReportContent(result), clips)
        say(f"{place}: report.html, report.md, result.json, scores.csv")
    show_result(result, as_json)
