"""The patch protocol against scikit-learn, on patches cut out one by one."""

from __future__ import annotations

import tracemalloc
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from streamad.errors import DatasetError
from streamad.evaluation import streaming_roc_auc
from streamad.evaluation.anomaly_maps import AnomalyMapFile, AnomalyMapWriter
from streamad.evaluation.datasets import Clip
from streamad.evaluation.localization import Located, localization_of
from streamad.evaluation.scored_clips import ScoredClip
from streamad.frame import LocationBoxes

GRID = LocationBoxes.between((20, 30), range(0, 30, 10), range(0, 40, 10))
BOXES = [GRID.box(row, col) for row in range(2) for col in range(3)]


def written(
    folder: Path, maps: np.ndarray, boxes: LocationBoxes, labels: np.ndarray, scored: np.ndarray | None = None
) -> ScoredClip:
    """A clip with these anomaly maps on disk; frames that are not scored have no score."""
    folder.mkdir()
    with AnomalyMapWriter(folder, len(maps)) as writer:
        for frame, anomaly_map in enumerate(maps):
            writer.add(frame, anomaly_map, boxes)
    scores = np.zeros(len(maps)) if scored is None else np.where(scored, 0.0, np.nan)
    return ScoredClip(folder.name, scores, labels, maps=AnomalyMapFile(folder))


def clip(folder: Path, seed: int, frames: int = 25) -> tuple[Clip, ScoredClip, np.ndarray]:
    rng = np.random.default_rng(seed)
    masks = np.zeros((frames, 20, 30), bool)
    for t in range(8, frames - 3):
        x, y = (int(v) for v in rng.integers(0, 20, 2))
        masks[t, y : y + 9, x : x + 9] = True
    maps = rng.random((frames, 2, 3)).astype(np.float32)
    maps[rng.random(maps.shape) < 0.3] = np.nan
    maps[5] = np.nan  # a scored frame in which nothing moves
    scored = np.ones(frames, bool)
    scored[:2] = False
    labels = masks.any(axis=(1, 2)).astype(np.uint8)
    return (
        Clip(str(seed), Path("x"), "images", frames, labels, 10.0, lambda: iter(masks)),
        written(folder / str(seed), maps, GRID, labels, scored),
        masks,
    )


def maps_of(clip: ScoredClip) -> np.ndarray:
    assert clip.maps is not None
    return clip.maps[:]


def test_the_three_numbers(tmp_path: Path) -> None:
    parts = [clip(tmp_path, seed) for seed in range(3)]
    located = localization_of(
        [c for c, _, _ in parts], [h for _, h, _ in parts], cells_are_patches=True, keep={(1, 9), (2, 0)}
    )
    figures = located.patches
    assert located.metrics is not None
    assert set(located.masks) == {(1, 9), (2, 0)}
    np.testing.assert_array_equal(located.masks[1, 9], parts[1][2][9])
    assert figures is not None
    values, truth, left = [], [], 0
    tops, labels, stretched = [], [], []
    lowest = min(float(np.nanmin(maps_of(h)[np.isfinite(h.scores)])) for _, h, _ in parts)
    for one, heat, masks in parts:
        mine, maps, scored = [], maps_of(heat), np.isfinite(heat.scores)
        for t in np.flatnonzero(scored):
            for k, (x0, y0, x1, y1) in enumerate(BOXES):
                value, share = maps[t].ravel()[k], masks[t, y0:y1, x0:x1].mean()
                if np.isnan(value):
                    continue
                if 0 < share < 0.2:
                    left += 1
                    continue
                values.append(value)
                truth.append(share >= 0.2)
            top = maps[t][~np.isnan(maps[t])]
            mine.append(top.max() if len(top) else lowest)
        assert one.labels is not None
        tops.append(np.array(mine))
        labels.append(one.labels[scored])
        stretched.append((tops[-1] - tops[-1].min()) / (tops[-1].max() - tops[-1].min()))
    joined = np.concatenate(labels)
    assert figures.patch_auc == pytest.approx(roc_auc_score(truth, values), abs=1e-9)
    assert (figures.patches, figures.left_out) == (len(values), left)
    assert figures.abnormal_patches == sum(truth)
    assert figures.frame_auc == pytest.approx(roc_auc_score(joined, np.concatenate(tops)), abs=1e-9)
    assert figures.frame_auc_per_video == pytest.approx(roc_auc_score(joined, np.concatenate(stretched)), abs=1e-6)
    assert figures.frames == len(joined)


def test_without_masks_heat_maps_or_anything_abnormal_there_is_none(tmp_path: Path) -> None:
    one, heat, _ = clip(tmp_path, 1)
    bare = Clip(one.name, one.path, one.kind, one.frames, one.labels, one.fps)
    assert localization_of([bare], [heat], cells_are_patches=True) == Located()
    assert localization_of([one], [replace(heat, maps=None)], cells_are_patches=True) == Located()
    assert localization_of([one], [heat]).patches is None
    normal = Clip("n", one.path, "images", 25, np.zeros(25, np.uint8), 10.0, lambda: iter(np.zeros((25, 20, 30), bool)))
    assert localization_of([normal], [heat], cells_are_patches=True) == Located()


def test_masks_that_are_broken_or_too_few_are_named_and_their_clip_left_out(tmp_path: Path) -> None:
    def broken() -> Iterator[np.ndarray]:
        yield from masks[:10]
        raise DatasetError("the mask 011.bmp does not decode")

    one, heat, masks = clip(tmp_path, 1)
    two, other, _ = clip(tmp_path, 2)
    alone = localization_of([two], [other], cells_are_patches=True)
    bad = Clip("bad", one.path, one.kind, one.frames, one.labels, one.fps, broken)
    few = Clip("few", one.path, one.kind, one.frames, one.labels, one.fps, lambda: iter(masks[:20]))
    located = localization_of([bad, two, few], [heat, other, heat], cells_are_patches=True)
    assert located.problems == ((0, "the mask 011.bmp does not decode"), (2, "x: 25 frames, but 20 pixel masks"))
    assert located.metrics is not None
    assert alone.metrics is not None
    assert located.metrics.clips == 1
    assert located.metrics.pixel_auc == alone.metrics.pixel_auc
    assert located.patches == alone.patches


def test_memory_is_flat_in_the_number_of_frames(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The masks are 115 MB in all; what is held at a time, by the count of numpy itself, is a twentieth of that."""
    monkeypatch.setattr(streaming_roc_auc, "LIMIT", 4096)
    frames, height, width = 1500, 240, 320
    boxes = LocationBoxes.between((height, width), range(0, 160, 40), range(0, 200, 40))
    rng = np.random.default_rng(0)

    def masks() -> Iterator[np.ndarray]:
        for t in range(frames):
            mask = np.zeros((height, width), bool)
            mask[10:50, 20:70] = t % 200 > 150
            yield mask

    labels = (np.arange(frames) % 200 > 150).astype(np.uint8)
    heat = written(tmp_path / "x", rng.random((frames, 3, 4)).astype(np.float32), boxes, labels)
    tracemalloc.start()
    located = localization_of([Clip("x", Path("x"), "images", frames, labels, 10.0, masks)], [heat])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert located.metrics is not None
    assert located.metrics.frames == frames
    assert peak < 115e6 / 20
