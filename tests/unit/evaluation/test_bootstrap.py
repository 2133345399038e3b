"""Intervals over test clips, against draws made by hand with scikit-learn and against SciPy's bootstrap."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_support import CliServer
from scipy.optimize import brentq
from scipy.stats import bootstrap
from sklearn.metrics import roc_auc_score, roc_curve

from streamad.errors import DatasetError
from streamad.evaluation.bootstrap import MIN_CLIPS, clip_intervals, intervals_of
from streamad.evaluation.result import EvaluationRecord

Clips = list[tuple[Any, Any]]


def made(seed: int, clips: int = 9, quality: float = 1.0) -> Clips:
    """Clips of unequal length and difficulty, with ties; the second is all normal."""
    rng = np.random.default_rng(seed)
    found = []
    for k in range(clips):
        labels = (np.arange(n := 40 + 7 * k) > n * (0.4 + 0.05 * k % 0.5)).astype(np.uint8)
        labels *= k != 1
        found.append((np.round(rng.normal(size=n) + quality * labels * (k % 3) + 0.3 * k, 1), labels))
    return found


def aucs(clips: Clips) -> list[float | None]:
    return [float(roc_auc_score(t, s)) if t.min() != t.max() else None for s, t in clips]


def by_hand(clips: Clips, own: list[float | None], drawn: list[int]) -> dict[str, float]:
    scores = np.concatenate([clips[k][0] for k in drawn])
    truth = np.concatenate([clips[k][1] for k in drawn])
    fpr, tpr, _ = roc_curve(truth, scores, drop_intermediate=False)
    macro = [auc for k in drawn if (auc := own[k]) is not None]
    return {
        "auc_micro": float(roc_auc_score(truth, scores)),
        "auc_macro": float(np.mean(macro)),
        "eer": float(brentq(lambda x: 1.0 - x - np.interp(x, fpr, tpr), 0.0, 1.0)),
    }


def test_the_draws_are_those_of_whole_clips_and_the_same_for_all_runs() -> None:
    one, two = made(1), made(2, quality=1.4)
    found = {i.figure: i for i in clip_intervals("raw", [(one, aucs(one)), (two, aucs(two))], draws=40, seed=5)}
    assert list(found) == ["auc_micro", "auc_macro", "eer"]
    counts = np.random.default_rng(5).multinomial(9, np.full(9, 1 / 9), size=40)
    draws = [[k for k, times in enumerate(row) for _ in range(times)] for row in counts]
    hand = [[by_hand(clips, aucs(clips), drawn) for drawn in draws] for clips in (one, two)]
    for figure, interval in found.items():
        whole = [by_hand(clips, aucs(clips), list(range(9)))[figure] for clips in (one, two)]
        tables = [np.array([draw[figure] for draw in run]) for run in hand]
        for run, value, table in zip(interval.runs, whole, tables, strict=True):
            np.testing.assert_allclose((run.low, run.high), np.quantile(table, [0.025, 0.975]), atol=1e-9)
            assert run.value == pytest.approx(value, abs=1e-9)
        (difference,) = interval.differences
        expected = np.quantile(tables[1] - tables[0], [0.025, 0.975])
        np.testing.assert_allclose((difference.low, difference.high), expected, atol=1e-9)
        assert difference.value == pytest.approx(whole[1] - whole[0], abs=1e-9)


def test_the_mean_over_clips_has_scipys_interval() -> None:
    clips = [c for c in made(3, clips=12) if c[1].any()]
    values = np.array(aucs(clips), float)
    theirs = bootstrap((values,), np.mean, n_resamples=5_000, method="percentile", rng=np.random.default_rng(1))
    ours = next(i for i in clip_intervals("raw", [(clips, aucs(clips))], draws=5_000) if i.figure == "auc_macro")
    interval = theirs.confidence_interval
    assert ours.runs[0].value == pytest.approx(values.mean())
    np.testing.assert_allclose((ours.runs[0].low, ours.runs[0].high), (interval.low, interval.high), atol=8e-3)


def test_a_run_beside_itself_differs_by_nothing() -> None:
    clips = made(4)
    for interval in clip_intervals("raw", [(clips, aucs(clips))] * 2, draws=50):
        assert (interval.differences[0].low, interval.differences[0].high) == (0, 0)
        assert interval.runs[0].low < interval.runs[0].value < interval.runs[0].high


def test_a_figure_that_many_draws_lack_is_left_out() -> None:
    """One clip of five holds all that is abnormal: every third draw is without it."""
    clips = [(s, t * (k == 2)) for k, (s, t) in enumerate(made(5, clips=MIN_CLIPS))]
    assert clip_intervals("raw", [(clips, aucs(clips))], draws=200) == []


def test_what_says_nothing_of_other_clips_is_refused() -> None:
    clips = made(6)
    with pytest.raises(ValueError, match="4 clips and 10 draws"):
        clip_intervals("raw", [(clips[:4], aucs(clips[:4]))], draws=10)
    with pytest.raises(ValueError, match="9, 8 clips"):
        clip_intervals("raw", [(clips, aucs(clips)), (clips[:8], aucs(clips[:8]))], draws=10)


# ── streamad compare ───────────────────────────────────────────────────────────────────────────────────────────────


def write(path: Path, clips: Clips) -> Path:
    lines = ["clip,frame,score,label"]
    for k, (scores, labels) in enumerate(clips):
        for frame, (score, label) in enumerate(zip(scores, labels, strict=True)):
            lines.append(f"{k:02d},{frame},{'' if frame < 3 else score},{label}")
    path.write_text("\n".join(lines) + "\n")
    return path


def evaluated(quick: CliServer, folder: Path, name: str, clips: Clips) -> Path:
    path = write(folder / "scores.csv", clips)
    ran = quick("evaluate-scores", path, "--name", name, "--out", folder / name, "--json", cwd=folder)
    assert ran.code == 0, ran.err
    return folder / name


def test_runs_of_other_programs_are_compared_with_intervals(quick: CliServer, tmp_path: Path) -> None:
    one, two = made(7), made(8, quality=2.0)
    folders = [evaluated(quick, tmp_path, name, clips) for name, clips in (("one", one), ("two", two))]
    ran = quick("compare", *folders, "--draws", "300", "--json", cwd=tmp_path)
    document = json.loads(ran.out)
    raw = {i["figure"]: i for i in document["intervals"] if i["normalization"] == "raw"}
    # The first three frames have no score.
    kept = [[(s[3:], t[3:]) for s, t in clips] for clips in (one, two)]
    expected = clip_intervals("raw", [(clips, aucs(clips)) for clips in kept], draws=300)
    for interval in expected:
        assert raw[interval.figure]["differences"][0]["low"] == pytest.approx(interval.differences[0].low, abs=1e-9)
        assert raw[interval.figure]["runs"][1]["high"] == pytest.approx(interval.runs[1].high, abs=1e-9)
    assert {i["normalization"] for i in document["intervals"]} == {"raw", "per_video", "running"}
    page = quick("compare", *folders, "--out", tmp_path / "page.md", cwd=tmp_path)
    assert "2000 bootstrap draws of 9 clips with replacement" in page.out
    assert "| two − one |" in page.out
    assert (tmp_path / "page.md").read_text() == page.out
    assert "intervals" not in quick("compare", *folders, "--draws", "0", cwd=tmp_path).out


def test_what_has_no_intervals_is_compared_without_and_the_reason_said(quick: CliServer, tmp_path: Path) -> None:
    clips = made(9)
    folders = {
        "whole": evaluated(quick, tmp_path, "whole", clips),
        "few": evaluated(quick, tmp_path, "few", clips[:3]),
        "fewer": evaluated(quick, tmp_path, "fewer", clips[:8]),
        "labels": evaluated(quick, tmp_path, "labels", [(s, t[::-1]) for s, t in clips]),
    }
    for name in ("other", "gone"):
        folders[name] = shutil.copytree(folders["whole"], tmp_path / name)
    write(folders["other"] / "scores.csv", made(10))
    (folders["gone"] / "scores.csv").unlink()
    for name, message in (
        ("few", "3 test clips are too few for an interval; at least 5 are required"),
        ("fewer", "whole and fewer have different test clips"),
        ("labels", "have different labels"),
        ("other", "they come from different evaluations"),
        ("gone", "cannot read"),
    ):
        ran = quick("compare", folders[name], folders["whole"], cwd=tmp_path)
        assert ran.code == 0
        assert "| raw: AUC micro |" in ran.out
        assert "bootstrap draws" not in ran.out
        assert "note: no intervals: " in ran.err
        assert message in ran.err, name
        results = [EvaluationRecord.load(folders[n]) for n in (name, "whole")]
        with pytest.raises(DatasetError):
            intervals_of([folders[name], folders["whole"]], results, draws=5)
