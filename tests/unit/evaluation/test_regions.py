"""RBDC and TBDC against a second derivation, threshold by threshold, and against figures worked out by hand."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy import ndimage

from streamad.errors import DatasetError
from streamad.evaluation.pixels import Box
from streamad.evaluation.regions import (
    AnomalyMapRegions,
    RegionTracker,
    TrueRegion,
    area_up_to_one,
    intersection_over_union,
)


class InFrame(NamedTuple):
    """A true region, or one that a detector marks, in its frame."""

    frame: int
    box: Box
    track: int = 0


def by_definition(
    detections: list[InFrame], truth: list[InFrame], frames: int, alpha: float, beta: float
) -> tuple[float, float, float]:
    """The three rates at one threshold, straight from the definition, on pixel sets instead of boxes."""

    def pixels(box: Box) -> set[tuple[int, int]]:
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    def iou(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> float:
        return len(a & b) / len(a | b)

    up = [(d.frame, pixels(d.box)) for d in detections]
    true = [(t.frame, t.track, pixels(t.box)) for t in truth]
    found = [any(f == frame and iou(p, q) >= beta for f, p in up) for frame, _, q in true]
    false = sum(not any(hit >= beta for frame, _, q in true if f == frame for hit in (iou(p, q),)) for f, p in up)
    names = {track for _, track, _ in true}
    share = [np.mean([hit for hit, (_, track, _) in zip(found, true, strict=True) if track == name]) for name in names]
    return false / frames, float(np.mean(found)), float(np.mean([s >= alpha - 1e-12 for s in share]))


def test_figures_worked_out_by_hand() -> None:
    """One row of two cells, far apart: the thing's place and another. Two tracks of ten regions in twenty frames. The
    first is found in one frame at 3, the second in all at 1; the other place is wrong in ten frames at 2 and in the
    other ten at 1. Points (false a frame, regions, tracks): (0, .05, .5), (.5, .05, .5), (1, .55, 1)."""
    boxes: list[Box] = [(0, 0, 10, 10), (50, 0, 60, 10)]
    counted = AnomalyMapRegions([3.0, 2.0, 1.0])
    for k in range(20):
        thing = 3.0 if k == 0 else 1.0 if k >= 10 else 0.0
        # The cells are neighbors in the grid: where both are up they are one region, so the wrong ones come alone.
        elsewhere = 2.0 if 1 <= k < 10 else 0.0
        counted.add([[thing, elsewhere]], boxes, [TrueRegion(k // 10, boxes[0])])
    curves = counted.curves()
    assert (curves.regions, curves.tracks, curves.frames) == (20, 2, 20)
    np.testing.assert_allclose(curves.false_per_frame, [0, 0, 9 / 20, 9 / 20])
    np.testing.assert_allclose(curves.region_rate, [0, 1 / 20, 1 / 20, 11 / 20])
    np.testing.assert_allclose(curves.track_rate, [0, 0.5, 0.5, 1])
    # It never reaches one false region a frame: the last rate holds on from 9/20.
    assert curves.rbdc == pytest.approx(9 / 20 / 20 + 11 / 20 * 11 / 20)
    assert curves.tbdc == pytest.approx(9 / 20 * 0.5 + 11 / 20)


def test_a_perfect_and_a_blind_detector() -> None:
    boxes: list[Box] = [(0, 0, 4, 4), (4, 0, 8, 4)]
    for heat, expected in (([[1.0, 0.0]], 1.0), ([[np.nan, np.nan]], 0.0)):
        counted = AnomalyMapRegions([1.0])
        for k in range(5):
            counted.add(heat if k < 2 else [[0.0, 0.0]], boxes, [TrueRegion(0, boxes[0])] if k < 2 else [])
        assert (counted.curves().rbdc, counted.curves().tbdc) == (expected, expected)


def test_overlaps_are_counted_in_pixels() -> None:
    assert intersection_over_union((0, 0, 4, 4), (2, 2, 6, 6)) == pytest.approx(4 / 28)
    assert intersection_over_union((0, 0, 4, 4), (4, 0, 8, 4)) == 0


def test_the_area_goes_on_level_to_one_and_stops_there() -> None:
    assert area_up_to_one(np.array([0.0, 0.5]), np.array([0.0, 1.0])) == pytest.approx(0.75)
    assert area_up_to_one(np.array([0.0, 2.0]), np.array([0.0, 1.0])) == pytest.approx(0.25)


def test_regions_of_masks_are_connected_parts_and_their_tracks_follow_them() -> None:
    """Two squares drift for six frames, meet nothing, and a third appears in the second video."""
    video = np.zeros((6, 30, 40), bool)
    for t in range(6):
        video[t, 2:8, 2 + t : 8 + t] = True
        video[t, 20:26, 30 - t : 36 - t] = True
    other = np.zeros((2, 30, 40), bool)
    other[1, 4:6, 4:9] = True
    tracker = RegionTracker(5)
    regions = [
        InFrame(t, region.box, region.track)
        for t, mask in enumerate([*video, *other])
        for region in tracker.regions(mask)
    ]
    assert len(regions) == 13
    assert min(r.track for r in regions) == 5
    boxes = {r.box for r in regions if r.frame == 3}
    assert boxes == {(5, 2, 11, 8), (27, 20, 33, 26)}
    for t in range(6):  # each frame's parts are those of an independent labeling
        count = ndimage.label(video[t], structure=np.ones((3, 3)))[1]
        assert sum(r.frame == t for r in regions) == count
    left = {r.track for r in regions if r.box[0] < 15 and r.frame < 6}
    right = {r.track for r in regions if r.box[0] > 15 and r.frame < 6}
    assert len(left) == len(right) == 1
    (last,) = [r for r in regions if r.frame >= 6]
    assert last.frame == 7
    assert last.track not in left | right
    assert last.box == (4, 4, 9, 6)


def test_a_thing_that_falls_apart_keeps_its_track_once() -> None:
    video = np.zeros((2, 10, 20), bool)
    video[0, 2:6, 2:18] = True
    video[1, 2:6, 2:8] = video[1, 2:6, 10:18] = True
    tracker = RegionTracker()
    (first,) = tracker.regions(video[0])
    parts = tracker.regions(video[1])
    assert len(parts) == 2
    assert sum(p.track == first.track for p in parts) == 1


@pytest.mark.parametrize("seed", range(6))
def test_heat_maps_follow_the_definition_threshold_by_threshold(seed: int) -> None:
    """Each threshold on its own: connected parts by SciPy, their boxes, then the rates of the plain definition."""
    rng = np.random.default_rng(seed)
    frames, rows, cols = 7, 5, 6
    heat = np.round(rng.random((frames, rows, cols)), 1)
    heat[rng.random(heat.shape) < 0.2] = np.nan
    boxes = [(c * 4, r * 3, c * 4 + 4, r * 3 + 3) for r in range(rows) for c in range(cols)]
    truth = [
        InFrame(int(rng.integers(frames)), (x, y, x + 7, y + 5), int(rng.integers(3)))
        for x, y in rng.integers(0, 14, (10, 2)).tolist()
    ]
    levels = [0.95, 0.8, 0.6, 0.5, 0.3]
    # In two parts, as clips are counted side by side; a track belongs to one clip.
    parts_of = [AnomalyMapRegions(levels, alpha=0.4, beta=0.2) for _ in range(2)]
    truth = [r._replace(track=r.track + 10 * (r.frame % 2)) for r in truth]
    for t in range(frames):
        parts_of[t % 2].add(heat[t], boxes, [TrueRegion(r.track, r.box) for r in truth if r.frame == t])
    parts_of[0].merge(parts_of[1])
    curves = parts_of[0].curves()
    expected = []
    for level in levels:
        detections = []
        for t in range(frames):
            with np.errstate(invalid="ignore"):
                parts, count = ndimage.label(heat[t] >= level, structure=np.ones((3, 3)))
            for k in range(1, count + 1):
                r, c = np.nonzero(parts == k)
                box = (int(c.min()) * 4, int(r.min()) * 3, int(c.max()) * 4 + 4, int(r.max()) * 3 + 3)
                detections.append(InFrame(t, box))
        expected.append(by_definition(detections, truth, frames, 0.4, 0.2))
    found = zip(curves.false_per_frame[1:], curves.region_rate[1:], curves.track_rate[1:], strict=True)
    np.testing.assert_allclose(sorted(found), sorted(expected))


def test_what_cannot_be_evaluated_is_refused() -> None:
    counted = AnomalyMapRegions([1.0])
    counted.add([[1.0]], [(0, 0, 2, 2)], [])
    with pytest.raises(DatasetError, match="0 true regions in 1 frames"):
        counted.curves()
    with pytest.raises(DatasetError, match="no thresholds"):
        AnomalyMapRegions([])
