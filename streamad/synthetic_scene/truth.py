"""Ground truth of a rendered scene: the content of `truth.json`, and reading it."""

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

_HINT = "render the scene again"

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class SceneVideo:
    """One video of a scene.

    Attributes:
        part: "training" (normal only) or "testing".
        name: "01", "02", ...
        path: The file, relative to the scene's folder.
        frames: Number of frames.
        frame_labels: For testing videos: `.npy` file, (frames,) uint8, 1 = anomalous; relative path.
        pixel_masks: For testing videos: `.npz` file of the anomalous pixels, see `load_pixel_masks`; relative path.
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
        video: Name of the testing video.
        kind: Kind of anomaly.
        first_frame, last_frame: First and last frame in which at least `visible_fraction` of it is visible, inclusive.
            Frame labels are 1 in this whole interval, even while it is hidden for a moment.
        start_seconds: Time of the first frame.
        end_seconds: End of the last frame, (last_frame + 1) / fps.
        boxes: [x0, y0, x1, y1] in pixels for every frame of the interval, x1 and y1 exclusive, clipped to the picture,
            including hidden parts; None if less than `visible_fraction` is visible.
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
        seed: Seed of the place.
        width, height: Picture size, pixels.
        fps: Frames per second.
        visible_fraction: Share of an anomaly that must be visible for it to count as present.
        parameters: Parameters determined by the seed: camera, walkway, light, crowd.
        videos: Training videos, then testing videos.
        events: Anomalies in order of video and time.
        root: The scene's folder.
        format: Version of the file format.
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
        """(frames,) uint8 labels: 1 during the video's events."""
        labels = np.zeros(video.frames, np.uint8)
        for event in self.events_of(video):
            labels[event.first_frame : event.last_frame + 1] = 1
        return labels


_ADAPTER = TypeAdapter(SceneTruth)


def save_truth(truth: SceneTruth, folder: Path) -> None:
    """Write `truth.json` to a scene's folder. It does not contain the folder's path, so a scene can be moved."""
    write_json(folder / "truth.json", _ADAPTER.dump_python(truth, mode="json", exclude={"root"}))


def load_truth(path: Path) -> SceneTruth:
    """Read the ground truth of a rendered scene.

    Args:
        path: The scene's folder, or its `truth.json`.

    Raises:
        DatasetError: If the file is missing, is not a scene's ground truth, or has a newer format.
    """
    path = Path(path)
    file = path / "truth.json" if path.is_dir() else path
    try:
        document: Any = TypeAdapter(dict[str, Any]).validate_python(read_json(file))
        if document.get("format") != FORMAT:
            raise DatasetError(
                f"{file}: expected ground truth of a scene in format {FORMAT}, got {document.get('format')!r}",
                hint=_HINT,
            )
        return _ADAPTER.validate_python({**document, "root": file.parent})
    except OSError as error:
        raise DatasetError(f"cannot read {file}: {error.strerror or error}", hint=_HINT) from error
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"]) or "the document"
        raise DatasetError(f"{file} is not the ground truth of a scene: {place}: {first['msg']}", hint=_HINT) from error
    except ValueError as error:
        if isinstance(error, DatasetError):
            raise
        raise DatasetError(f"{file} is not the ground truth of a scene: {error}", hint=_HINT) from error


def load_frame_labels(path: Path) -> npt.NDArray[np.uint8]:
    """Read the frame labels of a testing video, (frames,) uint8.

    Raises:
        DatasetError: If the file is missing or is not a label file.
    """
    try:
        labels = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise DatasetError(f"cannot read frame labels from {path}: {error}", hint=_HINT) from error
    return np.asarray(labels, dtype=np.uint8)


def save_pixel_masks(path: Path, packed: npt.NDArray[np.uint8], width: int) -> None:
    """Write compressed masks that are packed along the rows, (T, H, ceil(W / 8)) uint8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(path, packed=packed, width=np.int64(width))


def load_pixel_masks(path: Path) -> npt.NDArray[np.bool_]:
    """Read the masks of visible anomalous pixels of a testing video, (T, H, W) bool, from its `.npz` file.

    Raises:
        DatasetError: If the file is missing or is not a mask file.
    """
    try:
        with np.load(path, allow_pickle=False) as archive:
            packed, width = archive["packed"], int(archive["width"])
    except (OSError, ValueError, KeyError) as error:
        raise DatasetError(f"cannot read pixel masks from {path}: {error}", hint=_HINT) from error
    return np.unpackbits(packed, axis=2, count=width).astype(bool)
