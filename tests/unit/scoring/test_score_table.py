"""The score table: what is written is read back to the last bit."""

from __future__ import annotations

import csv
import math
from pathlib import Path

import numpy as np

from streamad.evaluation.score_files import read_scores
from streamad.frame import LocationBoxes
from streamad.scoring import FrameScore
from streamad.scoring.score_table import COLUMNS, ScoreRow, score_table


def test_scores_are_read_as_they_were_written(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=50) * 10.0 ** rng.integers(-8, 8, size=50)
    values[::7] = math.nan
    rows = [ScoreRow("a,b", index, value, 2 * value, index / 25) for index, value in enumerate(values)]
    path = tmp_path / "scores.csv"
    path.write_text(score_table(rows))
    scores, labels = read_scores(path)
    assert labels is None
    assert list(scores) == ["a,b"]
    np.testing.assert_array_equal(scores["a,b"], values)
    shown, _ = read_scores(path, columns=("score",))
    np.testing.assert_array_equal(shown["a,b"], 2 * values)


def test_labels_are_read_where_there_are_any(tmp_path: Path) -> None:
    path = tmp_path / "scores.csv"
    path.write_text(score_table(ScoreRow("a", index, 0.5, 0.5, label=index % 2) for index in range(4)))
    labels = read_scores(path)[1]
    assert labels is not None
    assert labels["a"].tolist() == [0, 1, 0, 1]


def test_a_row_of_a_scored_frame() -> None:
    boxes = LocationBoxes.between((20, 20), range(0, 30, 10), range(0, 30, 10))
    score = FrameScore(
        "gate", 7, 0.28, 1.5, np.array([[0, 1], [3, 2]], np.float32), boxes=boxes, skipped_reason=None, is_alert=True
    )
    (row,) = csv.DictReader(score_table([ScoreRow.of("gate", score, shown=4.25, latency_seconds=0.01)]).splitlines())
    assert tuple(row) == COLUMNS
    assert {name: value for name, value in row.items() if value} == {
        "index": "7", "pts_seconds": "0.280000", "raw_score": "1.5", "score": "4.25", "alert": "1", "peak_row": "1",
        "peak_col": "0", "latency_seconds": "0.010000", "clip": "gate",
    }  # fmt: skip


def test_every_column_is_documented() -> None:
    page = (Path(__file__).parents[3] / "docs" / "reference" / "cli.md").read_text()
    table = page[page.index("### Score tables") :].split("\n## ")[0]
    assert [name for name in COLUMNS if f"`{name}`" not in table] == []
