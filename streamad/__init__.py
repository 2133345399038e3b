"""streamad: real-time video anomaly detection that learns from normal video alone.

The names in `__init__.pyi` are the public API. They are imported when they are first used, so that `import streamad`
loads no decoder, no engine and no network. docs/reference/api/index.md has an example of each and says what is stable.
"""

import os

import lazy_loader

__version__ = "0.2.0"

# OpenCV reads this when it is loaded. Its own limit of 2^30 pixels lets an image of 1 MB take gigabytes.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(1 << 26))

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
