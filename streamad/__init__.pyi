from .alerts.event import Event
from .alerts.store import EventStore
from .alerts.tracker import EventChange
from .api import evaluate, fit, load
from .calibration import AlertPolicy, AlertPolicySpec, Calibration
from .engines import EngineSpec
from .errors import StreamadError
from .evaluation import Evaluation, evaluate_scores
from .frame import Frame
from .inference import Model, ScoredFrame, Session
from .protocols import Progress
from .scoring import FrameScore
from .service import WatchResult, watch
from .sources import (
    DeviceSpec,
    FileSpec,
    ImagesSpec,
    RtspSpec,
    Source,
    SourceSpec,
    open_source,
    parse_source,
)
from .workflows.evaluate import EvaluationResult

__version__: str

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
