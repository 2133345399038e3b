"""Scores and labels of other programs: every form, against scikit-learn, and what is refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from streamad.errors import DatasetError
from streamad.evaluation import evaluate_scores
from streamad.evaluation.score_files import read_labels, read_scores
from streamad.evaluation.scored_clips import ScoredClip
from streamad.evaluation.scores import inversion_note, protocols_of

RNG = np.random.default_rng(7)
SCORES = {f"{k:02d}": np.round(RNG.normal(size=n), 2) for k, n in ((1, 30), (2, 45), (10, 20))}
LABELS = {name: (RNG.random(len(values)) < 0.4).astype(np.uint8) for name, values in SCORES.items()}


def write_csv(path: Path, *, labels: bool = True, clip: str = "clip") -> Path:
    lines = [f"{clip},frame,raw_score" + (",label" if labels else "")]
    for name, values in SCORES.items():
        for k, value in enumerate(values):
            lines.append(f"{name},{k},{value}" + (f",{LABELS[name][k]}" if labels else ""))
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.mark.parametrize("form", ["npz", "joined", "folder", "csv", "other names"])
def test_every_form_gives_the_figures_of_scikit_learn(tmp_path: Path, form: str) -> None:
    np.savez(tmp_path / "scores.npz", **SCORES)
    scores, none = read_scores(tmp_path / "scores.npz")
    assert none is None
    if form == "npz":
        np.savez(place := tmp_path / "labels.npz", **LABELS)
    elif form == "other names":
        np.savez(place := tmp_path / "labels.npz", **{f"Test{int(k):03d}": v for k, v in LABELS.items()})
    elif form == "joined":
        np.save(place := tmp_path / "labels.npy", np.concatenate(list(LABELS.values()))[None])
    elif form == "folder":
        (place := tmp_path / "labels").mkdir()
        for name, values in LABELS.items():
            np.save(place / f"{name}.npy", values)
    else:
        place = write_csv(tmp_path / "labels.csv")
    labels = read_labels(place, scores)
    result = evaluate_scores(list(scores.values()), list(labels.values()), normalization="raw")
    values, truth = np.concatenate(list(SCORES.values())), np.concatenate(list(LABELS.values()))
    assert result.auc_micro == pytest.approx(roc_auc_score(truth, values), abs=1e-9)
    assert result.average_precision == pytest.approx(average_precision_score(truth, values), abs=1e-9)


@pytest.mark.parametrize("clip", ["clip", "video"])
def test_a_table_has_scores_labels_and_holes(tmp_path: Path, clip: str) -> None:
    path = write_csv(tmp_path / "scores.csv", clip=clip)
    path.write_text(path.read_text().replace(f"01,3,{SCORES['01'][3]},", "01,3,,"))
    scores, labels = read_scores(path)
    assert labels is not None
    assert np.flatnonzero(np.isnan(scores["01"])).tolist() == [3]
    for name in SCORES:
        np.testing.assert_array_equal(labels[name], LABELS[name])
        np.testing.assert_array_equal(np.delete(scores[name], 3), np.delete(SCORES[name], 3))


def test_frames_without_a_line_have_no_score(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("frame,score\n0,0.5\n3,0.7\n")
    scores, labels = read_scores(tmp_path / "s.csv")
    assert labels is None
    np.testing.assert_array_equal(scores["s"], [0.5, np.nan, np.nan, 0.7])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column raw_score or score"),
        ("clip,frame\n", "no column raw_score or score"),
        ("score\n", "no lines"),
        ("frame,score\n0,1\n0,2\n", "line 3: frame 0 is there twice"),
        ("frame,score\n-1,1\n", "line 2: frame -1 is negative"),
        ("frame,score\n0,high\n", "line 2: could not convert"),
        ("frame,score,label\n0,1,0\n2,1,1\n", "1 of 3 frames have no line"),
        ("frame,score,label\n0,1,2\n", "must be 0"),
    ],
)
def test_tables_that_are_wrong(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "s.csv").write_text(text)
    with pytest.raises(DatasetError, match=message):
        read_scores(tmp_path / "s.csv")


def test_files_that_do_not_fit(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", **SCORES)
    scores, _ = read_scores(tmp_path / "scores.npz")
    with pytest.raises(DatasetError, match="No such file"):
        read_scores(tmp_path / "absent.npz")
    np.savez(tmp_path / "two.npz", a=np.zeros(3), b=np.zeros(3))
    with pytest.raises(DatasetError, match="no labels for clip '01'"):
        read_labels(tmp_path / "two.npz", scores)
    np.savez(tmp_path / "short.npz", **{k: v[:-1] for k, v in LABELS.items()})
    with pytest.raises(DatasetError, match="clip '01': 30 scores, but 29 labels"):
        read_labels(tmp_path / "short.npz", scores)
    np.save(tmp_path / "joined.npy", np.zeros(7))
    with pytest.raises(DatasetError, match="7 labels for 95 frames"):
        read_labels(tmp_path / "joined.npy", scores)
    np.savez(tmp_path / "square.npz", a=np.zeros((3, 4)))
    with pytest.raises(DatasetError, match="must be a 1-D array"):
        read_scores(tmp_path / "square.npz")


def joined_case(folder: Path, stored: list[str], joined: list[str]) -> tuple[dict[str, np.ndarray], Path]:
    """Scores stored in one order, labels joined in another; the scores are the labels."""
    rng = np.random.default_rng(3)
    truth = {name: (rng.random(20 + 7 * k) < 0.4).astype(np.uint8) for k, name in enumerate(sorted(joined))}
    np.savez(folder / "scores.npz", **{name: truth[name].astype(float) for name in stored})
    np.save(folder / "labels.npy", np.concatenate([truth[name] for name in joined]))
    return read_scores(folder / "scores.npz")[0], folder / "labels.npy"


@pytest.mark.parametrize(
    ("stored", "joined"),
    [
        (["1", "10", "2"], ["1", "2", "10"]),
        (["10", "2", "1"], ["1", "2", "10"]),
        (["clip_1_a", "clip_10_a", "clip_2_a"], ["clip_1_a", "clip_2_a", "clip_10_a"]),
        (["Test010", "test002"], ["test002", "Test010"]),
        (["1.avi", "10.avi", "2.avi"], ["1.avi", "2.avi", "10.avi"]),
        (["02_001", "01_0014", "01_0003"], ["01_0003", "01_0014", "02_001"]),
        (["gate", "hall", "yard"], ["gate", "hall", "yard"]),
    ],
)
def test_joined_labels_belong_to_clips_in_natural_order(tmp_path: Path, stored: list[str], joined: list[str]) -> None:
    scores, path = joined_case(tmp_path, stored, joined)
    notes: list[str] = []
    labels = read_labels(path, scores, note=notes.append)
    assert evaluate_scores(list(scores.values()), list(labels.values()), normalization="raw").auc_micro == 1.0
    assert len(notes) == 1
    assert f"in the order {', '.join(joined)}" in notes[0]
    assert (f"their file has them as {', '.join(stored)}" in notes[0]) == (stored != joined)


@pytest.mark.parametrize("stored", [["yard", "gate", "hall"], ["north1", "gate2"], ["01", "1"], ["2b", "2a"]])
def test_an_order_that_the_names_do_not_tell_is_refused(tmp_path: Path, stored: list[str]) -> None:
    scores, path = joined_case(tmp_path, stored, sorted(stored))
    with pytest.raises(DatasetError, match=f"ambiguous: {', '.join(stored)} in their file") as caught:
        read_labels(path, scores)
    assert "by clip" in str(caught.value.hint)


def test_labels_of_clips_without_scores_are_reported(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", **{k: v for k, v in SCORES.items() if k != "02"})
    np.savez(tmp_path / "labels.npz", **LABELS)
    notes: list[str] = []
    labels = read_labels(tmp_path / "labels.npz", read_scores(tmp_path / "scores.npz")[0], note=notes.append)
    assert list(labels) == ["01", "10"]
    assert "3 clips, of which 1 have no scores (02)" in notes[0]


def test_one_array_of_labels_is_not_taken_for_two_clips(tmp_path: Path) -> None:
    np.savez(tmp_path / "scores.npz", **{"1": np.zeros(5), "01": np.zeros(5)})
    np.savez(tmp_path / "labels.npz", **{"Test1": np.zeros(5), "Test2": np.zeros(5)})
    with pytest.raises(DatasetError, match="'Test1' match the clips '1' and '01'"):
        read_labels(tmp_path / "labels.npz", read_scores(tmp_path / "scores.npz")[0])


def test_a_frame_number_asks_for_no_memory(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_text("frame,score\n0,1\n999999999999,2\n")
    with pytest.raises(DatasetError, match="line 3: frame 999999999999 is over 20000000"):
        read_scores(tmp_path / "s.csv")


@pytest.mark.parametrize(("sign", "expected"), [(1, 0), (-5, 1)])
def test_scores_of_normality_are_noticed(sign: float, expected: int) -> None:
    clips = [
        ScoredClip(name, sign * truth.astype(float) + np.linspace(0, 0.1, truth.size), truth)
        for name, truth in LABELS.items()
    ]
    notes = inversion_note(protocols_of(clips, protocols=["raw", "per_video"]))
    assert len(notes) == expected
    if notes:
        assert "Higher must mean more anomalous: are the scores inverted?" in notes[0]
