"""From a camera to a calibrated model: record normal video, look it over, fit, calibrate, and say what it will see."""

from streamad.workflows.learn.capture import Capture, capture
from streamad.workflows.learn.given import look_at_clips
from streamad.workflows.learn.learn import Learned, LearnPlan, learn
from streamad.workflows.learn.recording_stats import RecordingStats
from streamad.workflows.learn.recording_store import Clip, RecordingStore

__all__ = [
    "Capture",
    "Clip",
    "LearnPlan",
    "Learned",
    "RecordingStats",
    "RecordingStore",
    "capture",
    "learn",
    "look_at_clips",
]
