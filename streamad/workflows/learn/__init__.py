"""From a camera to a calibrated model: record normal video, look it over, fit, calibrate, and say what it will see."""

from streamad.workflows.learn.capture import Capture, capture
from streamad.workflows.learn.given import look_at_clips
from streamad.workflows.learn.learn import Learned, LearnPlan, learn
from streamad.workflows.learn.recordings import Clip, Recordings
from streamad.workflows.learn.survey import Survey

__all__ = ["Capture", "Clip", "LearnPlan", "Learned", "Recordings", "Survey", "capture", "learn", "look_at_clips"]
