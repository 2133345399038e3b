"""Preprocessing: from frames to a network's input (30×30 patches of what moves, 16-frame windows)."""

from streamad.preprocessing.background import BackgroundModel
from streamad.preprocessing.clips import ClipWindow
from streamad.preprocessing.grid import CELL, CellGrid, FrameSizeError
from streamad.preprocessing.model_input import ModelInput, StreamSlot
from streamad.preprocessing.patches import PatchHistory

__all__ = [
    "CELL",
    "BackgroundModel",
    "CellGrid",
    "ClipWindow",
    "FrameSizeError",
    "ModelInput",
    "PatchHistory",
    "StreamSlot",
]
