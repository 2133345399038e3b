"""A file of scores for each camera of a running monitor, written line by line."""

from __future__ import annotations

import csv
import math
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from streamad.errors import OutputError
from streamad.scoring import FrameScore

COLUMNS = ("index", "pts_seconds", "raw_score", "score", "latency_seconds", "withheld")


class ScoreLog:
    """Appends one line a frame to FOLDER/CAMERA.csv.

    Args:
        folder: made where missing.

    Raises:
        OutputError: the folder cannot be written to.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: dict[str, tuple[TextIO, Any]] = {}
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise self._failure(error) from error

    def add(self, camera: str, score: FrameScore, *, shown: float, latency_seconds: float) -> None:
        """Append a frame's score.

        Args:
            camera: its id.
            score: the frame's score.
            shown: the score as people see it (calibrated).
            latency_seconds: from the frame's decoding to its score.

        Raises:
            OutputError: the file cannot be written.
        """
        try:
            if camera not in self._files:
                file = (self._folder / f"{camera}.csv").open("w", newline="", encoding="utf-8", buffering=1)
                self._files[camera] = file, csv.writer(file, lineterminator="\n")
                self._files[camera][1].writerow(COLUMNS)
            self._files[camera][1].writerow((
                score.index, f"{score.pts_seconds:.6f}", _text(score.score), _text(shown), f"{latency_seconds:.6f}",
                score.withheld or "",
            ))  # fmt: skip
        except OSError as error:
            raise self._failure(error) from error

    def close(self) -> None:
        """Close all files."""
        for file, _ in self._files.values():
            file.close()
        self._files.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _failure(self, error: OSError) -> OutputError:
        return OutputError(
            f"cannot write scores to {self._folder}: {error.strerror or error}",
            hint="give another folder with --scores, or free some disk",
        )


def _text(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.7g}"
