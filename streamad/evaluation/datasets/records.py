"""Clip and Dataset: the form that every data set is read into."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import Labels
from streamad.evaluation.datasets.masks import MaskReader


@dataclass(frozen=True)
class Clip:
    """One video of a data set.

    Attributes:
        name: Its name in the data set.
        path: The video file, or the folder of images.
        kind: "video", or "images" (numbered image files in one folder).
        frames: Number of frames.
        labels: (frames,) uint8, 0 = normal, 1 = abnormal; None if there are none (training clips are normal).
        fps: Frames per second; None if unknown.
        masks: Reads its (height, width) pixel masks frame by frame, True where abnormal; None if there are none.
    """

    name: str
    path: Path
    kind: Literal["images", "video"]
    frames: int
    labels: Labels | None = field(default=None, repr=False, compare=False)
    fps: float | None = None
    masks: MaskReader | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.labels is None:
            return
        if self.labels.ndim != 1 or self.labels.size != self.frames:
            raise DatasetError(
                f"{self.path}: {self.frames} frames, but labels of shape {self.labels.shape}",
                hint="each frame needs a label 0 or 1: is the data set complete?",
            )
        if not np.isin(self.labels, (0, 1)).all():
            wrong = self.labels[~np.isin(self.labels, (0, 1))][0]
            raise DatasetError(f"{self.path}: frame labels must be 0 or 1, got {wrong}")


@dataclass(frozen=True)
class Dataset:
    """A data set: normal clips for training, and labeled clips for testing.

    Attributes:
        name: Its name in results.
        training: Normal clips.
        testing: Clips with labels.
        fps: Frames per second of all clips; None if they differ or it is unknown.
        labels: Name of the label set of `testing`, for results.
        truth: File with the true events of the test clips, if the data set has one.
        problems: Damaged clips, if they were kept.
        notes: What readers of the metrics must know, apart from damage.
        whole: Number of all test clips if `testing` is a part of them, chosen on purpose (`part_of`). None: all.
    """

    name: str
    training: tuple[Clip, ...]
    testing: tuple[Clip, ...]
    fps: float | None
    labels: str
    truth: Path | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    whole: int | None = None
