"""The report as one HTML file that needs nothing else: no network, no folder beside it."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from html import escape as escape_html

from streamad.evaluation.report import tables
from streamad.evaluation.report.content import ReportContent, Thumbnail
from streamad.formatting import readable

_STYLE = """
body{font:15px/1.5 system-ui,sans-serif;color:#1b1b1b;background:#fff;max-width:1180px;margin:2rem auto;padding:0 1rem}
h1{font-size:1.6rem;margin:0 0 .5rem}h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-bottom:1px solid #ddd}
table{border-collapse:collapse;margin:.4rem 0;font-variant-numeric:tabular-nums}
th,td{padding:.25rem .7rem;border-bottom:1px solid #e4e4e4;text-align:left;vertical-align:top}
tr.headline td{font-weight:600;background:#eef6fb}p.note{color:#444;max-width:62rem}
svg{max-width:100%;height:auto}.two{display:flex;flex-wrap:wrap;gap:1.5rem}.two>div{flex:1 1 420px}
.shots{display:flex;flex-wrap:wrap;gap:1rem}figure{margin:0;width:270px}figure img{width:100%;display:block}
figcaption{font-size:.8rem;color:#333}.wide{overflow-x:auto}
@media (prefers-color-scheme:dark){body{background:#fff}}
"""

SHOTS = (
    "Yellow to red: cells from the median score of all cells to the highest thousandth. Blue: what is abnormal. One "
    "frame at most in two seconds."
)

GAP = (
    "Each clip's raw scores, normal and abnormal frames apart. Where rows stand at different levels, one threshold "
    "cannot serve all of them: that is what raw and calibrated figures count. The per-video protocol stretches every "
    "row to the same width first, which needs the clip's future, and makes that difference vanish."
)


def html_report(content: ReportContent, figures: Mapping[str, str]) -> str:
    """The page.

    Args:
        content: figures, traces, thumbnails.
        figures: the pictures, see `figures_of`.
    """
    result = content.result
    header, rows = tables.protocol_rows(result)
    parts = [
        f"<h1>{escape(result.name)}</h1>",
        _facts(tables.fact_rows(result)),
        "<h2>Frame level</h2>",
        _table(header, rows, headline=0),
        _note("The first row is the headline: it needs nothing that a camera does not have."),
        '<div class="two"><div>',
        figures["roc"],
        "</div><div>",
        figures["histogram"],
        "</div></div>",
        "<h2>Why protocols differ</h2>",
        figures["clips"],
        _note(GAP),
    ]
    alerts = tables.alert_rows(result)
    if alerts:
        parts += [
            "<h2>Alerts at the threshold</h2>",
            f'<div class="two"><div>{_facts(alerts)}</div><div>{_table(*tables.event_rows(result))}</div></div>',
        ]
    for title, facts in (
        ("Localization", tables.localization_rows(result)),
        ("Patch protocol (ADACL, ALPS)", tables.patch_rows(result)),
    ):
        if facts:
            parts += [f"<h2>{title}</h2>", _facts(facts)]
    parts += [
        "<h2>Scores over time</h2>",
        _note("Shaded: true intervals. Dashed: the threshold. Bars below: alerts."),
        figures["traces"],
    ]
    for title, shots in (("Worst false alarms", content.false_alarms), ("Worst misses", content.misses)):
        if shots:
            parts += [f"<h2>{title}</h2>", _note(SHOTS), _shots(shots)]
    header, rows = tables.clip_rows(result)
    parts += [
        "<h2>Clips</h2>",
        _note(f"AUC under {result.protocols[0].normalization}."),
        _table(header, rows),
        *(_note(note) for note in result.notes),
    ]
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{escape(result.name)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style></head>\n<body>\n{body}\n'
        "</body></html>\n"
    )


def escape(text: str) -> str:
    """Text as HTML shows it literally."""
    return escape_html(readable(text))


def _table(header: Sequence[str], rows: Sequence[Sequence[str]], headline: int | None = None) -> str:
    head = "".join(f"<th>{escape(text)}</th>" for text in header)
    lines = []
    for k, row in enumerate(rows):
        cells = "".join(f"<td>{escape(text)}</td>" for text in row)
        lines.append(f'<tr class="headline">{cells}</tr>' if k == headline else f"<tr>{cells}</tr>")
    return f'<div class="wide"><table><tr>{head}</tr>{"".join(lines)}</table></div>'


def _facts(rows: Sequence[Sequence[str]]) -> str:
    lines = "".join(f"<tr><th>{escape(name)}</th><td>{escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{lines}</table>"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>'


def _shots(shots: Sequence[Thumbnail]) -> str:
    figures = "".join(
        f'<figure><img alt="{escape(shot.caption)}" src="data:image/jpeg;base64,'
        f'{base64.b64encode(shot.jpeg).decode("ascii")}"><figcaption>{escape(shot.caption)}</figcaption></figure>'
        for shot in shots
    )
    return f'<div class="shots">{figures}</div>'
