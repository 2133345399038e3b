"""From frames to ADACL's scores: tiles in the network's range, maximum, median, and what is skipped."""

from __future__ import annotations

import math

import numpy as np
import pytest
from bundle_support import STILL, WARMUP, moving_shapes, small_manifest

from streamad.detectors.patch_scorer import PatchScorer
from streamad.errors import BundleError
from streamad.frame import Frame, FrameFlags
from streamad.preprocessing import FrameSizeError


def frame(index: int, pixels: np.ndarray, flags: FrameFlags = FrameFlags.NONE) -> Frame:
    return Frame("cam", index, index / 25, 100.0 + index, pixels, flags)


def warmed(median_frames: int = 1, lags: tuple[int, ...] = (0, 2, 4), count: int = 20) -> tuple[PatchScorer, list]:
    """A scorer that has seen a still scene, and the tiles of those frames."""
    scorer = PatchScorer(small_manifest(lags=lags, median_frames=median_frames))
    tiles = [scorer.preprocess(frame(k, np.full((90, 120), 100, np.uint8))) for k in range(count)]
    for one in tiles:
        scorer.score(one, np.empty(0, np.float32))
    return scorer, tiles


def occupied(cells: list[tuple[int, int]], gray: int = 220) -> np.ndarray:
    pixels = np.full((90, 120), 100, np.uint8)
    for row, col in cells:
        pixels[30 * row : 30 * row + 30, 30 * col : 30 * col + 30] = gray
    return pixels


def test_warm_up_is_withheld_and_then_stillness_has_its_score() -> None:
    scorer, tiles = warmed()
    assert [t.skipped_reason for t in tiles] == ["warming_up"] * WARMUP + [None] * (20 - WARMUP)
    held = scorer.score(tiles[0], np.empty(0, np.float32))
    assert math.isnan(held.score)
    assert held.skipped_reason == "warming_up"
    assert held.anomaly_map is None
    still = scorer.score(tiles[-1], np.empty(0, np.float32))
    assert still.score == STILL
    assert still.skipped_reason is None
    assert still.anomaly_map is not None
    assert np.isnan(still.anomaly_map).all()


def test_tiles_carry_the_frame_and_the_networks_range() -> None:
    scorer, _ = warmed()
    pixels = occupied([(1, 2)])
    pixels[35, 65] = 255
    pixels[36, 66] = 0
    tiles = scorer.preprocess(frame(20, pixels))
    assert (tiles.camera, tiles.index, tiles.pts_seconds, tiles.received_at) == ("cam", 20, 20 / 25, 120.0)
    assert tiles.batch.shape == (1, 3, 30, 30)
    assert tiles.batch.dtype == np.float32
    np.testing.assert_allclose(tiles.batch[0, 0], pixels[30:60, 60:90] / 127.5 - 1, atol=1e-6)
    assert tiles.batch[0, 0, 5, 5] == 1
    assert tiles.batch[0, 0, 6, 6] == -1
    np.testing.assert_allclose(tiles.batch[0, 1:], 100 / 127.5 - 1, atol=1e-6)  # two and four frames ago: still
    assert tiles.boxes is not None
    assert tiles.boxes.grid == (3, 4)


def test_score_is_the_largest_output_of_a_moving_cell() -> None:
    scorer, _ = warmed()
    tiles = scorer.preprocess(frame(20, occupied([(0, 1), (2, 3), (1, 0)])))
    outputs = np.array([0.1, 0.9, 0.4], np.float32)
    score = scorer.score(tiles, outputs)
    assert score.score == pytest.approx(0.9)
    assert (score.camera, score.index, score.pts_seconds, score.received_at) == ("cam", 20, 20 / 25, 120.0)
    expected = np.full((3, 4), np.nan, np.float32)
    assert tiles.locations is not None
    assert [tuple(c) for c in tiles.locations] == [(0, 1), (1, 0), (2, 3)]
    expected[0, 1], expected[1, 0], expected[2, 3] = outputs
    np.testing.assert_array_equal(score.anomaly_map, expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.5, 0.1, 0.9, 0.3], (0.9 + 0.5 + 0.3) / 3),
        ([0.5, 0.1, 0.9], 0.5),
        ([0.5, 0.7], (0.5 + 0.7 + STILL) / 3),
        ([0.5], (0.5 + 2 * STILL) / 3),
        ([], STILL),
        ([STILL - 1, STILL - 2, STILL - 3, STILL - 4], STILL - 2),
    ],
)
def test_a_missing_cell_of_the_highest_three_counts_as_still(values: list[float], expected: float) -> None:
    scorer = PatchScorer(small_manifest(cells=3))
    for k in range(20):
        scorer.preprocess(frame(k, np.full((90, 120), 100, np.uint8)))
    places = [(0, 0), (0, 2), (2, 0), (2, 2)][: len(values)]
    score = scorer.score(scorer.preprocess(frame(20, occupied(places))), np.array(values, np.float32))
    assert score.score == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("length", [1, 2, 5])
