"""The ground truth of a rendered scene: what `truth.json` holds, and how it is read back."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from streamad.errors import DatasetError
from streamad.files import read_json, write_json
from streamad.synthetic_scene.anomalies import AnomalyKind

FORMAT = 1

_HINT = "render the scene anew"

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class SceneVideo:
    """One video of a scene.

    Attributes:
        part: "training" (normal only) or "testing".
        name: "01", "02", ...
        path: the file, relative to the scene's folder.
        frames: number of frames.
        frame_labels: testing only: `.npy`, (frames,) uint8, 1 = anomalous; relative path.
        pixel_masks: testing only: `.npz` of the anomalous pixels, see `load_pixel_masks`; relative path.
    """

    part: Literal["training", "testing"]
    name: str
    path: str
    frames: int
    frame_labels: str | None = None
    pixel_masks: str | None = None


@dataclass(frozen=True)
class SceneEvent:
    """One anomaly.

    Attributes:
        video: name of its testing video.
        kind: what happens.
        first_frame, last_frame: the first and the last frame in which at least `visible_fraction` of it is
            seen; both inclusive. The frame labels are 1 from the one to the other, also where something hides
            it for a moment.
        start_seconds: time of the first frame.
        end_seconds: time at which the last frame ends, (last_frame + 1) / fps.
        boxes: for every frame of the interval [x0, y0, x1, y1] in pixels, x1 and y1 exclusive, clipped to the
            picture, also of hidden parts; None where less than `visible_fraction` of it is seen.
    """

    video: str
    kind: AnomalyKind
    first_frame: int
    last_frame: int
    start_seconds: float
    end_seconds: float
    boxes: tuple[Box | None, ...] = field(repr=False)


@dataclass(frozen=True)
class SceneTruth:
    """A rendered scene.

    Attributes:
        seed: the place.
        width, height: pixels.
        fps: frames a second.
        visible_fraction: share of an anomaly that must be seen for it to count as present.
        parameters: what the seed fixed: camera, walkway, light, crowd.
        videos: training, then testing.
        events: in order of video and time.
        root: the scene's folder.
        format: version of the file's layout.
    """

    seed: int
    width: int
    height: int
    fps: float
    visible_fraction: float
    parameters: Mapping[str, float | str]
    videos: tuple[SceneVideo, ...]
    events: tuple[SceneEvent, ...]
    root: Path
    format: int = FORMAT

    @property
    def training(self) -> tuple[SceneVideo, ...]:
        """The normal videos."""
        return tuple(video for video in self.videos if video.part == "training")

    @property
    def testing(self) -> tuple[SceneVideo, ...]:
        """The videos with anomalies."""
        return tuple(video for video in self.videos if video.part == "testing")

    def file(self, video: SceneVideo) -> Path:
        """Path of a video's file."""
        return self.root / video.path

    def events_of(self, video: SceneVideo) -> tuple[SceneEvent, ...]:
        """The anomalies of one video, in order of time."""
        return tuple(e for e in self.events if video.part == "testing" and e.video == video.name)

    def labels_of(self, video: SceneVideo) -> npt.NDArray[np.uint8]:
        """(frames,) uint8: 1 within an event of the video."""
        labels = np.zeros(video.frames, np.uint8)
        for event in self.events_of(video):
            labels[event.first_frame : event.last_frame + 1] = 1
        return labels


_ADAPTER = TypeAdapter(SceneTruth)


def save_truth(truth: SceneTruth, folder: Path) -> None:
    """Write `truth.json` into a scene's folder; it does not name the folder, so a scene can be moved."""
    write_json(folder / "truth.json", _ADAPTER.dump_python(truth, mode="json", exclude={"root"}))


def load_truth(path: Path) -> SceneTruth:
    """Read the ground truth of a rendered scene.

    Args:
        path: the scene's folder, or its `truth.json`.

    Raises:
        DatasetError: the file is missing, is not a scene's truth, or is of a newer format.
    """
    path = Path(path)
    file = path / "truth.json" if path.is_dir() else path
    try:
        document: Any = TypeAdapter(dict[str, Any]).validate_python(read_json(file))
        if document.get("format") != FORMAT:
            raise DatasetError(
                f"{file}: expected format {FORMAT} of a scene's ground truth, got {document.get('format')!r}",
                hint=_HINT,
            )
        return _ADAPTER.validate_python({**document, "root": file.parent})
    except OSError as error:
        raise DatasetError(f"cannot read {file}: {error.strerror or error}", hint=_HINT) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise DatasetError(f"{file} is no truth of a scene: {place}: {first['msg']}", hint=_HINT) from error
    except ValueError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{file} is no truth of a scene: {error}", hint=_HINT) from error


def load_frame_labels(path: Path) -> npt.NDArray[np.uint8]:
    """(frames,) uint8 frame labels of a testing video.

    Raises:
        DatasetError: the file is missing or is not a label file.
    """
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read frame labels from {path}: {error}", hint=_HINT) from error
    return np.asarray(labels, dtype=np.uint8)


def save_pixel_masks(path: Path, packed: npt.NDArray[np.uint8], width: int) -> None:
    """Write masks packed along the rows, (T, H, ceil(W / 8)) uint8, compressed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, packed=packed, width=np.int64(width))


def load_pixel_masks(path: Path) -> npt.NDArray[np.bool_]:
    """(T, H, W) bool masks of the anomalous pixels that can be seen, as a testing video's `.npz` holds them.

    Raises:
        DatasetError: the file is missing or is not a mask file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            packed, width = archive["packed"], int(archive["width"])
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"cannot read pixel masks from {path}: {error}", hint=_HINT) from error
    return np.unpackbits(packed, axis=2, count=width).astype(bool)
