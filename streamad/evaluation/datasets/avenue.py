"""CUHK Avenue: 16 training and 21 test videos, 640×360, 25 frames/s.

training_videos/NN.avi   testing_videos/NN.avi   ground_truth_demo/testing_label_mask/N_label.mat
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal, cast, get_args

import numpy as np

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import Labels, as_labels, content_of, load_arrays
from streamad.evaluation.datasets.folder import find_folder, labels_by_clip
from streamad.evaluation.datasets.layout import Found, FoundClip, LabelReader, clip_number, same_clip
from streamad.evaluation.datasets.masks import MaskReader, matlab_masks

LabelSet = Literal["official", "future_frame_prediction"]
FPS = 25.0

_FILES: dict[LabelSet, str] = {
    "official": "avenue.npz",
    "future_frame_prediction": "avenue_future_frame_prediction.npz",
}
_MASKS = Path("ground_truth_demo") / "testing_label_mask"


def find_avenue(root: Path, *, label_set: str | None = None, allow_pickle: bool = False) -> Found:
    """Find Avenue in the official layout of .avi files, or in the common layout of `folder`.

    Labels are read from `frame_labels/avenue.npz` (clip → 0/1 per frame) in the data set's folder or its parent. If
    that file is missing, the official labels are derived from the pixel masks: a frame with an abnormal pixel is
    abnormal.

    Args:
        root: The folder that contains the two folders of videos.
        label_set: "official" (by the pixel masks, 3712 abnormal frames), the default, or "future_frame_prediction" (the
            labels of that paper's code, 3867). They differ in 441 frames, so every result names its label set.
        allow_pickle: See `load_arrays`.

    Raises:
        DatasetError: Videos or labels are missing, or the label set is unknown; names the path.
    """
    chosen = _known(label_set)
    name = _FILES[chosen]
    places = [place / "frame_labels" / name for place in (root, root.parent)]
    if (root / "testing").is_dir() or (root / "training").is_dir():
        joined = [place / "frame_labels_avenue.npy" for place in (root, root.parent)]
        own = (*places, *(joined if label_set is None else ()))
        file = next((path for path in own if path.exists()), None)
        # Concatenated labels exist for both label sets. Which one a file has is unknown, so it is called by its name.
        said = chosen if file is None or file in places else file.name
        return find_folder(root, name="avenue", fps=FPS, extra_labels=own, label_set=said, allow_pickle=allow_pickle)
    path = next((p for p in places if p.is_file()), None)
    masks = root / _MASKS
    labels_of: LabelReader
    if path is not None:
        by_clip = {clip: as_labels(array, path) for clip, array in load_arrays(path).items()}
        labels_of, labeled = partial(labels_by_clip, path, by_clip), list(by_clip)
    elif chosen == "official" and masks.is_dir():
        files = [file for file in content_of(masks).others if file.suffix == ".mat"]
        labels_of, labeled = partial(_labels_of_masks, masks), [f.stem.removesuffix("_label") for f in files]
    else:
        raise DatasetError(
            f"no frame labels for Avenue: looked for {' and '.join(str(p) for p in places)}"
            + (f", and for masks in {masks}" if chosen == "official" else ""),
            hint="provide an .npz with one array of 0 and 1 per clip, named 01 to 21, or the official masks",
        )
    testing = _videos(root / "testing_videos")
    return Found(
        name="avenue",
        training=_videos(root / "training_videos"),
        testing=testing,
        label_set=chosen,
        labels_of=labels_of,
        masks_of=partial(_masks, masks),
        check=partial(_complete, root / "testing_videos", labeled, [clip.name for clip in testing]),
    )


def _known(label_set: str | None) -> LabelSet:
    if label_set is not None and label_set not in get_args(LabelSet):
        raise DatasetError(f"Avenue has no label set {label_set!r}; it has {', '.join(get_args(LabelSet))}")
    return cast(LabelSet, label_set or "official")


def _labels_of_masks(folder: Path, clip: FoundClip, frames: int | None) -> Labels:
    path = _mask_file(folder, clip)
    labels: Labels = np.fromiter((mask.any() for mask in matlab_masks(path)), dtype=np.uint8)
    if frames is not None and labels.size != frames:
        raise DatasetError(f"{clip.path}: {frames} frames, but {labels.size} masks in {path}")
    return labels


def _mask_file(folder: Path, clip: FoundClip) -> Path:
    number = clip_number(clip.name)
    return folder / f"{clip.name if number is None else number}_label.mat"


def _masks(folder: Path, clip: FoundClip) -> MaskReader | None:
    path = _mask_file(folder, clip)
    return partial(matlab_masks, path) if path.is_file() else None


def _complete(folder: Path, labeled: list[str], clips: list[str]) -> None:
    missing = sorted(name for name in labeled if same_clip(name, clips) is None)
    if missing:
        raise DatasetError(
            f"{folder} lacks {len(missing)} of {len(labeled)} labeled videos: "
            f"{', '.join(missing[:5])}{' …' if len(missing) > 5 else ''}",
            hint="is the data set complete?",
        )


def _videos(folder: Path) -> tuple[FoundClip, ...]:
    videos = [path for path in content_of(folder).videos if path.suffix.lower() == ".avi"]
    if not videos:
        raise DatasetError(f"{folder} contains no .avi")
    return tuple(FoundClip(path.stem, path, "video") for path in videos)
