"""Decoding: video files, image folders, RTSP cameras and devices, each as a stream of `Frame`.

`open_source` decodes in this process; `SupervisedSource` decodes in a separate process that it monitors and
restarts. The names in `__init__.pyi` are imported on first use, so that reading a configuration loads no
decoder.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
