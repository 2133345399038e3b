"""Detectors: one folder a method, each with one `Detector` object.

Scoring never imports torch: a detector imports what is heavy inside its methods. The names are loaded when they are
first used, so that the command line lists the detectors without loading any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamad.lazy import lazy_names

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

__getattr__ = lazy_names(
    __name__,
    {
        "base": "CameraScorer Detector Fit FittedDetector StreamingForm TrainedDetector skipped_score",
        "registry": "camera_scorer detector_names detector_of find_detector require_trainable trained_detector",
    },
)
