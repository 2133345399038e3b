"""A file of scores for each camera of a running monitor, written line by line."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from streamad.errors import OutputError
from streamad.scoring import FrameScore
from streamad.writing import Appender, BackgroundWriter, Outcome

COLUMNS = ("index", "pts_seconds", "raw_score", "score", "latency_seconds", "skipped_reason")
CAPACITY = 10_000
"""Lines that may wait: half a minute of ten cameras."""


class ScoreLog:
    """Appends one line a frame to FOLDER/CAMERA.csv, on a thread of its own.

    Args:
        folder: made where missing.
        on_outcome: see `BackgroundWriter`.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path, *, on_outcome: Callable[[Outcome, int, str], None] | None = None) -> None:
        self._folder = folder
        self._files: dict[str, Appender] = {}
        self.writer = BackgroundWriter[tuple[str, bytes]](
            "scores", self._append, capacity=CAPACITY, on_outcome=on_outcome
        )
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot write scores to {folder}: {error.strerror or error}",
                hint="give another folder with --scores, or free some disk",
            ) from error

    def add(self, camera: str, score: FrameScore, *, shown: float, latency_seconds: float) -> None:
        """Append a frame's score; a disk that cannot be written is reported by the log and `/status`.

        Args:
            camera: its id.
            score: the frame's score.
            shown: the score as people see it (calibrated).
            latency_seconds: from the frame's decoding to its score.
        """
        line = _line((
            score.index, f"{score.pts_seconds:.6f}", _text(score.score), _text(shown), f"{latency_seconds:.6f}",
            score.cause or "",
        ))  # fmt: skip
        self.writer.put((camera, line))

    def close(self) -> None:
        """Write what waits, where that is possible, and close all files."""
        self.writer.close()
        if self.writer.is_over:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _append(self, lines: Sequence[tuple[str, bytes]]) -> None:
        for camera, line in lines:
            if camera not in self._files:
                self._files[camera] = Appender(self._folder / f"{camera}.csv", header=_line(COLUMNS), fresh=True)
            self._files[camera].append(line)


def _line(values: Sequence[object]) -> bytes:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerow(values)
    return text.getvalue().encode()


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.7g}"
