"""Counted samples against scikit-learn over the samples themselves, exact and beyond the limit of memory."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from streamad.errors import DatasetError
from streamad.evaluation import streaming_roc_auc
from streamad.evaluation.metrics import eer
from streamad.evaluation.streaming_roc_auc import StreamingRocAuc


def test_entries_stand_for_as_many_samples_as_they_say() -> None:
    rng = np.random.default_rng(2)
    scores, a, n = rng.integers(0, 9, 40), rng.integers(0, 20, 40), rng.integers(0, 20, 40)
    values = np.concatenate([np.repeat(scores, a), np.repeat(scores, n)])
    labels = np.repeat([1, 0], [a.sum(), n.sum()])
    counts, other = StreamingRocAuc(), StreamingRocAuc()
    counts.add(scores[:15], a[:15], n[:15])
    other.add(scores[15:], a[15:], n[15:])
    counts.merge(other)
    assert counts.auc() == pytest.approx(roc_auc_score(labels, values), abs=1e-12)
    weighted = roc_auc_score(np.repeat([1, 0], 40), np.tile(scores, 2), sample_weight=np.concatenate((a, n)))
    assert counts.auc() == pytest.approx(weighted, abs=1e-12)
    assert counts.eer() == pytest.approx(eer(values, labels), abs=1e-12)


def test_ties_are_joined_without_loss(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(streaming_roc_auc, "LIMIT", 100)
    rng = np.random.default_rng(3)
    scores, labels = rng.integers(0, 30, 5000), rng.integers(0, 2, 5000)
    counts = StreamingRocAuc()
    for part in range(0, 5000, 50):
        counts.add(scores[part : part + 50], labels[part : part + 50], 1 - labels[part : part + 50])
    assert counts.auc() == pytest.approx(roc_auc_score(labels, scores), abs=1e-12)


@pytest.mark.parametrize("spread", ["normal", "abnormal last", "rising", "falling"])
def test_beyond_the_limit_little_is_lost_and_memory_is_bounded(monkeypatch: pytest.MonkeyPatch, spread: str) -> None:
    monkeypatch.setattr(streaming_roc_auc, "LIMIT", 4096)
    rng = np.random.default_rng(4)
    labels = (rng.random(200_000) < 0.2).astype(int)
    scores = rng.standard_normal(200_000) + labels
    scores[rng.random(200_000) < 0.01] = -np.inf
    order = {  # the order in which samples come makes no difference
        "normal": np.arange(len(scores)),
        "abnormal last": np.argsort(labels, kind="stable"),
        "rising": np.argsort(scores),
        "falling": np.argsort(-scores),
    }[spread]
    scores, labels = scores[order], labels[order]
    counts = StreamingRocAuc()
    for part in range(0, 200_000, 500):
        counts.add(scores[part : part + 500], labels[part : part + 500], 1 - labels[part : part + 500])
        assert counts.entries <= 4096
    assert counts.auc() == pytest.approx(roc_auc_score(labels, np.maximum(scores, -99)), abs=1 / 4096)
    assert counts.eer() == pytest.approx(eer(scores, labels), abs=2 / 4096)


def test_what_cannot_be_evaluated_is_refused() -> None:
    with pytest.raises(DatasetError, match="no score was counted"):
        StreamingRocAuc().auc()
    counts = StreamingRocAuc()
    counts.add([1.0], [0], [5])
    with pytest.raises(DatasetError, match="5 normal and 0 abnormal"):
        counts.auc()
