"""Preprocessing: from frames to a network's input (30×30 patches of what moves, 16-frame windows)."""

from streamad.preprocessing.background import BackgroundModel
from streamad.preprocessing.clips import ClipWindow, resize_frame
from streamad.preprocessing.grid import PATCH_SIZE, FrameSizeError, PatchGrid
from streamad.preprocessing.model_input import ModelInput, StreamSlot
from streamad.preprocessing.patches import PatchHistory

__all__ = [
    "PATCH_SIZE",
    "BackgroundModel",
    "ClipWindow",
    "FrameSizeError",
    "ModelInput",
    "PatchGrid",
    "PatchHistory",
    "StreamSlot",
    "resize_frame",
]
