"""The contents of a data set's folder: found first and checked later, so that loading and validation share one
reading.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import Labels, declared_frames, image_files, video_facts
from streamad.evaluation.datasets.masks import MaskReader
from streamad.evaluation.datasets.records import Clip, Dataset


@dataclass(frozen=True)
class FoundClip:
    """A clip that exists; its content has not been opened yet.

    Attributes:
        name: Its name in this copy of the data set.
        path: The video file, or the folder of images.
        kind: "video" or "images".
    """

    name: str
    path: Path
    kind: Literal["images", "video"]

    def facts(self, *, decode: bool = False) -> tuple[int, float | None]:
        """(frames, frames per second); the rate is None for images.

        Args:
            decode: Count the frames that decoding a video yields. Default: only if its packets are unreliable.

        Raises:
            DatasetError: The folder has no images, or the file no video.
        """
        return video_facts(self.path, decode=decode) if self.kind == "video" else (len(image_files(self.path)), None)

    def declared(self) -> int:
        """Number of frames that the file declares; 0 for images, and if undeclared.

        Raises:
            DatasetError: The file contains no readable video.
        """
        return declared_frames(self.path) if self.kind == "video" else 0


LabelReader = Callable[[FoundClip, int | None], Labels]


def no_masks(_: FoundClip) -> MaskReader | None:
    """A data set without pixel masks."""
    return None


@dataclass(frozen=True)
class Found:
    """A data set's folder, read as far as its names.

    Attributes:
        name: Name of the data set.
        training: Normal clips.
        testing: Clips that have labels, or should have.
        label_set: Name of the labels, for results.
        labels_of: Returns the frame labels of a test clip with the given number of frames or, for None, as many as
            there are labels; raises DatasetError.
        masks_of: Returns a reader of the pixel masks of a test clip; None if it has none.
        fps: Frames per second of clips that are folders of images.
        truth: File with the true events of the test clips.
        check: Raises DatasetError if the labels as a whole do not match the clips; called before a set is used.
        notes: What readers of the metrics must know, apart from damage.
    """

    name: str
    training: tuple[FoundClip, ...]
    testing: tuple[FoundClip, ...]
    label_set: str
    labels_of: LabelReader
    masks_of: Callable[[FoundClip], MaskReader | None] = no_masks
    fps: float | None = None
    truth: Path | None = None
    check: Callable[[], None] = field(default=lambda: None)
    notes: tuple[str, ...] = ()

    def dataset(self, *, keep_damaged: bool = False) -> Dataset:
        """Create the data set: count the frames and read the labels of every clip.

        Args:
            keep_damaged: Keep test videos that cannot be opened or were cut off, with as many frames as they have
                labels, and leave out training clips that cannot be read. `Dataset.problems` names both.

        Raises:
            DatasetError: A clip cannot be read, or its labels are missing or of another length; names the path.
        """
        self.check()
        problems: list[str] = []
        testing = [self._test_clip(clip, problems if keep_damaged else None) for clip in self.testing]
        training = []
        for clip in self.training:
            try:
                frames, fps = clip.facts()
            except DatasetError as error:
                if not keep_damaged:
                    raise
                problems.append(f"{error}; the training clip was left out")
                continue
            training.append(Clip(clip.name, clip.path, clip.kind, frames, fps=fps or self.fps))
        rates = {clip.fps for clip in (*training, *testing)}
        rate = rates.pop() if len(rates) == 1 else None
        return Dataset(
            self.name, tuple(training), tuple(testing), rate, self.label_set, self.truth, tuple(problems), self.notes
        )

    def _test_clip(self, clip: FoundClip, problems: list[str] | None) -> Clip:
        """A test clip with its labels; damage is added to `problems` if given, otherwise it is an error."""
        fps = None
        try:
            frames, fps = clip.facts()
        except DatasetError as error:
            if problems is None:
                raise
            labels = self.labels_of(clip, None)
            problems.append(f"{error}; its {labels.size} labeled frames have no score")
        else:
            labels = self._labels(clip, frames, problems)
        return Clip(clip.name, clip.path, clip.kind, labels.size, labels, fps or self.fps, self.masks_of(clip))

    def _labels(self, clip: FoundClip, frames: int, problems: list[str] | None) -> Labels:
        try:
            return self._matching_labels(clip, frames)
        except DatasetError:
            decoded = clip.facts(decode=True)[0]
            if decoded != frames:  # a damaged video, whose packets promise more than it shows
                with suppress(DatasetError):
                    return self._matching_labels(clip, decoded)
            declared = clip.declared()
            if problems is None or declared <= frames:
                raise
            labels = self.labels_of(clip, declared)
            problems.append(f"{clip.path}: {decoded} of {declared} frames, the others have no score: cut off")
        return labels

    def _matching_labels(self, clip: FoundClip, frames: int) -> Labels:
        labels = self.labels_of(clip, frames)
        if labels.size != frames:
            raise DatasetError(
                f"{clip.path}: {frames} frames, but {labels.size} labels in {self.label_set}",
                hint="is the data set complete, and are these the labels of this data set?",
            )
        return labels


def clip_number(name: str) -> int | None:
    """The number at the end of a plain clip name: 1 for '01' and 'Test001', None for '01_0014'."""
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return int(digits) if digits.isdecimal() else None


def same_clip(name: str, names: list[str]) -> str | None:
    """The one of `names` that refers to the clip `name`: itself, or the only one with its number (Test001, 01 and
    1).
    """
    if name in names:
        return name
    number = clip_number(name)
    same = [other for other in names if number is not None and clip_number(other) == number]
    return same[0] if len(same) == 1 else None
