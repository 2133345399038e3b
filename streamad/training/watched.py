"""Watched video: what a running watch keeps of a camera's frames to learn from: the network's inputs, no pictures.

A folder holds one file per hour, process and size of the picture: a line of JSON that says what the inputs are, then
blocks. A block has the times and flags of some consecutive frames, and the inputs of all of them in 16 bits. It is
appended whole or not at all; what a killed process left incomplete, and all that follows it in its file, is skipped.
"""

from __future__ import annotations

import json
import logging
import math
import struct
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from streamad.calibration.false_alarms import FalseAlarm, in_false_alarm
from streamad.files import open_regular

FORMAT, VERSION = "streamad-watched", 1
SUFFIX = ".watched"

FRAME = np.dtype([("seconds", "<f8"), ("ceiling", "<f4"), ("inputs", "<u2"), ("flags", "u1")])
"""A frame: its time, the active threshold (a raw score), its number of inputs, and flags."""
EXAMPLE, ALERT, START = 1, 2, 4
"""Flags: no alert touched the frame, so that it is an example of what is normal; it belongs to an alert; it does not
continue the frames before it."""

LONGEST_GAP_SECONDS = 60.0
"""Frames that are farther apart are of different clips."""

STEP_SECONDS = 1.0
"""Longest time that one frame stands for."""

_BLOCK = struct.Struct("<4sIIII")
_MAGIC = b"SAWB"
_MOST_HEADER = 4096
_MOST_FRAMES = 1 << 16

_log = logging.getLogger(__name__)


def is_example(frames: npt.NDArray[np.void]) -> npt.NDArray[np.bool_]:
    """Return which frames are examples of what is normal, (n,) bool: those that no alert touched.

    This is the one place that decides it.

    Args:
        frames: (n,) `FRAME` records.
    """
    return np.asarray(frames["flags"] & (EXAMPLE | ALERT) == EXAMPLE)


def accept_false_alarms(
    frames: npt.NDArray[np.void],
    is_start: npt.NDArray[np.bool_],
    zero: npt.NDArray[np.float64],
    alarms: Sequence[FalseAlarm],
) -> npt.NDArray[np.uint8]:
    """Return the flags of frames as if their false alarms had not been alerts, (n,).

    The frames of a false alarm no longer belong to an alert. They are examples, with those that were left out beside
    them, unless another alert touched the same stretch.

    Args:
        frames: (n,) `FRAME` records.
        is_start: (n,) which of them begin a clip.
        zero: (n,) Unix time of presentation time zero; NaN if unknown.
        alarms: Alerts that the operator marked as false.
    """
    flags = frames["flags"].copy()
    is_false = (flags & ALERT).astype(bool) & in_false_alarm(frames["seconds"], zero, alarms)
    flags[is_false] &= ~np.uint8(ALERT)
    touched = (flags & EXAMPLE) == 0
    stretch = np.cumsum(np.diff(touched, prepend=False) | is_start)
    has_false = np.bincount(stretch, is_false) > 0
    has_alert = np.bincount(stretch, flags & ALERT) > 0
    flags[touched & (has_false & ~has_alert)[stretch]] |= EXAMPLE
    return flags


def header_of(*, length: int, grid: tuple[int, int], model_sha256: str, zero_unix_seconds: float) -> bytes:
    """Return the first line of a file.

    Args:
        length: Numbers in an input.
        grid: Rows and columns of the locations in a picture.
        model_sha256: Hash of the model whose inputs they are.
        zero_unix_seconds: Unix time of presentation time zero.
    """
    header = {
        "format": FORMAT,
        "version": VERSION,
        "length": length,
        "grid": grid,
        "model_sha256": model_sha256,
        "zero_unix_seconds": zero_unix_seconds,
    }
    return json.dumps(header, separators=(",", ":")).encode() + b"\n"


def block_of(frames: npt.NDArray[np.void], inputs: Sequence[npt.NDArray[np.float16]]) -> bytes:
    """Return a block as bytes.

    Args:
        frames: (n,) `FRAME` records.
        inputs: (k, length) inputs of each of these frames.
    """
    times, values = frames.tobytes(), b"".join(part.tobytes() for part in inputs)
    count = sum(len(part) for part in inputs)
    return _BLOCK.pack(_MAGIC, len(frames), count, zlib.crc32(times), zlib.crc32(values)) + times + values


@dataclass(frozen=True, slots=True)
class _Block:
    path: Path
    offset: int
    inputs: int
    check: int
    zero: float
    frames: npt.NDArray[np.void]


