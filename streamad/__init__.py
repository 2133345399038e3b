"""streamad: real-time video anomaly detection that learns from normal video alone."""

import os

__version__ = "0.1.0"

# OpenCV reads this when it is loaded. Its own limit of 2^30 pixels lets an image of 1 MB take gigabytes.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 26))
