"""Tiling: from frames to what a network scores (30×30 cells of what moves, 16-frame clips)."""

from streamad.tiling.background import BackgroundModel
from streamad.tiling.clips import ClipWindow
from streamad.tiling.grid import CELL, CellGrid, FrameSizeError
from streamad.tiling.patches import PatchHistory
from streamad.tiling.tiles import Carry, Tiles

__all__ = ["CELL", "BackgroundModel", "Carry", "CellGrid", "ClipWindow", "FrameSizeError", "PatchHistory", "Tiles"]
