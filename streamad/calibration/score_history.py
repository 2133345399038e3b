"""The recent scores of a running camera, on disk: the input of `streamad calibrate --recent`.

Each camera has a folder with one file per hour, process and threshold: a line of JSON that identifies camera, model and
threshold, followed by appended records of nine bytes. A record that a killed process left incomplete is skipped. Files
older than the retention time are removed. A camera at 25 frames per second needs 0.8 MB per hour.
"""

from __future__ import annotations

import json
import logging
import math
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from streamad.calibration.false_alarms import FalseAlarm, in_false_alarm
from streamad.errors import CalibrationError
from streamad.files import read_bytes
from streamad.writing import Appender

FORMAT = "streamad-scores"
SUFFIX = ".scores"
RECORD = np.dtype([("milliseconds", "<u4"), ("score", "<f4"), ("flags", "u1")])
WITHHELD, ALERT, GAP = 1, 2, 4
"""Flags: the frame has no score; it belongs to an alert; it does not follow the previous frame."""

FLUSH_SECONDS = 10.0
"""Records stay in memory for this long, so that the frames before an alert can still be marked when it opens."""
FILE_SECONDS = 3600.0
GAP_SECONDS = 2.0

_NUMBERS = count()

_log = logging.getLogger(__name__)


class HistorySpec(BaseModel):
    """Retention of recent scores on disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    folder: Path = Field(
        Path("runs/scores"), description="folder of the recent scores, with a subfolder for each camera"
    )
    hours: float = Field(
        72.0, ge=0, le=24 * 366, description="how long scores are kept (0.8 MB per hour and camera); 0: none are stored"
    )
    tighten: bool = Field(
        True,
        description="recalibrate live cameras on these scores until their budgets are reached",
    )
    learn: bool = Field(
        True,
        description="go on learning the models of live cameras that `streamad learn` made; up to 1 GiB a camera is "
        "kept in the folder",
    )


@dataclass(frozen=True)
class HistoryBlock:
    """Records of one camera on their way to a file.

    Attributes:
        path: The file.
        header: The first line of the file.
        records: The records to append.
        oldest: When the block creates a file, other files in its folder that were last written before this Unix time
            are removed.
    """

    path: Path
    header: bytes
    records: bytes
    oldest: float

    def write(self) -> None:
        """Append all records or none.

        Raises:
            OSError: They could not be written.
        """
        if not self.path.exists():
            self._remove_old()
        with Appender(self.path, header=self.header, lines=False) as file:
            file.append(self.records)

    def _remove_old(self) -> None:
        for path in self.path.parent.glob(f"*{SUFFIX}"):
            try:
                if path.stat().st_mtime < self.oldest:
                    path.unlink()
            except FileNotFoundError:
                continue  # another process is cleaning up, too
            except OSError as error:
                _log.warning("cannot remove old scores in %s: %s", path, error.strerror or error)


class ScoreHistory:
    """Collects one camera's scores for its files.

    Args:
        folder: Folder of all cameras.
        camera: The camera's id.
        model_sha256: Hash of the model, which a calibration belongs to.
        hours: How long files are kept.
        threshold: The active threshold; see `set_threshold`. Default: unknown.
        wall_clock: Returns timezone-aware datetimes, for names and ages of files.
        put: Receives the blocks to write, about one every `FLUSH_SECONDS`. Default: they are written immediately.
    """

    def __init__(
        self,
        folder: Path,
        camera: str,
        model_sha256: str,
        *,
        hours: float,
        wall_clock: Callable[[], datetime],
        threshold: float | None = None,
        put: Callable[[HistoryBlock], None] = HistoryBlock.write,
    ) -> None:
        self._folder = folder / camera
        self._header = {"format": FORMAT, "version": 1, "camera": camera, "model_sha256": model_sha256}
        self.threshold = threshold
        self._hours = hours
        self._wall_clock = wall_clock
        self._put = put
        self._file: tuple[Path, bytes, float] | None = None
        self._first = 0.0
        self._last: tuple[int, float] | None = None
        self._waiting: list[tuple[int, float, float, int]] = []

    def add(self, index: int, pts_seconds: float, score: float, *, alert: bool, skipped: bool) -> None:
        """Add a frame's score; frames must come in order."""
        if self._hours <= 0:
            return
        flags = (ALERT if alert else 0) | (WITHHELD if skipped or not math.isfinite(score) else 0)
        if self._last is None or pts_seconds <= self._last[1] or pts_seconds - self._last[1] > GAP_SECONDS:
            flags |= GAP
        if self._last is not None and not 0 < pts_seconds - self._last[1] < FILE_SECONDS:
            self.flush()
            self._file = None  # a new time base
        self._last = index, pts_seconds
        self._waiting.append((index, pts_seconds, score, flags))
        if pts_seconds - self._waiting[0][1] >= FLUSH_SECONDS:
            self.flush()

    def set_threshold(self, threshold: float) -> None:
        """From the next frame on, another threshold is active: a new file begins, which states it."""
        if threshold != self.threshold:
            self.flush()
            self._file, self.threshold = None, threshold

    def mark_alert(self, since_index: int) -> None:
        """Mark the frames of an alert that begins at this frame, as far as they are not written yet."""
        self._waiting = [
            (index, pts, score, flags | ALERT if index >= since_index else flags)
            for index, pts, score, flags in self._waiting
        ]

    def flush(self) -> None:
        """Hand over all pending records."""
        waiting, self._waiting = self._waiting, []
        if not waiting:
            return
        if self._file is None or waiting[0][1] - self._first >= FILE_SECONDS:
            self._file = self._begin_file(waiting[0][1], waiting[-1][1])
        path, header, oldest = self._file
        records = np.array(
            [(round(1000 * (pts - self._first)), score, flags) for _, pts, score, flags in waiting], dtype=RECORD
        )
        self._put(HistoryBlock(path, header, records.tobytes(), oldest))

    def close(self) -> None:
        """Hand over all pending records."""
        self.flush()

    def _begin_file(self, first: float, newest: float) -> tuple[Path, bytes, float]:
        now = self._wall_clock().astimezone(UTC)
        self._first = first
        # Names sort by time and are unique across processes and files, whatever the clock does.
        name = f"{now:%Y%m%dT%H%M%S}.{now.microsecond:06d}-{os.getpid()}-{next(_NUMBERS):04d}{SUFFIX}"
        fields = {
            **self._header,
            "threshold": self.threshold,
            "started_at": now.isoformat(),
            "first_pts_seconds": first,
            "zero_unix_seconds": now.timestamp() - newest,
        }
        header = json.dumps(fields, separators=(",", ":"))
        oldest = now.timestamp() - 3600 * self._hours
        return self._folder / name, header.encode() + b"\n", oldest


