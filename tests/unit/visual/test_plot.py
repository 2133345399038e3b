"""Score plots, judged by the pixels of the PNG."""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from streamad.errors import OutputError
from streamad.visual import PlotEvent, plot_scores
from streamad.visual import plot as module

SECONDS = np.arange(0, 40, 0.1)
SCORES = 10 + np.sin(SECONDS)


def _rgb(color: str) -> tuple[int, int, int]:
    return int(color[1:3], 16), int(color[3:5], 16), int(color[5:7], 16)


def _read(path: Path) -> npt.NDArray[np.uint8]:
    picture = cv2.imread(str(path), cv2.IMREAD_COLOR)
    assert picture is not None
    return np.asarray(picture[..., ::-1], dtype=np.uint8)


def _where(picture: npt.NDArray[np.uint8], color: str) -> npt.NDArray[np.bool_]:
    return np.asarray((np.abs(picture.astype(int) - _rgb(color)) <= 2).all(axis=-1))


def test_png_has_the_promised_size_and_the_score_line(tmp_path: Path) -> None:
    plot_scores(tmp_path / "a" / "plot.png", seconds=SECONDS, scores=SCORES, title="gate", score_label="score")
    picture = _read(tmp_path / "a" / "plot.png")
    assert picture.shape == (600, 1600, 3)
    assert _where(picture, module.SCORE_COLOR).any(axis=0).mean() > 0.8
    assert not _where(picture, module.THRESHOLD_COLOR).any()


def test_threshold_and_release_are_dashed_lines_at_their_scores(tmp_path: Path) -> None:
    plot_scores(tmp_path / "p.png", seconds=SECONDS, scores=SCORES, threshold=14.0, release=12.0)
    picture = _read(tmp_path / "p.png")
    rows = {}
    for name, color in (("threshold", module.THRESHOLD_COLOR), ("release", module.RELEASE_COLOR)):
        line = _where(picture, color)
        row = int(line.sum(axis=1).argmax())
        # Dashed: present in many columns, absent in many others.
        assert 0.3 < line[row].mean() < 0.9
        rows[name] = row
    score_rows = np.flatnonzero(_where(picture, module.SCORE_COLOR)[:, 400:1500].any(axis=1))
    assert rows["threshold"] < rows["release"] < score_rows.min(), "higher scores stand higher"
    # 14 and 12 are as far apart as 11 and 9, the extremes of the scores.
    assert rows["release"] - rows["threshold"] == pytest.approx(np.ptp(score_rows), abs=8)


def test_truth_is_shaded_and_alerts_are_bars_under_the_axis(tmp_path: Path) -> None:
    plot_scores(
        tmp_path / "p.png",
        seconds=SECONDS,
        scores=SCORES,
        events=[PlotEvent(20.0, 30.0, "#1 peak 19.2")],
        truth=[(10.0, 20.0, "cyclist")],
    )
    picture = _read(tmp_path / "p.png")
    bar = _where(picture, module.EVENT_COLOR)
    rows, columns = np.nonzero(bar)
    score = _where(picture, module.SCORE_COLOR)
    assert rows.min() > np.flatnonzero(score[:, 300:].any(axis=1)).max()
    left, right = np.flatnonzero(score[:, :].any(axis=0))[[0, -1]]
    expected = left + (right - left) * np.array([20, 30]) / 40
    np.testing.assert_allclose([columns.min(), columns.max()], expected, atol=8)
    # 20 % of the truth's color over white.
    shade = "#{:02X}{:02X}{:02X}".format(*(round(255 - 0.2 * (255 - c)) for c in _rgb(module.TRUTH_COLOR)))
    shaded = np.flatnonzero(_where(picture, shade).sum(axis=0) > 100)
    np.testing.assert_allclose([shaded.min(), shaded.max()], left + (right - left) * np.array([10, 20]) / 40, atol=8)


def test_a_gap_has_no_line_but_hatching(tmp_path: Path) -> None:
    scores = SCORES.copy()
    scores[100:200] = np.nan
    plot_scores(tmp_path / "p.png", seconds=SECONDS, scores=scores)
    picture = _read(tmp_path / "p.png")
    plot_scores(tmp_path / "whole.png", seconds=SECONDS, scores=SCORES)
    line = _where(_read(tmp_path / "whole.png"), module.SCORE_COLOR)
    left, right = np.flatnonzero(line[100:].any(axis=0))[[0, -1]]
    inside = slice(round(left + (right - left) * 0.27), round(left + (right - left) * 0.48))
    assert not _where(picture, module.SCORE_COLOR)[60:480, inside].any()
    grays = picture[100:400, inside].astype(int)
    hatch = (np.ptp(grays, axis=-1) < 6) & (grays.mean(axis=-1) < 190)
    assert 0.02 < hatch.mean() < 0.5
    beside = picture[100:400, round(left + (right - left) * 0.55) : right].astype(int)
    assert ((np.ptp(beside, axis=-1) < 6) & (beside.mean(axis=-1) < 190)).mean() < 0.01


@pytest.mark.parametrize(
    ("seconds", "scores"),
    [
        (SECONDS, np.full_like(SECONDS, np.nan)),
        (np.array([0.0]), np.array([3.0])),
        (SECONDS, np.full_like(SECONDS, 5.0)),
        (SECONDS, np.where(np.arange(SECONDS.size) % 3, np.nan, 4.0)),
    ],
)
def test_extreme_scores_are_plotted(
    tmp_path: Path, seconds: npt.NDArray[np.float64], scores: npt.NDArray[np.float64]
) -> None:
    plot_scores(tmp_path / "p.png", seconds=seconds, scores=scores, title="costs $5 and $x_1$", threshold=None)
    assert _read(tmp_path / "p.png").shape == (600, 1600, 3)


def test_overlapping_alerts_stand_in_lanes_of_their_own(tmp_path: Path) -> None:
    events = [PlotEvent(5.0, 25.0, "a"), PlotEvent(10.0, 30.0, "b"), PlotEvent(15.0, 20.0, "c")]
    plot_scores(tmp_path / "p.png", seconds=SECONDS, scores=SCORES, events=events)
    bar = _where(_read(tmp_path / "p.png"), module.EVENT_COLOR)
    rows = bar.any(axis=1).astype(int)
    assert (np.diff(rows) == 1).sum() == 3


def test_pyplot_is_not_touched() -> None:
    assert "matplotlib.pyplot" not in sys.modules or "plt" not in vars(module)


def test_lengths_that_differ_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"got shapes \(400,\) and \(399,\)"):
        plot_scores(tmp_path / "p.png", seconds=SECONDS, scores=SCORES[1:])
    with pytest.raises(ValueError, match="not empty"):
        plot_scores(tmp_path / "p.png", seconds=SECONDS[:0], scores=SCORES[:0])


def test_a_place_that_cannot_be_written_to_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot write"):
        plot_scores(tmp_path / "file" / "p.png", seconds=SECONDS, scores=SCORES)
