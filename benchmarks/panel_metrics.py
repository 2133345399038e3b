"""Metrics of the camera panel: one camera's scores and alerts compared with its labels.

A frame without a score counts neither way in an AUC. An event is a run of frames labeled 1; it is found if an alert is on
during it or up to 2 s after its end. An alert is wrong if it touches no frame that is anomalous or not counted, from 1 s
before to 2 s after.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from streamad.evaluation.bootstrap import LEVEL, MIN_CLIPS
from streamad.evaluation.metrics import roc_auc

NORMAL, ANOMALOUS, NOT_COUNTED = 0, 1, 255
AFTER_SECONDS, BEFORE_SECONDS = 2.0, 1.0
DRAWS = 10_000
MAX_POINTS = 600
"""Maximum number of points of a plotted curve."""


@dataclass(frozen=True)
class WatchedVideo:
    """Scores, alerts and labels of a video's frames.

    Attributes:
        scores: (T,) raw scores, higher is more anomalous; NaN: no score.
        alerts: (T,) whether an alert is on.
        labels: (T,) `NORMAL`, `ANOMALOUS` or `NOT_COUNTED`.
        shown: (T,) scores on the threshold's scale. Default: `scores`.
    """

    scores: npt.NDArray[np.float64]
    alerts: npt.NDArray[np.bool_]
    labels: npt.NDArray[np.uint8]
    shown: npt.NDArray[np.float64] | None = None

    def __post_init__(self) -> None:
        if not len(self.scores) == len(self.alerts) == len(self.labels):
            raise ValueError(
                f"{len(self.scores)} scores, {len(self.alerts)} alerts and {len(self.labels)} labels; "
                "the numbers must be equal"
            )


def runs(flags: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """Return [start, stop) of every run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[0], flags.astype(np.int8), [0]])))
    return list(zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True))


def measure(videos: Sequence[WatchedVideo], fps: float) -> dict[str, Any]:
    """Return the metrics of one camera, ready for JSON.

    Keys: `auc` (all frames together), `video_aucs` (None for a video of one class), `delays_seconds` (one per event, from its
    start to the first frame with an alert; None: missed), `wrong` alerts, `normal_seconds` watched, and what `summary`
    derives from them.
    """
    aucs, delays, wrong, normal = [], [], 0, 0
    for video in videos:
        scored = ~np.isnan(video.scores) & (video.labels != NOT_COUNTED)
        aucs.append(_auc(video.scores[scored], video.labels[scored]))
        for start, stop in runs(video.labels == ANOMALOUS):
            on = np.flatnonzero(video.alerts[start : stop + round(AFTER_SECONDS * fps)])
            delays.append(float(on[0] / fps) if len(on) else None)
        excused = np.zeros(len(video.labels), bool)
        for start, stop in runs(video.labels != NORMAL):
            excused[max(0, start - round(BEFORE_SECONDS * fps)) : stop + round(AFTER_SECONDS * fps)] = True
        wrong += sum(not excused[start:stop].any() for start, stop in runs(video.alerts))
        normal += int(np.count_nonzero(video.labels == NORMAL))
    scores, labels = (np.concatenate([getattr(v, name) for v in videos]) for name in ("scores", "labels"))
    scored = ~np.isnan(scores) & (labels != NOT_COUNTED)
    return {"auc": _auc(scores[scored], labels[scored])} | summary(aucs, delays, wrong, normal / fps)


def summary(
    aucs: Sequence[float | None], delays: Sequence[float | None], wrong: int, normal_seconds: float
) -> dict[str, Any]:
    """Return means, rates and intervals, with the values that they were derived from."""
    both = [auc for auc in aucs if auc is not None]
    found = [delay for delay in delays if delay is not None]
    return {
        "video_aucs": list(aucs),
        "macro": float(np.mean(both)) if both else None,
        "macro_interval": interval(both),
        "delays_seconds": list(delays),
        "events": len(delays),
        "found": len(found),
        "found_interval": interval([float(delay is not None) for delay in delays]),
        "median_delay_seconds": float(np.median(found)) if found else None,
        "wrong": wrong,
        "normal_seconds": normal_seconds,
        "wrong_per_hour": 3600.0 * wrong / normal_seconds if normal_seconds else None,
    }


def totals(cameras: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """Return `summary` over the metrics of several cameras, whose AUC is each camera's macro AUC.

    The interval of found events draws from the events of all cameras. That of the mean macro AUC draws cameras.
    """
    given = list(cameras)
    delays = [delay for camera in given for delay in camera["delays_seconds"]]
    wrong, seconds = (sum(camera[name] for camera in given) for name in ("wrong", "normal_seconds"))
    return summary([camera["macro"] for camera in given], delays, wrong, seconds)


def interval(values: Sequence[float], draws: int = DRAWS, seed: int = 0) -> list[float] | None:
    """95 % interval of the mean by the percentile bootstrap.

    None if it would be meaningless: with fewer than five values, which do not represent others, or with equal values, for
    which all draws are the same.
    """
    if len(values) < MIN_CLIPS or min(values) == max(values):
        return None
    random = np.random.default_rng(seed)
    means = random.choice(np.asarray(values, np.float64), (draws, len(values))).mean(axis=1)
    return [float(bound) for bound in np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])]


def trace(videos: Sequence[WatchedVideo], fps: float, threshold: float) -> dict[str, Any]:
    """Return the score over time with all videos on one time axis, thinned to its maxima, ready for JSON.

    Keys: `scores` (text: one number per `step_seconds`, "nan": no score), `threshold`, and in seconds `events`,
    `not_counted`, `alerts` (start and end) and `starts` (of each video).
    """
    lengths = [len(video.labels) for video in videos]
    starts = np.concatenate([[0], np.cumsum(lengths)])
    scores = np.concatenate([video.scores if video.shown is None else video.shown for video in videos])
    step = -(-len(scores) // MAX_POINTS)
    padded = np.pad(np.where(np.isnan(scores), -np.inf, scores), (0, -len(scores) % step), constant_values=-np.inf)
    highest = padded.reshape(-1, step).max(axis=1)

    def spans(flags: Sequence[npt.NDArray[np.bool_]]) -> list[list[float]]:
        found = [(first + a, first + b) for first, part in zip(starts, flags, strict=False) for a, b in runs(part)]
        return [[round(float(a / fps), 3), round(float(b / fps), 3)] for a, b in found]

    return {
        "step_seconds": step / fps,
        "scores": " ".join("nan" if np.isneginf(value) else f"{value:.4g}" for value in highest),
        "threshold": threshold,
        "events": spans([video.labels == ANOMALOUS for video in videos]),
        "not_counted": spans([video.labels == NOT_COUNTED for video in videos]),
        "alerts": spans([video.alerts for video in videos]),
        "starts": [round(float(start / fps), 3) for start in starts],
    }


def _auc(scores: npt.NDArray[np.float64], labels: npt.NDArray[np.uint8]) -> float | None:
    return roc_auc(scores, labels) if len(np.unique(labels)) == 2 else None
