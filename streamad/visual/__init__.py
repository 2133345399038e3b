"""Pictures for people: score plots, anomaly map overlays and video files."""

from streamad.video_writer import H264Writer
from streamad.visual.overlay import draw_overlay
from streamad.visual.plot import PlotEvent, plot_scores

__all__ = ["H264Writer", "PlotEvent", "draw_overlay", "plot_scores"]
