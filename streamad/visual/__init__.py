"""What people look at: the score plot, the heat map over a frame, the video file."""

from streamad.visual.overlay import draw_overlay
from streamad.visual.plot import PlotEvent, PlotPanel, plot_many, plot_scores
from streamad.visual.video_writer import H264Writer

__all__ = ["H264Writer", "PlotEvent", "PlotPanel", "draw_overlay", "plot_many", "plot_scores"]
