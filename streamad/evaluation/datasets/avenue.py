"""CUHK Avenue: 16 training and 21 test videos, 640×360, 25 frames/s, in its official layout of .avi files."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import as_labels, folder_content, load_arrays, video_facts
from streamad.evaluation.datasets.records import Clip, Dataset

LabelSet = Literal["official", "future_frame_prediction"]

_FILES: dict[LabelSet, str] = {
    "official": "avenue.npz",
    "future_frame_prediction": "avenue_future_frame_prediction.npz",
}


def load_avenue(root: Path, *, label_set: LabelSet = "official") -> Dataset:
    """Read Avenue: `training_videos/*.avi`, `testing_videos/*.avi`.

    Labels are read from `frame_labels/avenue.npz` (clip → 0/1 a frame) in the data set's folder or the one
    above, not from the pixel masks in `.mat` files. Two label sets are in use and differ in 441 frames: a
    result names its own.

    Args:
        root: the folder with the two folders of videos.
        label_set: "official" (by the pixel masks, 3712 abnormal frames) or "future_frame_prediction" (the
            labels of that paper's code, 3867).

    Raises:
        DatasetError: missing videos or labels, or counts that disagree; names the path.
    """
    name = _FILES[label_set]
    places = [place / "frame_labels" / name for place in (root, root.parent)]
    path = next((p for p in places if p.is_file()), None)
    if path is None:
        raise DatasetError(
            f"no frame labels for Avenue: looked for {' and '.join(str(p) for p in places)}",
            hint="an .npz with one array of 0 and 1 a clip, named 01 to 21",
        )
    labels = {clip: as_labels(array, path) for clip, array in load_arrays(path).items()}
    testing = []
    for video in _videos(root / "testing_videos"):
        if video.stem not in labels:
            raise DatasetError(f"{path} has no labels for clip {video.stem!r} ({video})")
        frames, fps = video_facts(video)
        if labels[video.stem].size != frames:
            raise DatasetError(f"{video}: {frames} frames, but {labels[video.stem].size} labels in {path}")
        testing.append(Clip(video.stem, video, "video", frames, labels[video.stem], fps))
    missing = sorted(set(labels) - {clip.name for clip in testing})
    if missing:
        raise DatasetError(
            f"{root / 'testing_videos'} lacks {len(missing)} of {len(labels)} labelled videos: "
            f"{', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}",
            hint="is the data set complete?",
        )
    training = []
    for video in _videos(root / "training_videos"):
        frames, fps = video_facts(video)
        training.append(Clip(video.stem, video, "video", frames, fps=fps))
    rates = {clip.fps for clip in (*training, *testing)}
    return Dataset("avenue", tuple(training), tuple(testing), rates.pop() if len(rates) == 1 else None, label_set)


def _videos(folder: Path) -> list[Path]:
    videos = [path for path in folder_content(folder) if path.suffix.lower() == ".avi"]
    if not videos:
        raise DatasetError(f"{folder} holds no .avi")
    return videos