def test_median_is_that_of_the_newest_frames(length: int) -> None:
    scorer, _ = warmed(length)
    rng = np.random.default_rng(length)
    raw = [STILL] * (20 - WARMUP)
    for k in range(20, 60):
        moving = bool(rng.integers(4))
        one = scorer.preprocess(frame(k, occupied([(1, 1)] if moving else [])))
        value = np.float32(rng.normal())
        score = scorer.score(one, np.array([value] if moving else [], np.float32))
        raw.append(float(value) if moving else STILL)
        assert score.score == pytest.approx(float(np.median(raw[-length:])))
        if moving:
            assert score.anomaly_map is not None
            assert score.anomaly_map[1, 1] == value  # the anomaly map is not smoothed


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_an_output_that_is_not_finite_withholds_the_frame_alone(bad: float) -> None:
    scorer, _ = warmed(median_frames=3)
    values = []
    for k, outputs in enumerate([[1.0, 2.0], [3.0, bad], [5.0, 4.0], [6.0, 7.0]], start=20):
        tiles = scorer.preprocess(frame(k, occupied([(0, 0), (2, 2)])))
        values.append(scorer.score(tiles, np.array(outputs, np.float32)))
    assert [v.skipped_reason for v in values] == [None, "non_finite", None, None]
    assert math.isnan(values[1].score)
    assert values[1].anomaly_map is None
    assert values[3].score == pytest.approx(float(np.median([2.0, 5.0, 7.0])))


def test_after_a_gap_frames_are_withheld_and_the_median_starts_anew() -> None:
    scorer, _ = warmed(median_frames=5)
    flags = {30: FrameFlags.DISCONTINUITY}
    seen = []
    for k in range(20, 40):
        tiles = scorer.preprocess(frame(k, occupied([(0, 0)]), flags.get(k, FrameFlags.NONE)))
        value = 1.0 if k < 30 else 3.0
        seen.append(scorer.score(tiles, np.full(len(tiles.batch), value, np.float32)))
    assert [s.skipped_reason for s in seen] == [None] * 10 + ["warming_up"] * 4 + [None] * 6
    assert seen[14].score == 3.0  # no 1.0 from before the gap
    assert scorer.gaps == 1


def test_a_dropped_frame_withholds_what_needs_it_and_keeps_the_median() -> None:
    scorer, _ = warmed(median_frames=5)
    seen = {}
    for k in range(20, 45):
        if k == 30:
            continue
        tiles = scorer.preprocess(frame(k, occupied([(0, 0)])))
        value = 1.0 if k < 30 else 3.0
        seen[k] = scorer.score(tiles, np.full(len(tiles.batch), value, np.float32))
    skipped = {k: s.skipped_reason for k, s in seen.items() if s.skipped_reason}
    assert skipped
    assert set(skipped.values()) == {"gap"}
    assert {k - 30 for k in skipped} <= {1, 2, 3, 4}
    first = next(k for k in range(31, 45) if k not in skipped)
    assert seen[first].score == 1.0  # four of the five frames of the median are still those before
    assert scorer.gaps == 0


def test_reset_forgets_the_frames() -> None:
    scorer, _ = warmed()
    scorer.reset()
    assert scorer.preprocess(frame(20, occupied([(0, 0)]))).skipped_reason == "warming_up"


def test_a_frame_smaller_than_a_cell_is_refused() -> None:
    scorer = PatchScorer(small_manifest())
    with pytest.raises(FrameSizeError, match="1×1"):
        scorer.preprocess(frame(0, np.zeros((1, 1), np.uint8)))


def test_a_manifest_that_contradicts_itself_is_refused() -> None:
    manifest = small_manifest()
    wrong = manifest.model_copy(update={"tiling": manifest.tiling.model_copy(update={"lags": (0, 2)})})
    with pytest.raises(BundleError, match="2 lags and 3 channels"):
        PatchScorer(wrong)
    clips = manifest.model_copy(update={"tiling": manifest.tiling.model_copy(update={"kind": "clips"})})
    with pytest.raises(BundleError, match="'clips'"):
        PatchScorer(clips)


def test_moving_shapes_are_found_where_they_are() -> None:
    """Against a plain difference to the known background."""
    scorer = PatchScorer(small_manifest(lags=(0,)))
    still, moving = list(moving_shapes(40, busy=())), list(moving_shapes(40))
    for k in range(30):
        scorer.preprocess(frame(k, still[k]))
    for k in range(30, 40):
        tiles = scorer.preprocess(frame(k, moving[k]))
        differs = np.abs(moving[k].astype(int) - still[k]) > 15
        expected = {
            (r, c)
            for r in range(4)
            for c in range(6)
            if differs[min(30 * r, 90) :, min(30 * c, 130) :][:30, :30].mean() >= 0.10
        }
        assert tiles.locations is not None
        assert {(int(r), int(c)) for r, c in tiles.locations} == expected
