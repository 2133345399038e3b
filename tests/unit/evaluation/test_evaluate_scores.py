import dataclasses
import os
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from streamad.calibration import calibrate
from streamad.errors import DatasetError
from streamad.evaluation import evaluate_scores

NAN, INF = np.nan, np.inf


@pytest.fixture(scope="module")
def videos():
    """Three videos on levels of their own, as trained models give them: the third has one class."""
    rng = np.random.default_rng(0)
    scores, labels = [], []
    for level, share in ((0.0, 0.3), (5.0, 0.6), (2.0, 0.0)):
        truth = (rng.random(200) < share).astype(np.uint8)
        scores.append(level + truth + rng.standard_normal(200))
        labels.append(truth)
    return scores, labels


def test_raw_figures_are_scikit_learns(videos):
    scores, labels = videos
    e = evaluate_scores(scores, labels, normalization="raw")
    s, t = np.concatenate(scores), np.concatenate(labels)
    assert e.auc_micro == pytest.approx(roc_auc_score(t, s), abs=1e-9)
    assert e.average_precision == pytest.approx(average_precision_score(t, s), abs=1e-9)
    each = [roc_auc_score(t, s) for s, t in zip(scores[:2], labels[:2], strict=True)]
    assert e.auc_macro == pytest.approx(np.mean(each), abs=1e-9)
    assert e.auc_videos == (pytest.approx(each[0]), pytest.approx(each[1]), None)
    assert e.base_rate == pytest.approx(t.mean())
    assert (e.frames, e.videos, e.unscored_frames, e.single_class_videos) == (600, 3, 0, (2,))
    assert (e.normalization, e.edge, e.single_class) == ("raw", "leave_out", "leave_out")


def test_per_video_flatters(videos):
    scores, labels = videos
    scaled = [(s - s.min()) / (s.max() - s.min()) for s in scores]
    e = evaluate_scores(scores, labels, normalization="per_video")
    expected = roc_auc_score(np.concatenate(labels), np.concatenate(scaled))
    assert e.auc_micro == pytest.approx(expected, abs=1e-9)
    assert e.auc_micro != evaluate_scores(scores, labels, normalization="raw").auc_micro


def test_running_is_causal_within_each_video(videos):
    scores, labels = videos
    causal = []
    for s in scores:
        low, high = np.minimum.accumulate(s), np.maximum.accumulate(s)
        causal.append(np.divide(s - low, high - low, out=np.zeros_like(s), where=high > low))
    expected = roc_auc_score(np.concatenate(labels), np.concatenate(causal))
    assert evaluate_scores(scores, labels, normalization="running").auc_micro == pytest.approx(expected)


def test_calibrated_maps_or_takes_as_it_is(videos):
    scores, labels = videos
    c = calibrate([scores[2]], fps=10, model="m", model_sha256="0" * 64, source="normal")
    mapped = [c.calibrated_array(s) for s in scores]
    a = evaluate_scores(scores, labels, normalization="calibrated", calibration=c)
    assert a == evaluate_scores(mapped, labels, normalization="calibrated")
    # One monotone map for all videos: the ranking is that of the raw scores.
    assert a.auc_micro == evaluate_scores(scores, labels, normalization="raw").auc_micro


def test_single_class_videos_padded(videos):
    scores, labels = videos
    e = evaluate_scores(scores, labels, normalization="per_video", single_class="pad")
    third = (scores[2] - scores[2].min()) / np.ptp(scores[2])
    expected = roc_auc_score(np.append(labels[2], (0, 1)), np.append(third, (0, 1)))
    assert e.auc_videos[2] == pytest.approx(expected, abs=1e-9)
    assert e.auc_macro == pytest.approx(np.mean(e.auc_videos))
    assert e.single_class_videos == (2,)
    plain = evaluate_scores(scores, labels, normalization="per_video")
    assert e.auc_micro == plain.auc_micro


def test_frames_without_a_score_are_left_out_and_counted(videos):
    scores, labels = videos
    windowed = [np.concatenate((np.full(8, NAN), s[8:-7], np.full(7, NAN))) for s in scores]
    windowed[0][50] = NAN
    kept = [~np.isnan(s) for s in windowed]
    e = evaluate_scores(windowed, labels, normalization="raw")
    s = np.concatenate([a[k] for a, k in zip(windowed, kept, strict=True)])
    t = np.concatenate([a[k] for a, k in zip(labels, kept, strict=True)])
    assert e.auc_micro == pytest.approx(roc_auc_score(t, s), abs=1e-9)
    assert (e.frames, e.unscored_frames, e.padded_frames) == (600 - 46, 46, 0)


