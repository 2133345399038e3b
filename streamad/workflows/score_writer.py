"""Outputs of a scored video: the score table, a plot, an annotated video, its events."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np
import numpy.typing as npt

from streamad.alerts.event import Event
from streamad.alerts.tracker import EventChange
from streamad.calibration import AlertPolicy
from streamad.files import write_atomic
from streamad.frame import Frame, UInt8Image
from streamad.inference.model import Model
from streamad.inference.session import ScoredFrame
from streamad.scoring import FrameScore
from streamad.scoring.score_table import ScoreRow, score_table
from streamad.video_writer import H264Writer
from streamad.visual.overlay import draw_overlay
from streamad.visual.plot import PlotEvent, plot_scores

MOST_HEIGHT = 720
"""Maximum height of the annotated video, pixels; taller frames are shrunk."""

_SLOWLY = 0.05
"""Weight of a frame in the running median of anomaly maps, which only affects the map's colors."""

Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Recording:
    """Files of a `ScoreWriter`; None for those that were not requested or have no content."""

    csv: Path | None
    plot: Path | None
    video: Path | None


class ScoreWriter:
    """Collects the scores of one video and writes its files.

    Args:
        folder: Folder of the files.
        name: Name of the files, without extension.
        model: The model that scored it.
        policy: When a score becomes an alert; None: scores are shown raw, without alerts.
        fps: Frames per second of the annotated video; None: no video.
    """

    def __init__(self, folder: Path, name: str, model: Model, policy: AlertPolicy | None, *, fps: float | None) -> None:
        self._base = folder / name
        self._name = name
        self._model = model
        self._policy = policy
        self._fps = fps
        self._writer: H264Writer | None = None
        self._size = (0, 0)
        self._video: Path | None = None
        self._cells: tuple[float, float] | None = None
        self.scores: list[FrameScore] = []
        self.events: dict[str, Event] = {}
        self._peaks: list[tuple[int, int] | None] = []

    def add(self, result: ScoredFrame, *, truth_boxes: Sequence[Box] = ()) -> None:
        """Add the next scored frame and its changes of events.

        Raises:
            OutputError: The annotated video cannot be written.
        """
        score = result.score
        for change in result.changes:
            self.note(change)
        self._peaks.append(score.peak)
        self.scores.append(
            replace(score, anomaly_map=None, boxes=None)
        )  # the maps of a long video would exhaust memory
        if self._fps is not None:
            self._write(result.frame, score, truth_boxes)

    def note(self, change: EventChange) -> None:
        """Add a change of an event."""
        self.events[change.event.id] = change.event

    def finish(
        self,
        *,
        normalized: npt.NDArray[np.float64] | None = None,
        label: str | None = None,
        truth: Sequence[tuple[float, float, str]] = (),
        csv_file: bool = True,
        plot: bool = True,
    ) -> Recording:
        """Write the table and the plot, and close the video.

        Args:
            normalized: (frames,) scores on the chosen scale. Default: the display scale of live watching.
            label: Name of that scale, for the plot's axis.
            truth: (start, end, kind) of true anomalies, seconds.
            csv_file: Write the table.
            plot: Write the plot.

        Raises:
            OutputError: A file cannot be written.
        """
        self.close()
        shown = np.array([self._shown(s.score) for s in self.scores]) if normalized is None else normalized
        csv_path = Path(f"{self._base}.csv") if csv_file else None
        plot_path = Path(f"{self._base}.png") if plot and self.scores else None
        if csv_path is not None:
            write_atomic(csv_path, score_table(self._rows(shown)))
        if plot_path is not None:
            self._plot(plot_path, shown, normalized is None, label, truth)
        return Recording(csv_path, plot_path, self._video)

    def close(self) -> None:
        """Close the annotated video."""
        if self._writer is not None:
            self._writer.close()
            self._video, self._writer = self._writer.path, None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._writer is not None:
            # The writer discards an interrupted video; finish() closed a complete one.
            self._writer.__exit__(kind, error, trace)
            self._writer = None

    def _shown(self, score: float) -> float:
        return self._policy.display_score(score) if self._policy is not None else score

    def _rows(self, shown: npt.NDArray[np.float64]) -> Iterator[ScoreRow]:
        for score, value, peak in zip(self.scores, shown, self._peaks, strict=True):
            yield replace(ScoreRow.of(self._name, score, shown=float(value)), peak=peak)

    def _plot(
        self,
        path: Path,
        shown: npt.NDArray[np.float64],
        live_scale: bool,
        label: str | None,
        truth: Sequence[tuple[float, float, str]],
    ) -> None:
        policy = self._policy if live_scale else None
        events = [
            PlotEvent(
                event.started_pts_seconds,
                event.updated_pts_seconds if event.ended_pts_seconds is None else event.ended_pts_seconds,
                event.severity,
            )
            for event in self.events.values()
        ]
        default = (
            "raw score"
            if self._policy is None or self._policy.calibration is None
            else ("calibrated score, −log10(share of normal frames as high)")
        )
        plot_scores(
            path,
            seconds=np.array([s.pts_seconds for s in self.scores]),
            scores=shown,
            threshold=None if policy is None else policy.display_score(policy.threshold),
            release=None if policy is None else policy.display_score(policy.release),
            events=events,
            truth=truth,
            title=f"{self._name} · {self._model.bundle.name}",
            score_label=label or default,
        )

    def _write(self, frame: Frame, score: FrameScore, truth_boxes: Sequence[Box]) -> None:
        pixels = _scaled(frame.pixels)
        if self._writer is None:
            height, width = pixels.shape
            self._size = (width, height)
            fps = self._fps
            assert fps is not None
            self._writer = H264Writer(Path(f"{self._base}.mp4"), width=width, height=height, fps=fps)
        elif (pixels.shape[1], pixels.shape[0]) != self._size:
            # A video has one size, its first picture's; later ones are stretched to it with what is drawn on them.
            pixels = np.asarray(cv2.resize(pixels, self._size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        down, across = (ours / theirs for ours, theirs in zip(pixels.shape, frame.shape, strict=True))
        threshold = None if self._policy is None else self._policy.threshold
        low, high = self._scale(score.anomaly_map)
        self._writer.write(
            draw_overlay(
                pixels,
                anomaly_map=score.anomaly_map,
                boxes=score.boxes,
                scale=(low, high),
                alert=score.is_alert,
                score_text="–" if math.isnan(score.score) else f"{self._shown(score.score):.2f}",
                score=score.score,
                threshold=threshold,
                camera=score.camera,
                time_text=_clock(score.pts_seconds),
                truth_boxes=[(x0 * across, y0 * down, x1 * across, y1 * down) for x0, y0, x1, y1 in truth_boxes],
            )
        )

    def _scale(self, anomaly_map: npt.NDArray[np.float32] | None) -> tuple[float, float]:
        """Range of scores over which locations are tinted.

        From the normal score to well over the threshold if locations have the frame's unit. If they do not (a PSNR, or
        descriptors of whole frames, without per-location calibration), or there is no threshold: from the median
        location to the highest of the frames so far.
        """
        policy, kind = self._policy, self._model.bundle.manifest.score.kind
        if policy is not None and (policy.per_location is not None or kind == "top_cells"):
            low = policy.baseline
            return low, max(low + 1e-3, low + 1.5 * (policy.threshold - low))
        if anomaly_map is not None and (known := anomaly_map[np.isfinite(anomaly_map)]).size:
            low, high = float(np.median(known)), float(known.max())
            self._cells = (low, high) if self._cells is None else (
                _SLOWLY * low + (1 - _SLOWLY) * self._cells[0], max(high, self._cells[1])
            )  # fmt: skip
        low, high = self._cells or (0.0, 1.0)
        return low, max(high, low + 1e-6)


def _scaled(pixels: UInt8Image) -> UInt8Image:
    """Shrink a tall frame, so that drawing and encoding are quick."""
    height, width = pixels.shape
    if height <= MOST_HEIGHT:
        return pixels
    size = max(1, round(width * MOST_HEIGHT / height)), MOST_HEIGHT
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes):02d}:{rest:04.1f}"
