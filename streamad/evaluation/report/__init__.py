"""Render an evaluation as one self-contained HTML page, or as Markdown.

The pages are Jinja templates in `templates/`; their tables come from `tables`, their plots from `plots`. Names of
files and clips can contain anything, so every value is escaped unless it is already markup.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from streamad.evaluation.bootstrap import MetricIntervals
from streamad.evaluation.report import tables
from streamad.evaluation.report.plots import figures_of
from streamad.evaluation.result import EvaluationRecord
from streamad.formatting import markdown, readable

__all__ = ["ReportContent", "Thumbnail", "comparison_markdown", "figures_of", "html_report", "markdown_report"]

_CAPTIONS = {
    "roc": "ROC curves of all scored frames under each protocol",
    "histogram": "Raw scores of normal and abnormal frames, with the threshold",
    "clips": "Why protocols differ: the raw scores of each clip. One threshold must suit rows that lie at different "
    "levels; per_video first stretches every row to the same range",
    "traces": "Raw scores over time: abnormal intervals shaded, the threshold dashed, alerts as bars",
}


@dataclass(frozen=True)
class Thumbnail:
    """A frame shown in the report.

    Attributes:
        caption: Clip, frame, score, and why the frame was chosen.
        jpeg: The frame with its anomaly map overlaid, JPEG-encoded.
    """

    caption: str
    jpeg: bytes = field(repr=False)

    @property
    def data_uri(self) -> str:
        """The image as a `data:` URI."""
        return f"data:image/jpeg;base64,{base64.b64encode(self.jpeg).decode('ascii')}"


@dataclass(frozen=True)
class ReportContent:
    """Everything a report shows.

    Attributes:
        result: The metrics.
        false_alarms: The normal frames with the highest scores.
        misses: The abnormal frames with the lowest scores.
    """

    result: EvaluationRecord
    false_alarms: Sequence[Thumbnail] = ()
    misses: Sequence[Thumbnail] = ()


def html_report(content: ReportContent, figures: Mapping[str, str]) -> str:
    """Render an evaluation as an HTML page that needs no network and no other files.

    Args:
        content: Metrics and thumbnails.
        figures: SVG plots by name; see `figures_of`.
    """
    plots = {name: Markup(svg) for name, svg in figures.items()}  # noqa: S704 - our own plots, not text from outside
    return _render("report.html.jinja", readable, content=content, result=content.result, figures=plots)


def markdown_report(result: EvaluationRecord, figures: Sequence[str] = ()) -> str:
    """Render an evaluation as Markdown: metrics and tables, without pictures of frames.

    Args:
        result: The metrics.
        figures: Names of plots stored beside the page as figures/NAME.svg.
    """
    page = _render("report.md.jinja", _markdown, result=result, figures=figures, captions=_CAPTIONS)
    return page.rstrip() + "\n"


def comparison_markdown(
    results: Sequence[EvaluationRecord], intervals: Sequence[MetricIntervals] = (), draws: int = 0
) -> str:
    """Render several runs side by side as a Markdown table, with a second table of intervals if any are given."""
    clips = len(results[0].clips)
    return _render("comparison.md.jinja", _markdown, results=results, intervals=intervals, draws=draws, clips=clips)


def _render(template: str, escape: Callable[[str], str], **values: object) -> str:
    """Render a template; `escape` is applied to every value that is not `Markup` (and HTML escaping after that)."""

    def finalize(value: Any) -> Any:
        return value if isinstance(value, Markup) else escape(str(value))

    environment = Environment(
        loader=PackageLoader("streamad.evaluation.report"),
        autoescape=True,
        finalize=finalize,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        undefined=StrictUndefined,
    )
    environment.globals.update({name: getattr(tables, name) for name in dir(tables) if name.endswith("_rows")})
    return environment.get_template(template).render(values)


def _markdown(text: str) -> Markup:
    return Markup(markdown(text))  # noqa: S704 - `markdown` escapes HTML too