def test_edge_padding_takes_the_nearest_score():
    scores = [[NAN, NAN, 1.0, NAN, 3.0, NAN]]
    labels = [[0, 0, 0, 1, 1, 1]]
    e = evaluate_scores(scores, labels, normalization="raw", edge="pad")
    assert (e.frames, e.unscored_frames, e.padded_frames) == (5, 1, 3)
    assert e.auc_micro == 1.0
    assert e.edge == "pad"


def test_unscored_videos_are_listed(videos):
    scores, labels = videos
    e = evaluate_scores([*scores, [NAN] * 5], [*labels, [0] * 5], normalization="per_video", edge="pad")
    assert (e.videos, e.unscored_videos, e.unscored_frames) == (3, (3,), 5)


def test_infinite_scores_rank_as_extremes():
    e = evaluate_scores([[1.0, -INF, 2.0, INF]], [[0, 0, 1, 1]], normalization="raw")
    assert e.auc_micro == 1.0
    e = evaluate_scores([[1.0, -INF, 2.0, INF]], [[0, 0, 1, 1]], normalization="per_video")
    assert e.auc_micro == 1.0


def test_constant_scores_know_nothing():
    e = evaluate_scores([[4.0] * 6], [[0, 0, 0, 1, 1, 1]], normalization="per_video")
    assert (e.auc_micro, e.eer, e.average_precision) == (0.5, 0.5, 0.5)


def test_no_video_with_both_classes_has_no_macro():
    e = evaluate_scores([[1.0, 2.0], [3.0, 4.0]], [[0, 0], [1, 1]], normalization="raw")
    assert e.auc_macro is None
    assert e.auc_micro == 1.0


def test_the_record_is_frozen(videos):
    e = evaluate_scores(*videos, normalization="raw")
    with pytest.raises(dataclasses.FrozenInstanceError):
        e.frames = 3


@pytest.mark.parametrize(
    ("scores", "labels", "message"),
    [
        ([], [], "no videos"),
        ([[1.0]], [], "scores of 1 videos, but labels of 0"),
        ([[1.0, 2.0], [1.0]], [[0, 1], [0, 1]], r"video 1 \(b\): 1 scores, but 2 labels"),
        ([[1.0, 2.0], [1.0]], [[0, 1], [2]], r"video 1 \(b\): labels must be 0 .* got "),
        ([[1.0, 2.0], [[1.0]]], [[0, 1], [1]], r"video 1 \(b\): scores and labels must be 1-D"),
        ([[1.0, 2.0], [1.0]], [[0, 0], [0]], "all 3 scored frames of 2 videos are normal"),
        ([[1.0, 2.0], [1.0]], [[1, 1], [1]], "are abnormal"),
        ([[NAN, NAN], [NAN]], [[0, 1], [1]], "no frame has a score"),
        ([[], []], [[], []], "no frame has a score"),
    ],
)
def test_refusals_name_the_video(scores, labels, message):
    with pytest.raises(DatasetError, match=message) as caught:
        evaluate_scores(scores, labels, normalization="raw", names=["a", "b"][: len(scores)])
    assert caught.value.exit_code == 5


def test_unknown_options():
    good = {"scores": [[1.0, 2.0]], "labels": [[0, 1]], "normalization": "raw"}
    for change in ({"normalization": "zscore"}, {"edge": "crop"}, {"single_class": "skip"}):
        with pytest.raises(ValueError, match="unknown"):
            evaluate_scores(**{**good, **change})
    with pytest.raises(DatasetError, match="names"):
        evaluate_scores(**good, names=["a", "b"])


@pytest.mark.data
def test_position_alone_scores_ped2_as_published():
    """A score that is only a frame's place in its clip reaches 0.777 on the frames that windowed models
    score."""
    root = os.environ.get("STREAMAD_DATA")
    if not root:
        pytest.skip("STREAMAD_DATA is not set")
    with np.load(Path(root) / "frame_labels" / "ped2.npz") as file:
        labels = [file[name] for name in sorted(file.files)]
    scores = []
    for truth in labels:
        score = np.full(truth.size, NAN)
        score[8:-7] = np.arange(8, truth.size - 7)
        scores.append(score)
    e = evaluate_scores(scores, labels, normalization="per_video")
    assert e.frames == 1830
    # Four by the labels; clip 3's only normal frames are its last four, which no window scores.
    assert e.single_class_videos == (2, 7, 8, 9, 10)
    assert e.auc_micro == pytest.approx(0.777, abs=0.0006)
