"""The report's tables as rows of text, shared by HTML, Markdown, and comparisons."""

from __future__ import annotations

from collections.abc import Sequence

from streamad.evaluation.bootstrap import MetricIntervals
from streamad.evaluation.result import EvaluationRecord
from streamad.formatting import counted

NEEDS = {
    "local": "only normal training video, cell by cell: what a camera has",
    "calibrated": "only normal training video: what a camera has",
    "raw": "nothing",
    "running": "the clip's past",
    "per_video": "the whole test clip, including its future: only for comparison with papers",
}

NOT_COMPARABLE = "not comparable with results on all clips"

Row = tuple[str, ...]


def protocol_rows(result: EvaluationRecord) -> tuple[Row, list[Row]]:
    """Frame-level metrics, one row per protocol, the headline first."""
    header = (
        "protocol",
        "needs",
        "AUC micro",
        "AUC macro",
        "EER",
        "average precision",
        "base rate",
        "frames",
        "unscored",
    )
    order = {name: k for k, name in enumerate(NEEDS)}
    rows: list[Row] = [
        (
            e.normalization,
            NEEDS[e.normalization],
            f"{e.auc_micro:.4f}",
            number(e.auc_macro),
            f"{e.eer:.4f}",
            f"{e.average_precision:.4f}",
            f"{e.base_rate:.4f}",
            str(e.frames),
            str(e.unscored_frames),
        )
        for e in sorted(result.protocols, key=lambda e: order[e.normalization])
    ]
    return header, rows


def fact_rows(result: EvaluationRecord) -> list[Row]:
    """What the metrics belong to."""
    origin = result.origin
    selected = {True: "YES: a choice was made by looking at test data", False: "no", None: "not stated"}
    first = result.protocols[0]
    single = [result.clips[k].name for k in first.single_class_videos]
    rows: list[Row] = [
        ("data set", f"{result.data_set}, labels {result.label_set}"),
        (
            "test clips",
            f"{len(result.clips) if result.part is None else result.part}, {sum(c.frames for c in result.clips)} frames"
            + ("" if result.part is None else f"; {NOT_COMPARABLE}"),
        ),
        ("model", f"{origin.model}, SHA-256 {origin.model_sha256}" if origin.model else "scores of another program"),
        ("selected on test data", selected[origin.selected_on_test_data]),
        ("checkpoint", origin.selection),
        (
            "edges of clips",
            {"leave_out": "frames without a score are left out", "pad": "take the nearest score"}[first.edge],
        ),
        (
            "clips of one class",
            f"{', '.join(single) or 'none'}; in the macro AUC: {first.single_class.replace('_', ' ')}",
        ),
        ("program", f"streamad {origin.streamad}"),
    ]
    if origin.engine:
        rows.append(("engine", origin.engine))
    if origin.seconds:
        frames = sum(c.frames for c in result.clips)
        rows.append(
            ("speed", f"{frames / origin.seconds:.0f} frames/s per worker, including decoding, on {origin.machine}")
        )
    return rows


def alert_rows(result: EvaluationRecord) -> list[Row]:
    """Alerts at the threshold; empty without alerts."""
    a = result.alerts
    if a is None:
        return []
    delay = "–" if a.mean_delay_seconds is None else f"{a.mean_delay_seconds:.2f} s"
    normal = a.frame_false_positive_rate
    over = f"{a.frame_true_positive_rate:.1%} of the abnormal, "
    over += "there are no normal frames" if normal is None else f"{normal:.1%} of the normal"
    source = "given on the command line: it is unknown whether test data was used to choose it"
    if a.alerts_per_day is not None:
        vouched = a.vouched_alerts_per_day or a.alerts_per_day
        source = f"from normal video only, for {counted(vouched, 'false alert')} per day"
        if vouched > a.alerts_per_day:
            source += f", the fewest that this much video supports ({number(a.alerts_per_day)} asked)"
    return [
        ("threshold (raw score)", f"{a.threshold:.4g}, {source}"),
        ("true events found", f"{a.found} of {a.found + a.missed}"),
        ("alerts", f"{a.right} right, {a.wrong} wrong"),
        ("false alerts per hour", f"{number(a.false_alerts_per_hour, 1)} (in {a.normal_seconds:.0f} s of normal time)"),
        ("mean delay", delay),
        ("scored frames over it", over),
    ]


def event_rows(result: EvaluationRecord) -> tuple[Row, list[Row]]:
    """One row per true event, missed ones first; no rows without alerts."""
    header = ("clip", "event, seconds", "first alert")
    events = () if result.alerts is None else result.alerts.events
    rows: list[Row] = [
        (
            e.clip,
            f"{e.start_seconds:.1f} to {e.end_seconds:.1f}",
            "missed" if e.delay_seconds is None else f"after {e.delay_seconds:.1f} s",
        )
        for e in sorted(events, key=lambda e: e.delay_seconds is not None)
    ]
    return header, rows


