"""What lies in a data set's folder: found first, judged after, so that one reading serves loading and validation."""

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
    """A clip that is there; nothing of it was opened yet.

    Attributes:
        name: its name in this copy of the data set.
        path: the video file, or the folder of images.
        kind: "video" or "images".
    """

    name: str
    path: Path
    kind: Literal["images", "video"]

    def facts(self, *, decode: bool = False) -> tuple[int, float | None]:
        """(frames, frames a second); the rate is None for images.

        Args:
            decode: count what decoding a video gives; otherwise only where its packets cannot be trusted to tell.

        Raises:
            DatasetError: the folder holds no image, or the file no video.
        """
        return video_facts(self.path, decode=decode) if self.kind == "video" else (len(image_files(self.path)), None)

    def declared(self) -> int:
        """Frames that the file says it has; 0 for images, and where nobody says.

        Raises:
            DatasetError: no video can be read from the file.
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
        name: the data set's.
        training: normal clips.
        testing: clips that have labels, or should have.
        label_set: which labels these are, for results.
        labels_of: frame labels of a test clip with that many frames, or, for None, with as many as there are labels;
            raises DatasetError.
        masks_of: reads the pixel masks of a test clip; None where it has none.
        fps: frames a second of clips that are folders of images.
        truth: file with the true events of the test clips.
        check: raises DatasetError where the labels as a whole do not fit the clips; called before a set is used.
        notes: what a reader of figures must know and is no damage.
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
        """The data set, every clip with its frames counted and its labels read.

        Args:
            keep_damaged: a test video that cannot be opened, or that was cut off, keeps the frames that its labels
                count; a training clip that cannot be read is left out. `Dataset.problems` names both.

        Raises:
            DatasetError: a clip cannot be read, or its labels are missing or of another length; names the path.
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
        """A test clip with its labels; damage goes into `problems`, without which it is an error."""
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
            if decoded != frames:  # a damaged video, whose packets say more than it shows
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
    """The number that ends a plain clip name: 1 of '01' and 'Test001'; None of '01_0014'."""
    digits = name.lstrip("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")
    return int(digits) if digits.isdecimal() else None


def same_clip(name: str, names: list[str]) -> str | None:
    """The one of `names` that means the clip `name`: itself, or the only one of its number (Test001, 01 and 1)."""
    if name in names:
        return name
    number = clip_number(name)
    same = [other for other in names if number is not None and clip_number(other) == number]
    return same[0] if len(same) == 1 else None