@dataclass(frozen=True)
class RecentScores:
    """The scores of one model in a history.

    Attributes:
        clips: (T,) scores of every uninterrupted stretch; NaN for frames without a score.
        fps: Frames per second.
        frames: Number of frames with a score that is taken in full.
        alert_frames: Number of frames that have a ceiling or were left out because they belonged to an alert.
        false_alarm_frames: Number of frames of alerts that are taken in full because they were marked as false.
        skipped_frames: Number of frames without a score: during warm-up, or rejected by the frame-quality gate.
        other_models: Number of files of other models, which were ignored.
        since: Start of the first of these files.
        ceilings: (T,) of every clip: the threshold that was active at frames of alerts, NaN elsewhere (see
            `calibrate`).
    """

    clips: list[npt.NDArray[np.float64]]
    fps: float
    frames: int
    alert_frames: int
    skipped_frames: int
    other_models: int
    since: datetime | None
    ceilings: list[npt.NDArray[np.float64]]
    false_alarm_frames: int = 0


def read_history(
    folder: Path,
    camera: str,
    model_sha256: str,
    *,
    since: datetime,
    keep_alerts: bool = False,
    false_alarms: Sequence[FalseAlarm] = (),
) -> RecentScores:
    """Read the scores that a running camera stored.

    Args:
        folder: Folder of all cameras.
        camera: The camera's id.
        model_sha256: Only scores of this model are read.
        since: Files that ended earlier, and earlier records in other files, are ignored.
        keep_alerts: Take the scores of alerts in full, because the operator confirmed that they were normal.
        false_alarms: Alerts whose scores are taken in full. Files of versions before marks state no presentation time,
            and none of them matches.

    Raises:
        CalibrationError: There is no history, or none of this model.
    """
    place = folder / camera
    paths: Sequence[Path] = sorted(place.glob(f"*{SUFFIX}")) if place.is_dir() else ()
    if not paths:
        known = sorted(p.name for p in folder.iterdir() if p.is_dir()) if folder.is_dir() else []
        raise CalibrationError(
            f"there are no recent scores of camera {camera!r} in {folder}"
            + (f"; cameras with scores: {', '.join(known)}" if known else ""),
            hint="`streamad run` stores them (`history` in its configuration); specify --history and --camera",
        )
    clips: list[npt.NDArray[np.float64]] = []
    steps: list[npt.NDArray[np.float64]] = []
    ceilings: list[npt.NDArray[np.float64]] = []
    full = alerts = false = skipped = others = 0
    first: datetime | None = None
    for path in paths:
        header, records = _read(path)
        if header is None or header.get("model_sha256") != model_sha256:
            others += 1
            continue
        started = header["started_at"]
        seconds = records["milliseconds"] / 1000.0
        kept = seconds >= (since - started).total_seconds()
        records, seconds = records[kept], seconds[kept]
        if not len(records):
            continue
        first = started if first is None else min(first, started)
        scores = records["score"].astype(np.float64)
        has_none = (records["flags"] & WITHHELD).astype(bool)
        in_alert = (records["flags"] & ALERT).astype(bool) & ~has_none
        is_false = in_alert & in_false_alarm(
            _number(header, "first_pts_seconds") + seconds, _number(header, "zero_unix_seconds"), false_alarms
        )
        in_alert &= ~is_false
        false += int(is_false.sum())
        skipped += int(has_none.sum())
        scores[has_none] = np.nan
        ceiling = np.full(len(scores), np.nan)
        if not keep_alerts:
            alerts += int(in_alert.sum())
            threshold = _number(header, "threshold")
            if math.isfinite(threshold):
                ceiling[in_alert] = threshold
            else:  # of streamad 0.2
                scores[in_alert] = np.nan
        full += int((np.isfinite(scores) & np.isnan(ceiling)).sum())
        gaps = np.flatnonzero((records["flags"] & GAP).astype(bool))
        for clip, limits in zip(np.split(scores, gaps[gaps > 0]), np.split(ceiling, gaps[gaps > 0]), strict=True):
            if np.isfinite(clip).any():
                clips.append(clip)
                ceilings.append(limits)
        steps.append(np.diff(seconds))
    if not clips:
        raise CalibrationError(
            f"camera {camera!r} has no recent scores of this model ({others} files belong to other models)",
            hint="run `streamad run` with this model for a while first",
        )
    step = float(np.median(np.concatenate(steps)))
    return RecentScores(
        clips=clips,
        fps=1.0 / max(step, 1e-3),
        frames=full,
        alert_frames=alerts,
        skipped_frames=skipped,
        other_models=others,
        since=first,
        ceilings=ceilings,
        false_alarm_frames=false,
    )


def _number(header: dict[str, Any], key: str) -> float:
    """A number of a header; NaN where an earlier version wrote none."""
    value = header.get(key)
    return float(value) if isinstance(value, int | float) else math.nan


def _read(path: Path) -> tuple[dict[str, Any] | None, npt.NDArray[np.void]]:
    """Header, its `started_at` as an aware datetime, and the records; None if the file is damaged or not a history."""
    nothing = np.zeros(0, RECORD)
    try:
        line, _, body = read_bytes(path).partition(b"\n")
        header = json.loads(line)
        if not isinstance(header, dict) or header.get("format") != FORMAT:
            return None, nothing
        header["started_at"] = datetime.fromisoformat(str(header.get("started_at"))).astimezone(UTC)
    except (OSError, ValueError, OverflowError, RecursionError):
        return None, nothing
    return header, np.frombuffer(body[: len(body) // RECORD.itemsize * RECORD.itemsize], RECORD)
