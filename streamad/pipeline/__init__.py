"""The only place where stages meet: watching live, scoring files, calibrating."""

from streamad.pipeline.batching import Batcher, Scored
from streamad.pipeline.calibration import calibrate_model, save_into_bundle, score_clips
from streamad.pipeline.model import Model, open_model
from streamad.pipeline.monitor import CameraSummary, Monitor
from streamad.pipeline.offline import score_frames, score_video

__all__ = [
    "Batcher",
    "CameraSummary",
    "Model",
    "Monitor",
    "Scored",
    "calibrate_model",
    "open_model",
    "save_into_bundle",
    "score_clips",
    "score_frames",
    "score_video",
]
