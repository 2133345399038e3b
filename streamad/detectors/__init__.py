"""Detectors: one folder a method, each with one `Detector` object.

Scoring never imports torch: a detector imports what is heavy inside its methods. The names are loaded when they are
first used, so that the command line lists the detectors without loading any.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamad.detectors.base import (
        CameraScorer,
        Detector,
        Fit,
        FittedDetector,
        StreamingForm,
        TrainedDetector,
        skipped_score,
    )
    from streamad.detectors.registry import (
        camera_scorer,
        detector_names,
        detector_of,
        find_detector,
        require_trainable,
        trained_detector,
    )

BUILT_IN = ("motion", "adacl", "alps", "learned_noise", "igd")
"""Folders of this package, each with a `DETECTOR`; the only place outside them that names them."""

DEFAULT = BUILT_IN[0]
"""Used when no detector is named: it is fitted in seconds and needs no torch."""

_BASE = {
    "CameraScorer", "Detector", "Fit", "FittedDetector", "StreamingForm", "TrainedDetector", "skipped_score"
}  # fmt: skip

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


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{'base' if name in _BASE else 'registry'}"), name)
    globals()[name] = value
    return value
