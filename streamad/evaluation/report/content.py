"""What a report is made of, beside the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamad.evaluation.result import EvaluationResult


@dataclass(frozen=True)
class Thumbnail:
    """A frame worth looking at.

    Attributes:
        caption: clip, frame, score, why it is here.
        jpeg: the picture, its heat map laid over.
    """

    caption: str
    jpeg: bytes = field(repr=False)


@dataclass(frozen=True)
class ReportContent:
    """All that a report shows.

    Attributes:
        result: the figures.
        false_alarms: the normal frames with the highest scores.
        misses: the abnormal frames with the lowest scores.
    """

    result: EvaluationResult
    false_alarms: Sequence[Thumbnail] = ()
    misses: Sequence[Thumbnail] = ()
