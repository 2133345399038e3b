"""Detectors: one folder a method, each with one `Detector` object.

Scoring never imports torch: a detector imports what is heavy inside its methods. The names in `__init__.pyi` are
loaded when they are first used, so that the command line lists the detectors without loading any.
"""

import lazy_loader

BUILT_IN = ("motion", "adacl", "alps", "learned_noise", "igd")
"""Folders of this package, each with a `DETECTOR`; the only place outside them that names them."""

DEFAULT = BUILT_IN[0]
"""Used when no detector is named: it is fitted in seconds and needs no torch."""

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
