from .base import (
    CameraScorer,
    Detector,
    Fit,
    FittedDetector,
    StreamingForm,
    TrainedDetector,
    skipped_score,
)
from .registry import (
    camera_scorer,
    detector_names,
    detector_of,
    find_detector,
    require_trainable,
    trained_detector,
)

BUILT_IN: tuple[str, ...]
DEFAULT: str

__all__ = [
    "BUILT_IN",
    "DEFAULT",
    "CameraScorer",
    "Detector",
    "Fit",
    "FittedDetector",
    "StreamingForm",
    "TrainedDetector",
    "camera_scorer",
    "detector_names",
    "detector_of",
    "find_detector",
    "require_trainable",
    "skipped_score",
    "trained_detector",
]