def localization_rows(result: EvaluationRecord) -> list[Row]:
    """Pixels, regions, tracks; empty without masks or anomaly maps."""
    found = result.localization
    if found is None:
        return []
    return [
        ("pixel AUC", f"{found.pixel_auc:.4f}"),
        ("RBDC", f"{found.rbdc:.4f} over {found.regions} regions"),
        ("TBDC", f"{found.tbdc:.4f} over {found.tracks} tracks"),
        ("compared", f"{found.frames} frames of {found.clips} clips with masks"),
    ]


def patch_rows(result: EvaluationRecord) -> list[Row]:
    """The three metrics of the patch protocol, each under its full name; empty if it does not apply."""
    p = result.patches
    if p is None:
        return []
    return [
        (
            "patch AUC, EER: single patches, not a frame-level metric",
            f"{p.patch_auc:.4f}, {p.patch_eer:.4f} over {p.patches} patches, {p.abnormal_patches} of them abnormal; "
            f"{p.left_out} left out",
        ),
        (
            "frame AUC, EER: highest patch, not normalized",
            f"{p.frame_auc:.4f}, {p.frame_eer:.4f} over {p.frames} frames",
        ),
        (
            "frame AUC, EER: highest patch, min-max per clip",
            f"{p.frame_auc_per_video:.4f}, {p.frame_eer_per_video:.4f}",
        ),
    ]


def clip_rows(result: EvaluationRecord) -> tuple[Row, list[Row]]:
    """One row per test clip."""
    header = ("clip", "frames", "scored", "abnormal", "AUC", "problems")
    aucs = result.protocols[0].auc_videos
    rows: list[Row] = [
        (c.name, str(c.frames), str(c.scored), str(c.abnormal), number(auc), "; ".join(c.problems) or "–")
        for c, auc in zip(result.clips, aucs, strict=True)
    ]
    return header, rows


def comparison_rows(results: Sequence[EvaluationRecord]) -> tuple[Row, list[Row]]:
    """Several runs side by side: one row per metric, one column per run."""
    header = ("", *(result.name for result in results))
    rows: list[Row] = [
        ("data set", *(f"{r.data_set} ({r.label_set})" for r in results)),
        ("model", *(r.origin.model or "–" for r in results)),
    ]
    if any(r.part for r in results):
        rows.append(("test clips", *("all" if r.part is None else f"{r.part}; {NOT_COMPARABLE}" for r in results)))
    for protocol in NEEDS:
        found = [next((e for e in r.protocols if e.normalization == protocol), None) for r in results]
        if not any(found):
            continue
        rows += [
            (f"{protocol}: AUC micro", *(number(e.auc_micro if e else None) for e in found)),
            (f"{protocol}: AUC macro", *(number(e.auc_macro if e else None) for e in found)),
            (f"{protocol}: EER", *(number(e.eer if e else None) for e in found)),
            (f"{protocol}: average precision", *(number(e.average_precision if e else None) for e in found)),
        ]
    first = [r.protocols[0] for r in results]
    rows += [
        ("base rate", *(number(e.base_rate) for e in first)),
        ("frames", *(str(e.frames) for e in first)),
    ]
    for name in ("pixel_auc", "rbdc", "tbdc"):
        if any(r.localization for r in results):
            rows.append((name.replace("_", " "), *(number(getattr(r.localization, name, None)) for r in results)))
    if any(r.alerts for r in results):
        alerts = [r.alerts for r in results]
        rows += [
            ("events found", *(f"{a.found} of {a.found + a.missed}" if a else "–" for a in alerts)),
            ("false alerts per hour", *(number(a.false_alerts_per_hour if a else None, 1) for a in alerts)),
            ("mean delay, s", *(number(a.mean_delay_seconds if a else None, 2) for a in alerts)),
        ]
    said = {True: "YES", False: "no", None: "?"}
    rows.append(("selected on test data", *(said[r.origin.selected_on_test_data] for r in results)))
    return header, rows


METRIC_NAMES = {"auc_micro": "AUC micro", "auc_macro": "AUC macro", "eer": "EER"}


def interval_rows(results: Sequence[EvaluationRecord], intervals: Sequence[MetricIntervals]) -> tuple[Row, list[Row]]:
    """Metrics with their intervals, and the differences of later runs from the first, with theirs."""
    names = [result.name for result in results]
    header = ("", *names, *(f"{name} − {names[0]}" for name in names[1:]))
    rows: list[Row] = [
        (
            f"{of.normalization}: {METRIC_NAMES[of.figure]}",
            *(f"{i.value:.4f} ({i.low:.3f} to {i.high:.3f})" for i in of.runs),
            *(f"{i.value:+.4f} ({i.low:+.3f} to {i.high:+.3f})" for i in of.differences),
        )
        for of in sorted(intervals, key=lambda of: list(NEEDS).index(of.normalization))
    ]
    return header, rows


def number(value: float | None, digits: int = 4) -> str:
    """Format a metric; a dash for None."""
    return "–" if value is None else f"{value:.{digits}f}"
