"""Scores of clips over time, and the frames worth looking at: the worst false alarms and misses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from streamad.calibration import PerLocationScore, PerLocationStatistics
from streamad.errors import CalibrationError
from streamad.evaluation.anomaly_maps import AnomalyMapFile
from streamad.evaluation.events import Alert

APART_SECONDS = 2.0
"""One frame is selected per stretch of this length, so that a single event does not fill the page."""
FPS = 25.0
"""Frame rate assumed if unknown."""


@dataclass(frozen=True)
class ScoredClip:
    """The scores of one clip.

    Attributes:
        name: Name of the clip.
        scores: (frames,) raw scores of the detector, NaN for frames without a score.
        labels: (frames,) 0 or 1.
        fps: Frames per second; None: the time axis counts frames.
        alerts: (start, end) of the alerts in seconds.
        reopened: Positions of alerts that are reopenings of an earlier alert, not new ones.
        local: (frames,) per-location scores, if the calibration has such statistics; otherwise None.
        maps: Anomaly maps; None if the detector does not localize, or its scores came from a file.
        seconds: Wall time of decoding and scoring; None if the scores came from a file.
        problems: Damage that did not end the run: frames that do not decode, a clip that ends early.
        engine: What ran the network: name, version, device, precision.
    """

    name: str
    scores: npt.NDArray[np.float64] = field(repr=False)
    labels: npt.NDArray[np.uint8] = field(repr=False)
    fps: float | None = None
    alerts: Sequence[Alert] = ()
    reopened: frozenset[int] = frozenset()
    local: npt.NDArray[np.float64] | None = field(default=None, repr=False)
    maps: AnomalyMapFile | None = None
    seconds: float | None = None
    problems: tuple[str, ...] = ()
    engine: str = ""

    @property
    def alert_scores(self) -> npt.NDArray[np.float64]:
        """(frames,) the raw scores that alerts are based on: `local` if there are any, else `scores`."""
        return self.scores if self.local is None else self.local

    def relative_to(self, statistics: PerLocationStatistics) -> ScoredClip:
        """The clip as a camera with these per-location statistics scores it, from its anomaly maps.

        Raises:
            CalibrationError: There are no anomaly maps.
        """
        local, state = np.full(len(self.scores), np.nan), PerLocationScore(statistics)
        for t in np.flatnonzero(np.isfinite(self.scores)):
            if self.maps is None:
                raise CalibrationError(
                    f"clip {self.name}: the calibration has per-location statistics, the model gives no anomaly map",
                    hint="calibrate again with --no-local",
                )
            local[t], _ = state.update(self.maps[t : t + 1][0])
        return replace(self, local=local, maps=None if self.maps is None else self.maps.relative_to(statistics))

    def runs(self) -> list[tuple[int, int]]:
        """(first frame, frame after the last) of each run of abnormal frames."""
        edges = np.flatnonzero(np.diff(np.concatenate(([0], self.labels, [0]))))
        return [(int(first), int(stop)) for first, stop in edges.reshape(-1, 2)]


@dataclass(frozen=True)
class FrameRef:
    """A selected frame.

    Attributes:
        clip: Position of the clip.
        frame: Position of the frame in the clip.
        score: Its raw score.
        why: Why it was selected.
    """

    clip: int
    frame: int
    score: float
    why: str


def worst_false_alarms(clips: Sequence[ScoredClip], count: int, *, threshold: float | None = None) -> list[FrameRef]:
    """Select the normal frames with the highest scores, one per stretch of `APART_SECONDS`, the worst first.

    Args:
        clips: All clips.
        count: Maximum number of frames.
        threshold: The threshold that each frame is described relative to.
    """
    found = []
    for clip, frame, score in _extremes(clips, count, label=0, sign=1):
        over = "" if threshold is None else f", {'over' if score >= threshold else 'under'} the threshold"
        found.append(FrameRef(clip, frame, score, f"normal{over}"))
    return found


def worst_misses(clips: Sequence[ScoredClip], count: int, *, threshold: float | None = None) -> list[FrameRef]:
    """Select the abnormal frames with the lowest scores, one per stretch of `APART_SECONDS`, the worst first.

    Args:
        clips: All clips.
        count: Maximum number of frames.
        threshold: The threshold that each frame is described relative to.
    """
    found = []
    for clip, frame, score in _extremes(clips, count, label=1, sign=-1):
        first, stop = next(run for run in clips[clip].runs() if run[0] <= frame < run[1])
        inside = clips[clip].alert_scores[first:stop]
        over = "" if threshold is None else f", {'over' if score >= threshold else 'under'} the threshold"
        highest = np.max(inside[np.isfinite(inside)])
        found.append(
            FrameRef(
                clip, frame, score, f"abnormal{over}; its event, frames {first} to {stop - 1}, reaches {highest:.4g}"
            )
        )
    return found


def _extremes(clips: Sequence[ScoredClip], count: int, *, label: int, sign: int) -> list[tuple[int, int, float]]:
    """(clip, frame, score) of the frames of one class with the highest `sign` · score, the highest first."""
    found: list[tuple[int, int, float]] = []
    for number, clip in enumerate(clips):
        scores = clip.alert_scores
        values = np.where((clip.labels == label) & np.isfinite(scores), sign * scores, -np.inf)
        reach = max(1, round(APART_SECONDS * (clip.fps or FPS)))
        for _ in range(count):
            at = int(values.argmax()) if values.size else 0
            if not values.size or not np.isfinite(values[at]):
                break
            found.append((number, at, float(scores[at])))
            values[max(0, at - reach) : at + reach + 1] = -np.inf
    return sorted(found, key=lambda place: -sign * place[2])[:count]
