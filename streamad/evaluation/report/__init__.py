"""The report of an evaluation: one self-contained HTML page and a Markdown page."""

from streamad.evaluation.report.content import ReportContent, Thumbnail
from streamad.evaluation.report.html import html_report
from streamad.evaluation.report.markdown import comparison_markdown, markdown_report
from streamad.evaluation.report.plots import figures_of

__all__ = ["ReportContent", "Thumbnail", "comparison_markdown", "figures_of", "html_report", "markdown_report"]
