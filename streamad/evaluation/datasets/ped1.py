"""UCSD Ped1, 238×158, 10 frames/s.

34 training clips (6800 frames), 36 test clips (7200 frames, 4045 of them abnormal), pixel masks of ten. Frame 142 of
Test017 does not decode in the official release.
"""

from __future__ import annotations

from pathlib import Path

from streamad.evaluation.datasets.layout import Found
from streamad.evaluation.datasets.ucsd import find_ucsd


def find_ped1(root: Path, *, label_set: str | None = None, allow_pickle: bool = False) -> Found:
    """Find Ped1; see `find_ucsd`. It has one label set, so `label_set` makes no difference."""
    return find_ucsd(root, "ped1", allow_pickle=allow_pickle)
