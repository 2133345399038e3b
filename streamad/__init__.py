"""streamad: real-time video anomaly detection that learns from normal video alone.

The names below are the public API. They are imported when they are first used, so that `import streamad` loads no
decoder, no engine and no network. docs/reference/api/index.md has an example of each and says what is stable.
"""

import os
from typing import TYPE_CHECKING

from streamad.lazy import lazy_names

__version__ = "0.2.0"

# OpenCV reads this when it is loaded. Its own limit of 2^30 pixels lets an image of 1 MB take gigabytes.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 26))

if TYPE_CHECKING:
    from streamad.alerts.event import Event
    from streamad.alerts.store import EventStore
    from streamad.alerts.tracker import EventChange
    from streamad.api import evaluate, fit, load
    from streamad.calibration import AlertPolicy, AlertPolicySpec, Calibration
    from streamad.engines import EngineSpec
    from streamad.errors import StreamadError
    from streamad.evaluation import Evaluation, evaluate_scores
    from streamad.frame import Frame
    from streamad.inference import Model, ScoredFrame, Session
    from streamad.progress import Progress
    from streamad.scoring import FrameScore
    from streamad.service import WatchResult, watch
    from streamad.sources import (
        DeviceSpec,
        FileSpec,
        ImagesSpec,
        RtspSpec,
        Source,
        SourceSpec,
        open_source,
        parse_source,
    )
    from streamad.workflows.evaluate import EvaluationResult

__all__ = [
    "AlertPolicy",
    "AlertPolicySpec",
    "Calibration",
    "DeviceSpec",
    "EngineSpec",
    "Evaluation",
    "EvaluationResult",
    "Event",
    "EventChange",
    "EventStore",
    "FileSpec",
    "Frame",
    "FrameScore",
    "ImagesSpec",
    "Model",
    "Progress",
    "RtspSpec",
    "ScoredFrame",
    "Session",
    "Source",
    "SourceSpec",
    "StreamadError",
    "WatchResult",
    "evaluate",
    "evaluate_scores",
    "fit",
    "load",
    "open_source",
    "parse_source",
    "watch",
]

__getattr__ = lazy_names(
    __name__,
    {
        "alerts.event": "Event",
        "alerts.store": "EventStore",
        "alerts.tracker": "EventChange",
        "api": "evaluate fit load",
        "calibration": "AlertPolicy AlertPolicySpec Calibration",
        "engines": "EngineSpec",
        "errors": "StreamadError",
        "evaluation": "Evaluation evaluate_scores",
        "frame": "Frame",
        "inference": "Model ScoredFrame Session",
        "progress": "Progress",
        "scoring": "FrameScore",
        "service": "WatchResult watch",
        "sources": "DeviceSpec FileSpec ImagesSpec RtspSpec Source SourceSpec open_source parse_source",
        "workflows.evaluate": "EvaluationResult",
    },
)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
