"""The report of an evaluation: one self-contained HTML page and a Markdown page."""

from streamad.evaluation.report.pages import (
    ReportContent,
    Thumbnail,
    comparison_markdown,
    html_report,
    markdown_report,
)
from streamad.evaluation.report.plots import figures_of

__all__ = ["ReportContent", "Thumbnail", "comparison_markdown", "figures_of", "html_report", "markdown_report"]
