"""The report as Markdown: figures and tables, no pictures of frames."""

from __future__ import annotations

from collections.abc import Sequence

from streamad.evaluation.report import tables
from streamad.evaluation.result import EvaluationResult

_EXPLAINED = (
    "`calibrated` is the headline: its scores are mapped by statistics of normal training video alone, which a camera "
    "has. One strictly increasing map for all clips leaves their ranking as it is, so its AUC is that of `raw`; what "
    "it adds is a threshold. `per_video` stretches each test clip's scores to 0..1, which needs the clip's future and "
    "flatters where clips differ in level."
)


def markdown_report(result: EvaluationResult) -> str:
    """A page of one evaluation."""
    header, rows = tables.protocol_rows(result)
    lines = [f"# {result.name}", "", *_table(("", ""), tables.fact_rows(result)), "", "## Frame level", ""]
    lines += [*_table(header, rows), "", _EXPLAINED, ""]
    for title, facts in (
        ("Alerts at the calibrated threshold", tables.alert_rows(result)),
        ("Localisation", tables.localisation_rows(result)),
        ("Patch protocol (ADACL, ALPS)", tables.patch_rows(result)),
    ):
        if facts:
            lines += [f"## {title}", "", *_table(("", ""), facts), ""]
    header, rows = tables.clip_rows(result)
    lines += ["## Clips", "", f"AUC under `{result.protocols[0].normalization}`.", "", *_table(header, rows), ""]
    lines += [f"- {note}" for note in result.notes]
    return "\n".join(lines).rstrip() + "\n"


def comparison_markdown(results: Sequence[EvaluationResult]) -> str:
    """Several runs side by side."""
    header, rows = tables.comparison_rows(results)
    return "\n".join(_table(header, rows)) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(_cell(text) for text in header)} |", f"|{'---|' * len(header)}"]
    return lines + [f"| {' | '.join(_cell(text) for text in row)} |" for row in rows]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
