"""The table of scores: one CSV format for `streamad score`, the score log of `streamad run` and `streamad evaluate`.

`streamad.evaluation.score_files.read_scores` reads it. Every table has all columns; a value that is unknown is empty.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable
from dataclasses import dataclass

from streamad.scoring.frame_score import FrameScore

COLUMNS = (
    "index",
    "pts_seconds",
    "raw_score",
    "score",
    "alert",
    "skipped_reason",
    "peak_row",
    "peak_col",
    "latency_seconds",
    "label",
    "local_score",
    "clip",
)


@dataclass(frozen=True, slots=True)
class ScoreRow:
    """One frame.

    Attributes:
        clip: Name of the clip or camera.
        index: Number of the frame.
        raw_score: The raw score, NaN where there is none. It is written so that reading it gives the same number.
        score: The score on the scale that was asked for (live: the calibrated score), NaN where there is none.
        pts_seconds: Presentation time; None if unknown.
        alert: Whether an event is open after this frame.
        skipped_reason: Why the frame has no score ("warming_up", "quality:dark").
        peak: (row, col) of the anomaly map's highest location.
        latency_seconds: From the frame's decoding to its score.
        label: 0 normal, 1 abnormal.
        local_score: In an evaluation with per-location statistics, the score relative to them, which alerts are made
            of; `raw_score` is then the model's own.
    """

    clip: str
    index: int
    raw_score: float
    score: float
    pts_seconds: float | None = None
    alert: bool = False
    skipped_reason: str | None = None
    peak: tuple[int, int] | None = None
    latency_seconds: float | None = None
    label: int | None = None
    local_score: float | None = None

    @classmethod
    def of(
        cls,
        clip: str,
        score: FrameScore,
        *,
        shown: float,
        latency_seconds: float | None = None,
    ) -> ScoreRow:
        """The row of a scored frame.

        Args:
            clip: Name of the clip or camera.
            score: The frame's score.
            shown: The score on the scale that was asked for.
            latency_seconds: From the frame's decoding to its score.
        """
        return cls(
            clip,
            score.index,
            score.score,
            shown,
            score.pts_seconds,
            score.is_alert,
            score.cause,
            score.peak,
            latency_seconds,
        )


def table_header() -> str:
    """The line of the column names."""
    return _line(COLUMNS)


def table_line(row: ScoreRow) -> str:
    """The line of a frame."""
    at, col = row.peak or ("", "")
    return _line((
        row.index, "" if row.pts_seconds is None else f"{row.pts_seconds:.6f}", _number(row.raw_score),
        _number(row.score), int(row.alert), row.skipped_reason or "", at, col,
        "" if row.latency_seconds is None else f"{row.latency_seconds:.6f}", "" if row.label is None else row.label,
        _number(row.local_score), row.clip,
    ))  # fmt: skip


def score_table(rows: Iterable[ScoreRow]) -> str:
    """The whole table."""
    return "".join((table_header(), *(table_line(row) for row in rows)))


def _line(values: Iterable[object]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue()


def _number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else repr(float(value))
