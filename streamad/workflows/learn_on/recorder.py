"""Recording what a watched camera's network sees, once it is known which frames an alert touched."""

from __future__ import annotations

import errno
import math
import os
import shutil
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

import numpy as np
import numpy.typing as npt

from streamad.calibration import AlertPolicy
from streamad.inference.session import ScoredFrame
from streamad.preprocessing import ModelInput
from streamad.training.watched import (
    ALERT,
    EXAMPLE,
    FRAME,
    START,
    STEP_SECONDS,
    SUFFIX,
    WatchedVideo,
    block_of,
    header_of,
)
from streamad.writing import Appender

MARGIN_SECONDS = 10.0
"""Frames this close to an alert, before it or after it, are no examples: what caused the alert comes and goes."""

HOLD_SECONDS = MARGIN_SECONDS + 5.0
"""Frames wait this long, and as long as an alert takes to open, before they are recorded."""

BLOCK_SECONDS = 10.0
FILE_SECONDS = 3600.0

MOST_BYTES = 1 << 30
"""Most bytes that are kept for one camera: a day in which 20 of 400 cells always move at 25 frames/s."""

FREE_BYTES = 1 << 30
"""Nothing is recorded while less than this is free on the disk, which events need more."""

_NUMBERS = count()


@dataclass(slots=True)
class _Waiting:
    index: int
    seconds: float
    ceiling: float
    flags: int
    inputs: npt.NDArray[np.float16]


@dataclass
class Kept:
    """What is on disk.

    Attributes:
        seconds: Length of the examples of what is normal.
        size_bytes: Size of all files.
    """

    seconds: float = 0.0
    size_bytes: int = 0


@dataclass(frozen=True)
class WatchedBlock:
    """Frames on their way to a file.

    Attributes:
        path: The file.
        header: The first line of the file.
        data: The block to append.
        seconds: Length of its examples.
        kept: What is on disk; updated when the block is there.
    """

    path: Path
    header: bytes
    data: bytes
    seconds: float
    kept: Kept = field(repr=False)

    def write(self) -> None:
        """Append the whole block, or nothing.

        Raises:
            OSError: It could not be written, or the disk is nearly full.
        """
        if self.kept.size_bytes >= MOST_BYTES:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if shutil.disk_usage(self.path.parent).free < FREE_BYTES:
            error = OSError(errno.ENOSPC, f"less than {FREE_BYTES >> 20} MiB of the disk are free")
            error.filename = str(self.path)
            raise error
        with Appender(self.path, header=self.header, lines=False) as file:
            file.append(self.data)
        self.kept.seconds += self.seconds
        self.kept.size_bytes += len(self.data)


def write_blocks(blocks: Sequence[WatchedBlock]) -> None:
    """Write blocks in order; for a `BackgroundWriter`."""
    for block in blocks:
        block.write()


