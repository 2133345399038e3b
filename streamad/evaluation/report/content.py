"""What a report is made of, beside the figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from streamad.evaluation.result import EvaluationResult
from streamad.evaluation.traces import Trace
from streamad.scoring import Calibration


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
        traces: scores of each clip.
        calibration: gives the threshold in the pictures; None draws none.
        false_alarms: the normal frames with the highest scores.
        misses: the abnormal frames with the lowest scores.
    """

    result: EvaluationResult
    traces: Sequence[Trace]
    calibration: Calibration | None = None
    false_alarms: Sequence[Thumbnail] = ()
    misses: Sequence[Thumbnail] = ()
