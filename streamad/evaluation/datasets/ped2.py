"""UCSD Ped2, 360×240, 10 frames/s.

16 training clips (2550 frames), 12 test clips (2010 frames, 1648 of them abnormal).
"""

from __future__ import annotations

from pathlib import Path

from streamad.evaluation.datasets.folder import load_folder
from streamad.evaluation.datasets.records import Dataset
from streamad.evaluation.datasets.ucsd import FPS, load_official

LABEL_FILES = ("ped2.npz", "frame_labels_ped2.npy")


def load_ped2(root: Path) -> Dataset:
    """Read Ped2 in the official layout (`Train`, `Test`, `UCSDped2.m`) or the common one.

    The common one is that of `folder`; labels may also lie in `frame_labels/ped2.npz` (clip → 0/1 a frame) or
    `frame_labels_ped2.npy` (all test clips joined), in the data set's folder or the one above.

    Raises:
        DatasetError: as the two loaders.
    """
    for official in (root, root / "UCSDped2"):
        if (official / "Train").is_dir() or (official / "Test").is_dir():
            return load_official(official, name="ped2")
    return load_folder(
        root,
        name="ped2",
        fps=FPS,
        extra_labels=[
            place / label_file
            for label_file in LABEL_FILES
            for place in (root / "frame_labels", root.parent / "frame_labels", root, root.parent)
        ],
        label_set="UCSDped2.m",
    )
