"""The score log of a running monitor."""

from __future__ import annotations

import csv
import math
import time
from pathlib import Path

import pytest

from streamad.errors import OutputError
from streamad.live.score_log import ScoreLog
from streamad.scoring import FrameScore
from streamad.scoring.score_table import COLUMNS


def test_every_frame_is_a_line_as_soon_as_it_is_scored(tmp_path: Path) -> None:
    with ScoreLog(tmp_path / "scores") as log:
        log.add("gate", FrameScore("gate", 3, 0.12, 0.5), shown=1.25, latency_seconds=0.01)
        skipped = FrameScore("gate", 4, 0.16, math.nan, skipped_reason="warming_up")
        log.add("gate", skipped, shown=math.nan, latency_seconds=0.02)
        log.add("yard", FrameScore("yard", 0, 0.0, -0.5), shown=0.0, latency_seconds=0.03)
        assert log.writer.flush(30)
        with (tmp_path / "scores" / "gate.csv").open() as file:  # still being written
            rows = list(csv.reader(file))
    assert rows == [
        list(COLUMNS),
        ["3", "0.120000", "0.5", "1.25", "0", "", "", "", "0.010000", "", "", "gate"],
        ["4", "0.160000", "", "", "0", "warming_up", "", "", "0.020000", "", "", "gate"],
    ]
    assert (tmp_path / "scores" / "yard.csv").read_text().splitlines()[1].startswith("0,0.000000,-0.5")


def test_a_log_that_is_deleted_or_spoiled_goes_on_and_an_older_one_is_replaced(tmp_path: Path) -> None:
    path, outcomes = tmp_path / "gate.csv", list[tuple[str, int, str]]()
    path.write_text("of an earlier run")
    with ScoreLog(tmp_path, on_outcome=lambda *outcome: outcomes.append(outcome)) as log:
        log.writer._retry_seconds = 0.02
        for index in range(4):
            log.add("gate", FrameScore("gate", index, index / 25, 0.5), shown=1.0, latency_seconds=0.01)
            while log.writer.waiting():
                if log.writer.error is not None and path.is_dir():
                    path.rmdir()
                time.sleep(0.01)
            if index == 1:
                path.unlink()
            if index == 2:
                path.unlink()
                path.mkdir()
        assert log.writer.error is None
    assert path.read_text().splitlines() == [",".join(COLUMNS), "3,0.120000,0.5,1.0,0,,,,0.010000,,,gate"]
    assert ("failed", 1, "EISDIR") in outcomes


def test_a_file_in_place_of_the_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "scores").write_text("")
    with pytest.raises(OutputError, match="scores"):
        ScoreLog(tmp_path / "scores")
