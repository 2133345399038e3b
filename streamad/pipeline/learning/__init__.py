"""From a camera to a calibrated model: record normal video, look it over, fit, calibrate, and say what it will see."""

from streamad.pipeline.learning.capture import Capture, capture
from streamad.pipeline.learning.given import look_at_clips
from streamad.pipeline.learning.learn import Learned, LearnPlan, learn
from streamad.pipeline.learning.recordings import Clip, Recordings
from streamad.pipeline.learning.survey import Survey

__all__ = ["Capture", "Clip", "LearnPlan", "Learned", "Recordings", "Survey", "capture", "learn", "look_at_clips"]
