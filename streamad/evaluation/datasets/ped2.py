"""UCSD Ped2, 360×240, 10 frames/s.

16 training clips (2550 frames), 12 test clips (2010 frames, 1648 of them abnormal), pixel masks of all.
"""

from __future__ import annotations

from pathlib import Path

from streamad.evaluation.datasets.layout import Found
from streamad.evaluation.datasets.ucsd import find_ucsd


def find_ped2(root: Path, *, label_set: str | None = None, allow_pickle: bool = False) -> Found:
    """Find Ped2; see `find_ucsd`. It has one label set, so `label_set` makes no difference."""
    return find_ucsd(root, "ped2", allow_pickle=allow_pickle)
