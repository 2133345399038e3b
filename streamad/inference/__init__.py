"""Inference: a bundle with its engine, batches across frames and cameras, and the scores of a video."""

from streamad.inference.batching import Batcher, Scored
from streamad.inference.model import Model, open_model
from streamad.inference.offline import score_frames, score_video

__all__ = ["Batcher", "Model", "Scored", "open_model", "score_frames", "score_video"]
