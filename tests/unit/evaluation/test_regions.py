"""RBDC and TBDC against a second derivation, threshold by threshold, and against figures worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from streamad.errors import DatasetError
from streamad.evaluation.regions import (
    Detection,
    HeatmapRegions,
    TrueRegion,
    area_up_to_one,
    intersection_over_union,
    region_curves,
    true_regions,
)


def by_definition(
    detections: list[Detection], truth: list[TrueRegion], frames: int, alpha: float, beta: float
) -> tuple[list[float], list[float], list[float]]:
    """The three rates at every threshold, straight from the definition, on pixel sets instead of boxes."""

    def pixels(box: tuple[int, int, int, int]) -> set[tuple[int, int]]:
        return {(x, y) for x in range(box[0], box[2]) for y in range(box[1], box[3])}

    def iou(a: set[tuple[int, int]], b: set[tuple[int, int]]) -> float:
        return len(a & b) / len(a | b)

    wrong, regions, tracks = [0.0], [0.0], [0.0]
    for threshold in sorted({d.score for d in detections}, reverse=True):
        up = [(d.frame, pixels(d.box)) for d in detections if d.score >= threshold]
        true = [(t.frame, t.track, pixels(t.box)) for t in truth]
        found = [any(f == frame and iou(p, q) >= beta for f, p in up) for frame, _, q in true]
        false = sum(not any(f == frame and iou(p, q) >= beta for frame, _, q in true) for f, p in up)
        names = {track for _, track, _ in true}
        share = [
            np.mean([hit for hit, (_, track, _) in zip(found, true, strict=True) if track == name]) for name in names
        ]
        wrong.append(false / frames)
        regions.append(float(np.mean(found)))
        tracks.append(float(np.mean([s >= alpha - 1e-12 for s in share])))
    return wrong, regions, tracks


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(("alpha", "beta"), [(0.1, 0.1), (0.5, 0.3), (1.0, 0.05)])
def test_the_curves_are_those_of_the_definition(seed: int, alpha: float, beta: float) -> None:
    rng = np.random.default_rng(seed)

    def box() -> tuple[int, int, int, int]:
        x, y = (int(v) for v in rng.integers(0, 12, 2))
        w, h = (int(v) for v in rng.integers(1, 8, 2))
        return x, y, x + w, y + h

    frames = 9
    truth = [TrueRegion(int(rng.integers(frames)), int(rng.integers(4)), box()) for _ in range(12)]
    detections = [Detection(int(rng.integers(frames)), box(), float(rng.integers(6))) for _ in range(30)]
    ours = region_curves(detections, truth, frames=frames, alpha=alpha, beta=beta)
    wrong, regions, tracks = by_definition(detections, truth, frames, alpha, beta)
    np.testing.assert_allclose(ours.false_per_frame, wrong)
    np.testing.assert_allclose(ours.region_rate, regions)
    np.testing.assert_allclose(ours.track_rate, tracks)


def test_figures_worked_out_by_hand() -> None:
    """Two tracks of ten regions in twenty frames. One region of the first is found at 3, all of the second at 1; the
    detector is wrong ten times at 2 and thirty times more at 1. Points: (0, .05), (.5, .05), (2, .55) of regions, and
    (0, .5), (.5, .5), (2, 1) of tracks; at one false region a frame the lines stand at .05 + .5/3 and .5 + .5/3."""
    thing, elsewhere = (0, 0, 10, 10), (50, 50, 60, 60)
    truth = [TrueRegion(k, k // 10, thing) for k in range(20)]
    detections = [Detection(0, thing, 3.0)]
    detections += [Detection(k % 20, elsewhere, 2.0) for k in range(10)]
    detections += [Detection(k % 20, elsewhere, 1.0) for k in range(30)]
    detections += [Detection(k, thing, 1.0) for k in range(10, 20)]
    curves = region_curves(detections, truth, frames=20)
    at_one = 0.05 + 0.5 / 3
    assert curves.rbdc == pytest.approx(0.5 * 0.05 + 0.5 * (0.05 + at_one) / 2)
    assert curves.tbdc == pytest.approx(0.5 * 0.5 + 0.5 * (0.5 + 0.5 + 0.5 / 3) / 2)


def test_a_perfect_and_a_blind_detector() -> None:
    truth = [TrueRegion(0, 0, (0, 0, 4, 4)), TrueRegion(1, 0, (0, 0, 4, 4))]
    perfect = [Detection(r.frame, r.box, 1.0) for r in truth]
    assert region_curves(perfect, truth, frames=5).rbdc == 1.0
    assert region_curves(perfect, truth, frames=5).tbdc == 1.0
    blind = region_curves([], truth, frames=5)
    assert (blind.rbdc, blind.tbdc) == (0.0, 0.0)


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
    regions = true_regions([video, other])
    assert len(regions) == 13
    boxes = {r.box for r in regions if r.frame == 3}
    assert boxes == {(5, 2, 11, 8), (27, 20, 33, 26)}
    for t in range(6):  # each frame's parts are those of an independent labelling
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
    first, *parts = true_regions([video])
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
        TrueRegion(int(rng.integers(frames)), int(rng.integers(3)), (x, y, x + 7, y + 5))
        for x, y in rng.integers(0, 14, (10, 2)).tolist()
    ]
    levels = [0.95, 0.8, 0.6, 0.5, 0.3]
    # In two parts, as clips are counted side by side; a track belongs to one clip.
    parts_of = [HeatmapRegions(levels, alpha=0.4, beta=0.2) for _ in range(2)]
    truth = [TrueRegion(r.frame, r.track + 10 * (r.frame % 2), r.box) for r in truth]
    for t in range(frames):
        parts_of[t % 2].add(heat[t], boxes, [r for r in truth if r.frame == t])
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
                detections.append(Detection(t, box, 1.0))
        rates = by_definition(detections, truth, frames, 0.4, 0.2) if detections else ([0.0], [0.0], [0.0])
        expected.append(tuple(rate[-1] for rate in rates))
    found = zip(curves.false_per_frame[1:], curves.region_rate[1:], curves.track_rate[1:], strict=True)
    np.testing.assert_allclose(sorted(found), sorted(expected))


def test_what_cannot_be_evaluated_is_refused() -> None:
    region = TrueRegion(0, 0, (0, 0, 2, 2))
    with pytest.raises(DatasetError, match="0 true regions"):
        region_curves([], [], frames=3)
    with pytest.raises(DatasetError, match="frame 5, but there are frames 0 to 2"):
        region_curves([Detection(5, (0, 0, 1, 1), 1.0)], [region], frames=3)
    with pytest.raises(DatasetError, match="1 detections have no score"):
        region_curves([Detection(0, (0, 0, 1, 1), float("nan"))], [region], frames=3)
