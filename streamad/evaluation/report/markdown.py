"""The report as Markdown: figures and tables, no pictures of frames."""

from __future__ import annotations

from collections.abc import Sequence

from streamad.evaluation.bootstrap import FigureIntervals
from streamad.evaluation.report import tables
from streamad.evaluation.result import EvaluationResult
from streamad.formatting import markdown

_EXPLAINED = (
    "`calibrated` is the headline: its scores are mapped by statistics of normal training video alone, which a camera "
    "has. One strictly increasing map for all clips leaves their ranking as it is, so its AUC is that of `raw`; what "
    "it adds is a threshold. `per_video` stretches each test clip's scores to 0..1, which needs the clip's future and "
    "flatters where clips differ in level."
)

_CAPTIONS = {
    "roc": "ROC curves of all scored frames under each protocol",
    "histogram": "Raw scores of normal and abnormal frames, with the threshold",
    "clips": "Why protocols differ: the raw scores of each clip. One threshold must serve rows that stand at different "
    "levels; `per_video` stretches every row to the same width first",
    "traces": "Raw scores over time: true intervals shaded, the threshold dashed, alerts as bars",
}


def markdown_report(result: EvaluationResult, figures: Sequence[str] = ()) -> str:
    """A page of one evaluation.

    Args:
        result: the figures.
        figures: names of pictures that lie beside it as figures/NAME.svg.
    """
    header, rows = tables.protocol_rows(result)
    lines = [f"# {markdown(result.name)}", "", *_table(("", ""), tables.fact_rows(result)), "", "## Frame level", ""]
    lines += [*_table(header, rows), "", _EXPLAINED, ""]
    for name in figures:
        lines += [f"![{_CAPTIONS[name]}](figures/{name}.svg)", "", f"{_CAPTIONS[name]}.", ""]
    for title, facts in (
        ("Alerts at the threshold", tables.alert_rows(result)),
        ("Localization", tables.localization_rows(result)),
        ("Patch protocol (ADACL, ALPS)", tables.patch_rows(result)),
    ):
        if facts:
            lines += [f"## {title}", "", *_table(("", ""), facts), ""]
        if facts and title.startswith("Alerts"):
            header, rows = tables.event_rows(result)
            lines += [*_table(header, rows), ""]
    header, rows = tables.clip_rows(result)
    lines += ["## Clips", "", f"AUC under `{result.protocols[0].normalization}`.", "", *_table(header, rows), ""]
    lines += [f"- {markdown(note)}" for note in result.notes]
    return "\n".join(lines).rstrip() + "\n"


def comparison_markdown(
    results: Sequence[EvaluationResult], intervals: Sequence[FigureIntervals] = (), draws: int = 0
) -> str:
    """Several runs side by side; with intervals, a second table of them."""
    header, rows = tables.comparison_rows(results)
    lines = _table(header, rows)
    if intervals:
        clips = len(results[0].clips)
        said = (
            f"95 % intervals over test clips: {draws} times, {clips} of the {clips} clips were drawn with replacement,"
        )
        lines += ["", f"{said} the same for all runs.", "", *_table(*tables.interval_rows(results, intervals))]
    return "\n".join(lines) + "\n"


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(_cell(text) for text in header)} |", f"|{'---|' * len(header)}"]
    return lines + [f"| {' | '.join(_cell(text) for text in row)} |" for row in rows]


def _cell(text: str) -> str:
    return markdown(text)
