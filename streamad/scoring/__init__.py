"""Scores: their record, PSNR, and their normalization by the names of the evaluation protocols."""

from streamad.scoring.frame_score import FrameScore
from streamad.scoring.normalizers import NORMALIZATIONS, Normalization, RunningNormalizer, normalize, per_video
from streamad.scoring.psnr import psnr

__all__ = ["NORMALIZATIONS", "FrameScore", "Normalization", "RunningNormalizer", "normalize", "per_video", "psnr"]
