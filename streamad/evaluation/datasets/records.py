"""Clip and Dataset: what every data set is read into."""

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
        name: its name in the data set.
        path: the video file, or the folder of images.
        kind: "video", or "images" (numbered image files in one folder).
        frames: how many there are.
        labels: (frames,) uint8, 0 = normal, 1 = abnormal; None where there are none (training clips are
            normal).
        fps: frames a second; None where nobody says.
        masks: reads its (height, width) pixel masks frame by frame, True where abnormal; None where there are none.
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
                hint="one 0 or 1 for every frame is needed: is the data set complete?",
            )
        if not np.isin(self.labels, (0, 1)).all():
            wrong = self.labels[~np.isin(self.labels, (0, 1))][0]
            raise DatasetError(f"{self.path}: frame labels must be 0 or 1, got {wrong}")


@dataclass(frozen=True)
class Dataset:
    """A data set: normal clips to learn from, labeled clips to test on.

    Attributes:
        name: its name in results.
        training: normal clips.
        testing: clips with labels.
        fps: frames a second of all clips; None where they differ or nobody says.
        labels: which label set `testing` carries, for results.
        truth: file with the true events of the test clips, where the data set has one.
        problems: clips that are damaged, where these were to be kept.
        notes: what a reader of figures must know and is no damage.
    """

    name: str
    training: tuple[Clip, ...]
    testing: tuple[Clip, ...]
    fps: float | None
    labels: str
    truth: Path | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
