"""Live watching: cameras until they are stopped, or files as if they were cameras."""

from streamad.live.monitor import CameraSummary, Monitor

__all__ = ["CameraSummary", "Monitor"]