class WatchedVideo:
    """The frames of a folder, in order. What cannot be read is left out, with a warning.

    Args:
        folder: The folder, which may be missing.
        length: Numbers in an input; files of others are ignored.
        grid: Rows and columns of the locations in a picture; files of others are ignored. Default: any.
        false_alarms: Alerts that the operator marked as false; see `accept_false_alarms`.
    """

    def __init__(
        self,
        folder: Path,
        *,
        length: int,
        grid: tuple[int, int] | None = None,
        false_alarms: Sequence[FalseAlarm] = (),
    ) -> None:
        self._length = length
        self._false_alarms = false_alarms
        self._blocks: list[_Block] = []
        self.size_bytes = 0
        """Bytes of all files."""
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            try:
                self.size_bytes += path.stat().st_size
                with open_regular(path) as file:
                    self._blocks += _blocks_of(file, path, length, grid)
            except (OSError, ValueError) as error:
                _log.warning("%s is left out: %s", path, error)

    @cached_property
    def frames(self) -> npt.NDArray[np.void]:
        """(n,) `FRAME` records of all frames."""
        frames = np.concatenate([np.zeros(0, FRAME), *(block.frames for block in self._blocks)])
        if self._false_alarms and len(frames):
            zero = np.repeat([block.zero for block in self._blocks], [len(block.frames) for block in self._blocks])
            frames["flags"] = accept_false_alarms(frames, np.isinf(_steps(frames)), zero, self._false_alarms)
        return frames

    @cached_property
    def _steps(self) -> npt.NDArray[np.float64]:
        return _steps(self.frames)

    @property
    def clips(self) -> npt.NDArray[np.int32]:
        """(n,) number of each frame's clip."""
        return (np.cumsum(np.isinf(self._steps)) - 1).astype(np.int32)

    @property
    def seconds(self) -> npt.NDArray[np.float64]:
        """(n,) time of each frame since its clip's first one."""
        times, starts = self.frames["seconds"], np.isinf(self._steps)
        return np.asarray(times - times[starts][self.clips] if len(times) else times, np.float64)

    @property
    def example_seconds(self) -> float:
        """Length of what is normal."""
        steps = np.where(np.isinf(self._steps), 0.0, np.minimum(self._steps, STEP_SECONDS))
        return float(steps[is_example(self.frames)].sum())

    def read(self) -> Iterator[tuple[slice, npt.NDArray[np.float16]]]:
        """Yield runs of frames in order, each with the (k, length) inputs of all of them.

        Raises:
            OSError: A file cannot be read any more, or is damaged.
        """
        start = 0
        for block in self._blocks:
            with block.path.open("rb") as file:
                file.seek(block.offset)
                data = file.read(2 * self._length * block.inputs)
            if zlib.crc32(data) != block.check:
                raise OSError(f"{block.path} is damaged at byte {block.offset}")
            yield slice(start, start + len(block.frames)), np.frombuffer(data, np.float16).reshape(-1, self._length)
            start += len(block.frames)


def _steps(frames: npt.NDArray[np.void]) -> npt.NDArray[np.float64]:
    """Return the time since the frame before, (n,) seconds; infinite at the start of a clip."""
    steps = np.diff(frames["seconds"], prepend=-np.inf)
    is_start = (frames["flags"] & START).astype(bool) | ~(steps > 0) | (steps > LONGEST_GAP_SECONDS)
    return np.where(is_start, np.inf, steps)


def _blocks_of(file: BinaryIO, path: Path, length: int, grid: tuple[int, int] | None) -> Iterator[_Block]:
    header = json.loads(file.readline(_MOST_HEADER))
    if not isinstance(header, dict) or (header.get("format"), header.get("version")) != (FORMAT, VERSION):
        raise ValueError("another format")
    if header.get("length") != length or (grid is not None and header.get("grid") != list(grid)):
        return
    zero = header.get("zero_unix_seconds")
    zero = float(zero) if isinstance(zero, int | float) else math.nan  # an earlier version stated none
    size = path.stat().st_size
    while len(head := file.read(_BLOCK.size)) == _BLOCK.size:
        magic, count, inputs, check_times, check = _BLOCK.unpack(head)
        times = file.read(count * FRAME.itemsize) if magic == _MAGIC and count <= _MOST_FRAMES else b""
        stop = file.tell() + 2 * length * inputs
        if not times or zlib.crc32(times) != check_times or stop > size:
            _log.warning("%s: damaged before byte %d; the rest is left out", path, file.tell())
            return
        yield _Block(path, file.tell(), inputs, check, zero, np.frombuffer(times, FRAME))
        file.seek(stop)
