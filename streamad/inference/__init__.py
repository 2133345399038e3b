"""Inference: a bundle with its engine, batches across frames and cameras, and the scores of a video."""

from streamad.inference.batching import Batcher, Scored
from streamad.inference.clips import score_video
from streamad.inference.model import Model, open_model
from streamad.inference.session import ScoredFrame, Session

__all__ = ["Batcher", "Model", "Scored", "ScoredFrame", "Session", "open_model", "score_video"]
