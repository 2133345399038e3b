"""Tiling: from frames to what a network scores (30×30 cells of what moves, 16-frame clips)."""

from streamad.tiling.background import BackgroundModel
from streamad.tiling.clips import ClipWindow
from streamad.tiling.grid import CELL, CellGrid, FrameSizeError
from streamad.tiling.patches import PatchHistory
from streamad.tiling.tiles import Tiles

__all__ = ["CELL", "BackgroundModel", "CellGrid", "ClipWindow", "FrameSizeError", "PatchHistory", "Tiles"]
