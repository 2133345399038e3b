"""Detectors: one folder a method. The registry maps their names to the parts that other rooms use.

The parts are named as text and imported when asked for, so that scoring never imports torch.
"""

from streamad.detectors.base import CameraScorer, DetectorParts, camera_scorer, detector_names, detector_parts

__all__ = ["CameraScorer", "DetectorParts", "camera_scorer", "detector_names", "detector_parts"]
