"""Inference: a bundle with its engine, batches across frames and cameras, and the scores of a video."""

from streamad.inference.batching import Batcher, Scored
from streamad.inference.clips import ClipScores, score_clip, score_clips
from streamad.inference.model import Model, open_model
from streamad.inference.session import ScoredFrame, Session

__all__ = [
    "Batcher",
    "ClipScores",
    "Model",
    "Scored",
    "ScoredFrame",
    "Session",
    "open_model",
    "score_clip",
    "score_clips",
]
