"""Scores and labels from other programs: read from files and matched clip by clip."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.errors import DatasetError
from streamad.evaluation.datasets.files import (
    Labels,
    as_labels,
    content_of,
    joined_order,
    load_arrays,
    shown_order,
    split_labels,
)
from streamad.evaluation.datasets.layout import same_clip
from streamad.files import natural_key, open_regular

Scores = dict[str, npt.NDArray[np.float64]]

SCORE_COLUMNS = ("raw_score", "score")
CLIP_COLUMNS = ("clip", "video")
FRAME_COLUMNS = ("frame", "index")

MOST_TABLE_BYTES = 256 << 20
MAX_FRAMES = 20_000_000
"""Maximum number of frames of a clip; nine days at 25 frames/s."""


def read_scores(
    path: Path, *, columns: Sequence[str] = SCORE_COLUMNS, allow_pickle: bool = False
) -> tuple[Scores, dict[str, Labels] | None]:
    """Read frame scores by clip, and the labels if the file has them.

    Formats: `.npz` (one array per clip), `.npy` (one clip), or `.csv` with a header: `clip` or `video` (if missing: one
    clip), `frame` or `index` (if missing: in the order of the lines), `raw_score` or `score` (empty: no score), and
    optionally `label`. streamad writes such tables itself (`streamad.scoring.score_table`), and `scores.npz`.

    Args:
        path: The file.
        columns: Possible names of the score column of a `.csv`; the first one present is read.
        allow_pickle: See `load_arrays`.

    Raises:
        DatasetError: The file is missing, damaged, or has other content; the message names it.
    """
    if path.suffix == ".csv":
        return _read_csv(path, columns)
    scores = {}
    for name, array in load_arrays(path, allow_pickle=allow_pickle).items():
        flat = array[0] if array.ndim == 2 and array.shape[0] == 1 else array
        if flat.ndim != 1 or flat.dtype.kind not in "buif":
            raise DatasetError(f"{path}: scores of a clip must be a 1-D array of numbers, {name!r} is {array.shape}")
        scores[name] = flat.astype(np.float64)
    if not scores:
        raise DatasetError(f"{path} contains no scores")
    return scores, None


def read_labels(
    path: Path, scores: Scores, *, allow_pickle: bool = False, note: Callable[[str], None] = lambda sentence: None
) -> dict[str, Labels]:
    """Read frame labels for clips that have scores, by the names of the scores.

    Formats: a folder of NAME.npy; `.npz` with one array per clip; one `.npy` with the concatenated labels of all clips
    (for their order, see `joined_order`); `.csv` with `clip`, `frame`, and `label`. Test003, 03, and 3 are names of one
    clip.

    Args:
        path: The file or folder.
        scores: Scores by clip.
        allow_pickle: See `load_arrays`.
        note: Called with what readers of the metrics must know: the order of concatenated labels, clips without scores.

    Raises:
        DatasetError: Labels of a clip are missing, differ in number from its scores, or match two clips; names clip and
            file.
    """
    found = _labels_in(path, scores, allow_pickle, note)
    labels: dict[str, Labels] = {}
    used: dict[str, str] = {}
    for clip, values in scores.items():
        name = same_clip(clip, list(found))
        if name is not None and used.setdefault(name, clip) != clip:
            raise DatasetError(f"{path}: the labels of {name!r} match the clips {used[name]!r} and {clip!r}")
        if name is None:
            raise DatasetError(
                f"{path} has no labels for clip {clip!r}", hint=f"it has {', '.join(list(found)[:5]) or 'none'}"
            )
        if found[name].size != values.size:
            raise DatasetError(
                f"clip {clip!r}: {values.size} scores, but {found[name].size} labels in {path}",
                hint="use NaN for frames without a score, so that lengths are equal",
            )
        labels[clip] = found[name]
    unused = sorted(found.keys() - used.keys(), key=natural_key)
    if unused:
        note(
            f"Incomplete: {path.name} has labels of {len(found)} clips, of which {len(unused)} have no scores "
            f"({shown_order(unused)}); they are not evaluated."
        )
    return labels


def _labels_in(path: Path, scores: Scores, allow_pickle: bool, note: Callable[[str], None]) -> dict[str, Labels]:
    if path.is_dir():
        return {
            file.stem: as_labels(next(iter(load_arrays(file, allow_pickle=allow_pickle).values())), file)
            for file in content_of(path).others
            if file.suffix == ".npy"
        }
    if path.suffix == ".csv":
        labels = _read_csv(path)[1]
        if labels is None:
            raise DatasetError(f"{path} has no column label")
        return labels
    arrays = load_arrays(path, allow_pickle=allow_pickle)
    if len(arrays) == 1:  # one array for all clips, or for the only one
        joined = as_labels(next(iter(arrays.values())), path)
        order = joined_order(list(scores), path)
        parts = split_labels(joined, order, [scores[name].size for name in order], path)
        if len(order) > 1:
            stored = "" if order == list(scores) else f"; their file has them as {shown_order(list(scores))}"
            note(f"The concatenated labels were assigned to the clips in the order {shown_order(order)}{stored}.")
        return parts
    return {name: as_labels(array, path) for name, array in arrays.items()}


def _read_csv(path: Path, columns: Sequence[str] = ()) -> tuple[Scores, dict[str, Labels] | None]:
    """Scores from the first of these columns that is present, and labels; without columns, only labels."""
    try:
        with io.TextIOWrapper(open_regular(path, MOST_TABLE_BYTES), encoding="utf-8", newline="") as file:
            reader = csv.DictReader(file)
            header = reader.fieldnames or []
            rows = list(reader)
    except (OSError, ValueError, csv.Error) as error:
        raise DatasetError(f"cannot read {path}: {error}") from error
    clip_column, frame_column = _first(header, CLIP_COLUMNS), _first(header, FRAME_COLUMNS)
    score_column = _first(header, columns)
    has_labels = "label" in header and any(row["label"] for row in rows)  # the score table has the column in any case
    label_column = "label" if has_labels else None
    if columns and score_column is None:
        raise DatasetError(
            f"{path} has no column {' or '.join(columns)}", hint=f"its columns are {', '.join(header) or 'none'}"
        )
    by_clip: dict[str, dict[int, tuple[float, float]]] = {}
    for line, row in enumerate(rows, 2):
        clip = by_clip.setdefault(row[clip_column] if clip_column else path.stem, {})
        try:
            frame = int(row[frame_column]) if frame_column else len(clip)
            score = float(row[score_column] or "nan") if score_column else float("nan")
            label = float(row[label_column]) if label_column else float("nan")
        except (TypeError, ValueError) as error:
            raise DatasetError(f"{path}, line {line}: {error}") from error
        if not 0 <= frame < MAX_FRAMES or frame in clip:
            wrong = "negative" if frame < 0 else "there twice" if frame in clip else f"over {MAX_FRAMES}"
            raise DatasetError(f"{path}, line {line}: frame {frame} is {wrong}")
        clip[frame] = (score, label)
    if not by_clip:
        raise DatasetError(f"{path} has no lines")
    scores: Scores = {}
    labels: dict[str, Labels] = {}
    for name, frames in by_clip.items():
        length = max(frames) + 1
        if label_column and len(frames) < length:
            raise DatasetError(f"{path}, clip {name!r}: {length - len(frames)} of {length} frames have no line")
        pairs = np.full((length, 2), np.nan)
        pairs[list(frames)] = list(frames.values())
        scores[name] = pairs[:, 0].copy()
        if label_column:
            labels[name] = as_labels(pairs[:, 1], path)
    return scores, labels or None


def _first(header: Sequence[str], wanted: Sequence[str]) -> str | None:
    return next((name for name in wanted if name in header), None)
