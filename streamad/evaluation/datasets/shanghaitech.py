"""ShanghaiTech Campus: 330 training videos of 13 cameras, 107 test clips (40791 frames, 17326 of them abnormal).

training/videos/NN_NNN.avi               or training/frames/NN_NNN/001.jpg, …
testing/frames/NN_NNNN/000.jpg, …
testing/test_frame_mask/NN_NNNN.npy      (T,)
testing/test_pixel_mask/NN_NNNN.npy      (T, height, width)
"""

from __future__ import annotations

from pathlib import Path

from streamad.evaluation.datasets.folder import find_folder
from streamad.evaluation.datasets.layout import Found

FPS = 24.0
"""Frames per second (of its training videos)."""


def find_shanghaitech(root: Path, *, label_set: str | None = None, allow_pickle: bool = False) -> Found:
    """Find ShanghaiTech in the official layout or the common one.

    Labels are searched for in `testing/test_frame_mask`, then in `frame_labels/shanghaitech.npz` and
    `frame_labels_shanghai.npy` in the data set's folder or its parent. It has only one label set, so `label_set` has no
    effect.

    Raises:
        DatasetError: Folders or labels are missing; names the path.
    """
    files = ("shanghaitech.npz", "frame_labels_shanghai.npy", "frame_labels_shanghaitech.npy")
    places = (root / "frame_labels", root.parent / "frame_labels", root, root.parent)
    return find_folder(
        root,
        name="shanghaitech",
        fps=FPS,
        extra_labels=[root / "testing" / "test_frame_mask", *(place / file for file in files for place in places)],
        label_set="test_frame_mask",
        mask_folders=("testing/test_pixel_mask", "testing/pixel_masks"),
        allow_pickle=allow_pickle,
    )