class WatchedRecorder:
    """Records the inputs of one camera's frames, for `streamad.training.watched.WatchedVideo`.

    A frame is an example of what is normal unless an alert touched it: from the first frame of the rise that led to the
    alert to its end, and `MARGIN_SECONDS` before and after. Those frames are kept too, to be scored for the threshold.
    Frames without a score are left out.

    Args:
        folder: The folder for this model, which is continued if it exists.
        model_sha256: Hash of the model.
        length: Numbers in an input.
        wall_clock: Aware datetimes, for the names of files.
        put: Receives the blocks to write, about one every `BLOCK_SECONDS`. Default: they are written immediately.
    """

    def __init__(
        self,
        folder: Path,
        *,
        model_sha256: str,
        length: int,
        wall_clock: Callable[[], datetime],
        put: Callable[[WatchedBlock], None] = WatchedBlock.write,
    ) -> None:
        self.folder = folder
        self._model_sha256 = model_sha256
        self._length = length
        self._wall_clock = wall_clock
        self._put = put
        self._waiting: deque[_Waiting] = deque()
        self._block: list[_Waiting] = []
        self._last_alert: float | None = None
        self._newest = 0.0
        self._is_start = True
        self._grid: tuple[int, int] | None = None
        self._file: tuple[Path, bytes, float] | None = None
        self._written_until = -math.inf
        known = WatchedVideo(folder, length=length)
        self.kept = Kept(known.example_seconds, known.size_bytes)

    def take(self, model_input: ModelInput, result: ScoredFrame, policy: AlertPolicy, *, in_alert: bool) -> None:
        """Take the next frame, after its events.

        Args:
            model_input: What the network saw.
            result: The frame's score, and the events that it changed.
            policy: When a score becomes an alert.
            in_alert: Whether an alert is open after this frame.
        """
        score = result.score
        if score.skipped_reason is not None or not math.isfinite(score.score) or model_input.boxes is None:
            return
        now = score.pts_seconds
        if self._grid != model_input.boxes.grid or (self._waiting and now <= self._waiting[-1].seconds):
            self._block += self._waiting  # no later alert touches them
            self._waiting.clear()
            self._hand_over()
            self._grid, self._file, self._is_start, self._last_alert = model_input.boxes.grid, None, True, None
        self._newest = now
        for change in result.changes:
            if change.event.ended_pts_seconds is not None:
                self._ended(change.event.ended_pts_seconds)
        flags = EXAMPLE
        if in_alert:
            flags, self._last_alert = ALERT, now
        elif self._last_alert is not None and now - self._last_alert <= MARGIN_SECONDS:
            flags = 0
        if self._is_start:
            flags, self._is_start = flags | START, False
        inputs = model_input.batch.reshape(len(model_input.batch), self._length).astype(np.float16)
        self._waiting.append(_Waiting(score.index, now, policy.threshold, flags, inputs))
        for change in result.changes:
            if change.kind == "opened" or change.event.reason == "reopened":
                self._touched(change.event.started_index, change.event.started_pts_seconds)
        hold = HOLD_SECONDS + policy.min_duration_seconds
        while now - self._waiting[0].seconds > hold:
            self._block.append(self._waiting.popleft())
        if self._block and self._block[-1].seconds - self._block[0].seconds >= BLOCK_SECONDS:
            self._hand_over()

    def flush(self) -> None:
        """Hand over what is recorded, and drop the frames that a coming alert could still touch."""
        self._waiting.clear()
        self._hand_over()

    def discard(self) -> None:
        """Start over with nothing, on disk too."""
        self._waiting.clear()
        self._block.clear()
        self._file, self._is_start = None, True
        shutil.rmtree(self.folder, ignore_errors=True)
        self.kept.seconds, self.kept.size_bytes = 0.0, 0

    def _touched(self, since_index: int, since_seconds: float) -> None:
        """Mark the frames of an alert that began at this frame, and those shortly before it."""
        for waiting in self._waiting:
            if waiting.index >= since_index:
                waiting.flags = waiting.flags & ~EXAMPLE | ALERT
            elif waiting.seconds >= since_seconds - MARGIN_SECONDS:
                waiting.flags &= ~EXAMPLE

    def _ended(self, seconds: float) -> None:
        """Mark the frames since the end of an alert, which closes a while later, as those after an alert."""
        for waiting in self._waiting:
            if waiting.seconds >= seconds:
                waiting.flags &= ~ALERT
            else:
                self._last_alert = waiting.seconds

    def _hand_over(self) -> None:
        block, self._block = self._block, []
        if not block or self._grid is None:
            return
        if self._file is None or not 0 <= block[0].seconds - self._file[2] < FILE_SECONDS:
            now = self._wall_clock().astimezone(UTC)
            name = f"{now:%Y%m%dT%H%M%S}.{now.microsecond:06d}-{os.getpid()}-{next(_NUMBERS):04d}{SUFFIX}"
            header = header_of(
                length=self._length,
                grid=self._grid,
                model_sha256=self._model_sha256,
                zero_unix_seconds=now.timestamp() - self._newest,
            )
            self._file = self.folder / name, header, block[0].seconds
        seconds = 0.0
        for frame in block:
            step = frame.seconds - self._written_until
            seconds += min(step, STEP_SECONDS) if frame.flags & EXAMPLE and step > 0 and not frame.flags & START else 0
            self._written_until = frame.seconds
        frames = np.array([(f.seconds, f.ceiling, len(f.inputs), f.flags) for f in block], FRAME)
        path, header, _ = self._file
        self._put(WatchedBlock(path, header, block_of(frames, [f.inputs for f in block]), seconds, self.kept))
