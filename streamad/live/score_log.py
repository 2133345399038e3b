"""The score table of each camera of a running monitor, written line by line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from streamad.errors import OutputError
from streamad.protocols import Closeable
from streamad.scoring import FrameScore
from streamad.scoring.score_table import ScoreRow, table_header, table_line
from streamad.writing import Appender, BackgroundWriter, Outcome

CAPACITY = 10_000
"""Maximum number of waiting lines: half a minute of ten cameras."""


class ScoreLog(Closeable):
    """Appends one line per frame to FOLDER/CAMERA.csv, in a thread of its own.

    Args:
        folder: Created if missing.
        on_outcome: See `BackgroundWriter`.

    Raises:
        OutputError: The folder cannot be written to.
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
        """Append a frame's score. The log and `/status` report a disk that cannot be written to.

        Args:
            camera: The camera's id.
            score: The frame's score.
            shown: The score on the display scale (calibrated).
            latency_seconds: From the frame's decoding to its score.
        """
        row = ScoreRow.of(camera, score, shown=shown, latency_seconds=latency_seconds)
        self.writer.put((camera, table_line(row).encode()))

    def close(self) -> None:
        """Write the waiting lines if possible, and close all files."""
        self.writer.close()
        if self.writer.is_over:
            for file in self._files.values():
                file.close()
            self._files.clear()

    def _append(self, lines: Sequence[tuple[str, bytes]]) -> None:
        for camera, line in lines:
            if camera not in self._files:
                self._files[camera] = Appender(
                    self._folder / f"{camera}.csv", header=table_header().encode(), fresh=True
                )
            self._files[camera].append(line)
