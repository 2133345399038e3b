"""What to train or fit, and the clips to do it with; needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from streamad.errors import UsageError
from streamad.frame import Frame
from streamad.sources import SourceSpec, open_source
from streamad.zones import ZoneSpec

Clip = SourceSpec | Callable[[], Iterator[Frame]]
"""A clip of normal video: a source, or a function that yields its frames whenever it is called."""

OpenClip = Callable[[], Iterable[Frame]]
"""Opens a clip and yields its frames, as often as it is called."""

LAG_SECONDS = 0.2
"""Age of a patch's second channel; the third is twice as old. A walker moves about a quarter of a body width in 0.2 s:
enough to see, and little enough to stay in the patch."""


@dataclass(frozen=True)
class TrainingPlan:
    """What to train or fit.

    Attributes:
        name: Name of the bundle.
        data: Name of the training data, for the record.
        license: Terms of that data, for the record.
        fps: Frame rate of the clips.
        detector: Name of the detector.
        temporal: Give patches a short history. False: single pictures, as in the papers.
        standing: Count what appears and stands still among the synthetic anomalies, for places where nobody usually
            stands. Only detectors that are trained on synthetic anomalies use it.
        epochs: Maximum number of epochs. None: the detector's default.
        patience: Epochs without improvement before stopping early. None: the detector's default.
        seed: Seed of all random choices.
        device: "cpu", "cuda" or "cuda:N".
        threads: CPU threads. None: torch's default.
        max_cells: Maximum number of training patches.
        max_frames: Maximum number of training frames, for detectors of whole frames.
        max_height: Taller frames are shrunk to this height in pixels. None: measured from the size of what moves.
        side: Height and width of the network's input in pixels, for detectors of whole frames.
        validation_share: Share of the clips, the last ones, held out for early stopping and for calibration.
        options: The detector's own options by name; values may be text.
        zones: The parts of the picture to learn from; networks of whole frames are trained on whole frames. Empty: all
            of it.
    """

    name: str
    data: str
    license: str
    fps: float
    detector: str
    temporal: bool = True
    standing: bool = False
    epochs: int | None = None
    patience: int | None = None
    seed: int = 17
    device: str = "cpu"
    threads: int | None = None
    max_cells: int = 40_000
    max_frames: int = 12_000
    max_height: int | None = None
    side: int = 256
    validation_share: float = 0.25
    options: Mapping[str, Any] = field(default_factory=dict)
    zones: tuple[ZoneSpec, ...] = ()

    @property
    def lags(self) -> tuple[int, ...]:
        """Ages of a patch's channels, in frames."""
        if not self.temporal:
            return (0,)
        lag = max(1, round(LAG_SECONDS * self.fps))
        return (0, lag, 2 * lag)

    @property
    def overrides(self) -> dict[str, Any]:
        """Options that take precedence over the detector's defaults."""
        named = {"epochs": self.epochs, "patience": self.patience}
        return {**{key: value for key, value in named.items() if value is not None}, **self.options}


def frames_of(clip: Clip) -> Iterator[Frame]:
    """Open a clip, and yield its frames."""
    return clip() if callable(clip) else clip_opener(clip, "fitting")()


def clip_opener(spec: SourceSpec, camera: str) -> Callable[[], Iterator[Frame]]:
    """Return a function that opens a clip and yields its frames, as often as it is called."""

    def frames() -> Iterator[Frame]:
        with open_source(spec, camera=camera) as source:
            yield from source

    return frames


def of_one_size(frames: Iterable[Frame], number: int, sizes: dict[tuple[int, int], int]) -> Iterator[Frame]:
    """Yield the frames of a clip while they have the size of those of all earlier clips.

    Args:
        frames: The clip's frames.
        number: The clip's number, from 1, for the error message.
        sizes: (height, width) seen so far, with the number of the clip; shared by all clips.

    Raises:
        UsageError: A frame has another size.
    """
    for frame in frames:
        sizes.setdefault(frame.shape, number)
        if len(sizes) > 1:
            found = ", ".join(f"{width}×{height} (clip {k})" for (height, width), k in sizes.items())
            raise UsageError(
                f"the frames have different sizes: {found}; a model belongs to one camera at one size",
                hint="give clips of one camera, or convert them to one size",
            )
        yield frame


def split_clips(count: int, share: float) -> tuple[list[int], list[int]]:
    """Return the numbers of the clips to train on and of the held-out ones: the last ones, at least one of each.

    Raises:
        UsageError: There are fewer than two clips.
    """
    if count < 2:
        raise UsageError(
            f"training needs at least two clips of normal video, got {count}: one is held out to stop and to calibrate",
            hint="split the recording into several files",
        )
    held = min(count - 1, max(1, math.ceil(count * share - 1e-9)))
    return list(range(count - held)), list(range(count - held, count))
