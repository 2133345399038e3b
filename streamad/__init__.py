"""streamad: real-time video anomaly detection that learns from normal video alone."""

__version__ = "0.1.0"
