"""evaluate_scores: frame-level metrics of a set of videos, with the protocol that they follow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
import numpy.typing as npt

from streamad.calibration import Calibration
from streamad.errors import DatasetError
from streamad.evaluation.metrics import average_precision, eer, roc_auc
from streamad.evaluation.scored_clips import ScoredClip
from streamad.scoring import NORMALIZATIONS, Normalization, normalize

Edge = Literal["leave_out", "pad"]
SingleClass = Literal["leave_out", "pad"]
Protocol = Literal["raw", "per_video", "running", "calibrated", "local"]
"""The normalizations. "local" is "calibrated" with a calibration that scores each cell relative to its location."""

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Evaluation:
    """Frame-level metrics and the protocol behind them. All rates are shares, 0..1.

    Attributes:
        normalization: "per_video", "raw", "running", "calibrated" or "local".
        edge: How frames before the first and after the last score of a video are treated.
        single_class: How the macro AUC treats videos of one class.
        auc_micro: AUC of all frames in one ROC.
        auc_macro: Mean AUC over videos; None if no video has both classes and none were padded.
        eer: Equal error rate of all frames.
        average_precision: Average precision of all frames; compare it with `base_rate`.
        base_rate: Share of abnormal frames among those evaluated.
        frames: Number of frames evaluated.
        videos: Number of videos with at least one evaluated frame.
        unscored_frames: Number of frames left out because they have no score.
        padded_frames: Number of frames that got the score of the nearest scored frame (`edge="pad"`).
        unscored_videos: Positions, from 0, of videos without any score; they are left out.
        single_class_videos: Positions, from 0, of videos whose evaluated frames are all normal or all abnormal.
        auc_videos: AUC of every video; None if it is left out of the macro AUC.
    """

    normalization: Protocol
    edge: Edge
    single_class: SingleClass
    auc_micro: float
    auc_macro: float | None
    eer: float
    average_precision: float
    base_rate: float
    frames: int
    videos: int
    unscored_frames: int
    padded_frames: int
    unscored_videos: tuple[int, ...]
    single_class_videos: tuple[int, ...]
    auc_videos: tuple[float | None, ...]


def evaluate_scores(
    scores: Sequence[npt.ArrayLike],
    labels: Sequence[npt.ArrayLike],
    *,
    normalization: Normalization,
    edge: Edge = "leave_out",
    single_class: SingleClass = "leave_out",
    calibration: Calibration | None = None,
    names: Sequence[str] | None = None,
) -> Evaluation:
    """Evaluate frame scores against frame labels.

    Args:
        scores: One 1-D array per video, higher = more anomalous; NaN = no score. ±inf are the lowest and highest ranks.
        labels: One 1-D array per video, of the same length: 0 = normal, 1 = abnormal.
        normalization: The protocol; see `streamad.scoring.normalize`. `per_video` needs each video's future.
        edge: Treatment of frames without a score at the start and end of a video, as windowed models have: "leave_out"
            leaves them out like all other frames without a score, "pad" gives them the nearest score, after
            normalization.
        single_class: Treatment of videos with one class, which have no AUC: "leave_out" leaves them out of the macro
            AUC; "pad", a common practice, appends a normal frame with the video's lowest score and an abnormal one with
            its highest (0 and 1 under `per_video`). The micro metrics are not affected.
        calibration: Maps raw scores under `calibrated`; None: the scores are already calibrated.
        names: Names of the videos, for messages.

    Raises:
        DatasetError: Scores and labels differ in number, length, or shape, labels are not 0 and 1, there is nothing to
            evaluate, or the whole set has only one class. The message names the video.
        ValueError: An option is unknown.
    """
    if single_class not in get_args(SingleClass):
        raise ValueError(_unknown("single_class", single_class, SingleClass))
    kept, padded = scored_frames(
        scores, labels, normalization=normalization, edge=edge, calibration=calibration, names=names
    )
    all_scores = np.concatenate([s for s, _ in kept])
    all_labels = np.concatenate([t for _, t in kept])
    abnormal = int(all_labels.sum())
    if abnormal in (0, all_labels.size):
        what = (
            "no frame has a score"
            if all_labels.size == 0
            else (
                f"all {all_labels.size} scored frames of {len(kept)} videos are {'abnormal' if abnormal else 'normal'}"
            )
        )
        raise DatasetError(
            f"nothing can be evaluated: {what}; normal and abnormal frames are required",
            hint="evaluate the test split, with its labels",
        )
    single = tuple(i for i, (_, t) in enumerate(kept) if t.size and t.min() == t.max())
    per_video = tuple(_video_auc(s, t, single_class) for s, t in kept)
    with_auc = [auc for auc in per_video if auc is not None]
    return Evaluation(
        normalization=normalization,
        edge=edge,
        single_class=single_class,
        auc_micro=roc_auc(all_scores, all_labels),
        auc_macro=float(np.mean(with_auc)) if with_auc else None,
        eer=eer(all_scores, all_labels),
        average_precision=average_precision(all_scores, all_labels),
        base_rate=abnormal / all_labels.size,
        frames=int(all_labels.size),
        videos=sum(s.size > 0 for s, _ in kept),
        unscored_frames=int(sum(np.size(truth) for truth in labels) - all_labels.size),
        padded_frames=padded,
        unscored_videos=tuple(i for i, (s, _) in enumerate(kept) if s.size == 0),
        single_class_videos=single,
        auc_videos=per_video,
    )


def scored_frames(
    scores: Sequence[npt.ArrayLike],
    labels: Sequence[npt.ArrayLike],
    *,
    normalization: Normalization,
    edge: Edge = "leave_out",
    calibration: Calibration | None = None,
    names: Sequence[str] | None = None,
) -> tuple[list[tuple[Floats, npt.NDArray[np.uint8]]], int]:
    """Return the frames that `evaluate_scores` evaluates.

    Returns:
        For each video, normalized scores and labels of its frames with a score; and the number of padded frames.

    Raises:
        DatasetError: As for `evaluate_scores`, except for errors about classes.
        ValueError: An option is unknown.
    """
    if edge not in get_args(Edge):
        raise ValueError(_unknown("edge", edge, Edge))
    videos = _checked(scores, labels, names)
    normalized = normalize([video for video, _ in videos], normalization, calibration)
    padded = 0
    if edge == "pad":
        filled = [_pad_edges(video) for video in normalized]
        padded = sum(int(np.isnan(a).sum() - np.isnan(b).sum()) for a, b in zip(normalized, filled, strict=True))
        normalized = filled
    kept = [
        (video[~np.isnan(video)], truth[~np.isnan(video)]) for video, (_, truth) in zip(normalized, videos, strict=True)
    ]
    return kept, padded


def _unknown(name: str, value: str, choices: object) -> str:
    return f"unknown {name} {value!r}; choose one of {', '.join(get_args(choices))}"


def _checked(
    scores: Sequence[npt.ArrayLike], labels: Sequence[npt.ArrayLike], names: Sequence[str] | None
) -> list[tuple[Floats, npt.NDArray[np.uint8]]]:
    if len(scores) != len(labels):
        raise DatasetError(f"scores of {len(scores)} videos, but labels of {len(labels)}")
    if names is not None and len(names) != len(scores):
        raise DatasetError(f"scores of {len(scores)} videos, but {len(names)} names")
    if not scores:
        raise DatasetError("nothing can be evaluated: no videos were given")
    videos = []
    for i, (scores_of, labels_of) in enumerate(zip(scores, labels, strict=True)):
        name = f"video {i}" if names is None else f"video {i} ({names[i]})"
        video = np.asarray(scores_of, dtype=np.float64)
        truth = np.asarray(labels_of)
        if video.ndim != 1 or truth.ndim != 1:
            raise DatasetError(f"{name}: scores and labels must be 1-D, got shapes {video.shape} and {truth.shape}")
        if video.size != truth.size:
            raise DatasetError(
                f"{name}: {video.size} scores, but {truth.size} labels",
                hint="use NaN for frames without a score, so that lengths are equal",
            )
        if not np.isin(truth, (0, 1)).all():
            wrong = truth[~np.isin(truth, (0, 1))][0]
            raise DatasetError(f"{name}: labels must be 0 (normal) or 1 (abnormal), got {wrong!r}")
        videos.append((video, truth.astype(np.uint8)))
    return videos


def _pad_edges(video: Floats) -> Floats:
    """Give frames before the first and after the last score the nearest score; gaps in between stay."""
    scored = np.flatnonzero(~np.isnan(video))
    if scored.size == 0:
        return video
    padded = video.copy()
    padded[: scored[0]] = video[scored[0]]
    padded[scored[-1] + 1 :] = video[scored[-1]]
    return padded


def _video_auc(video: Floats, truth: npt.NDArray[np.uint8], single_class: SingleClass) -> float | None:
    if truth.size == 0:
        return None
    if truth.min() != truth.max():
        return roc_auc(video, truth)
    if single_class == "leave_out":
        return None
    return roc_auc(np.append(video, (video.min(), video.max())), np.append(truth, (0, 1)))


def protocols_of(
    clips: Sequence[ScoredClip],
    *,
    protocols: Sequence[Normalization] | None = None,
    calibration: Calibration | None = None,
    edge: Edge = "leave_out",
    single_class: SingleClass = "leave_out",
) -> tuple[Evaluation, ...]:
    """Compute the frame-level metrics under each protocol.

    Args:
        clips: The clips. If they have per-location scores, `calibrated` uses these, and its metrics are named `local`.
        protocols: The protocols to compute. `calibrated` without a calibration takes the scores as already calibrated.
            Default: all, with `calibrated` only if a calibration is given.
        calibration: The calibration for `calibrated`.
        edge: See `evaluate_scores`.
        single_class: See `evaluate_scores`.

    Raises:
        DatasetError: See `evaluate_scores`.
    """
    found = []
    for protocol in protocols or [p for p in NORMALIZATIONS if p != "calibrated" or calibration is not None]:
        calibrated = protocol == "calibrated"
        metrics = evaluate_scores(
            [clip.alert_scores if calibrated else clip.scores for clip in clips],
            [clip.labels for clip in clips],
            normalization=protocol,
            calibration=calibration if calibrated else None,
            edge=edge,
            single_class=single_class,
            names=[clip.name for clip in clips],
        )
        local = calibrated and any(clip.local is not None for clip in clips)
        found.append(replace(metrics, normalization="local") if local else metrics)
    return tuple(found)


INVERTED = 0.3
"""Micro AUC below which scores seem to mean the opposite; chance is 0.5."""


def inversion_note(protocols: Sequence[Evaluation]) -> tuple[str, ...]:
    """Return a note if a micro AUC is so low that the scores may be high for normal frames."""
    low = [f"{e.auc_micro:.4f} ({e.normalization})" for e in protocols if e.auc_micro < INVERTED]
    if not low:
        return ()
    return (
        f"A micro AUC is far below 0.5: {', '.join(low)}. Higher must mean more anomalous: are the scores inverted?",
    )
