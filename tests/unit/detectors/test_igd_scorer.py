"""From frames to IGD's scores: sizes, range, anomaly map, median, and what is skipped or refused."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from igd_support import igd_manifest

from streamad.bundle import ScoreSpec, TilingSpec
from streamad.detectors.igd.scorer import IgdScorer
from streamad.errors import BundleError
from streamad.frame import Frame, FrameFlags
from streamad.preprocessing import FrameSizeError
from streamad.preprocessing.clips import resize_frame


def frame(index: int, pixels: np.ndarray | None = None, flags: FrameFlags = FrameFlags.NONE) -> Frame:
    return Frame(
        "cam", index, index / 25, 100.0 + index, np.zeros((64, 64), np.uint8) if pixels is None else pixels, flags
    )


def outputs(score: float, side: int = 4) -> np.ndarray:
    return np.concatenate([[score], np.arange(side * side) / 100]).astype(np.float32)[None]


def test_tiles_carry_the_whole_frame_in_the_networks_range() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    tiles = IgdScorer(igd_manifest(side=64)).preprocess(frame(7, pixels))
    assert (tiles.camera, tiles.index, tiles.pts_seconds, tiles.received_at) == ("cam", 7, 7 / 25, 107.0)
    assert tiles.batch.shape == (1, 1, 64, 64)
    assert tiles.batch.dtype == np.float32
    np.testing.assert_allclose(tiles.batch[0, 0], pixels / 255, atol=1e-6)
    assert tiles.locations is None
    assert tiles.boxes is not None
    assert tiles.boxes.grid == (1, 1)
    assert tiles.skipped_reason is None


@pytest.mark.parametrize("shape", [(32, 32), (64, 100), (128, 128), (300, 70), (480, 640)])
def test_frames_of_any_size_become_the_networks(shape: tuple[int, int]) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
    how = cv2.INTER_AREA if max(shape) > 128 else cv2.INTER_LINEAR
    want = cv2.resize(pixels, (64, 64), interpolation=how)
    np.testing.assert_array_equal(resize_frame(pixels, 64, 64), want)
    batch = IgdScorer(igd_manifest(side=64)).preprocess(frame(0, pixels)).batch
    np.testing.assert_allclose(batch[0, 0], want / 255, atol=1e-6)


@pytest.mark.parametrize("shape", [(31, 64), (64, 20)])
def test_a_frame_that_is_too_small_is_refused(shape: tuple[int, int]) -> None:
    with pytest.raises(FrameSizeError, match=f"{shape[1]}×{shape[0]} pixels"):
        IgdScorer(igd_manifest()).preprocess(frame(0, np.zeros(shape, np.uint8)))


def test_the_score_and_the_heat_map_are_the_networks() -> None:
    scorer = IgdScorer(igd_manifest())
    tiles = scorer.preprocess(frame(3))
    result = scorer.score(tiles, outputs(0.7))
    assert (result.camera, result.index, result.pts_seconds, result.received_at) == ("cam", 3, 3 / 25, 103.0)
    assert result.score == pytest.approx(0.7)
    assert result.skipped_reason is None
    np.testing.assert_allclose(result.anomaly_map, np.arange(16).reshape(4, 4) / 100, atol=1e-6)


@pytest.mark.parametrize("place", [0, 5])
def test_outputs_that_are_not_finite_are_withheld(place: int) -> None:
    scorer = IgdScorer(igd_manifest(median_frames=3))
    scorer.score(scorer.preprocess(frame(0)), outputs(0.2))
    broken = outputs(0.9)
    broken[0, place] = np.nan
    result = scorer.score(scorer.preprocess(frame(1)), broken)
    assert math.isnan(result.score)
    assert result.skipped_reason == "non_finite"
    assert result.anomaly_map is None
    assert scorer.score(scorer.preprocess(frame(2)), outputs(0.4)).score == pytest.approx(0.3)  # no part of the median


def test_the_median_is_causal_and_begins_anew_after_a_gap() -> None:
    scorer = IgdScorer(igd_manifest(median_frames=3))
    values = [0.1, 0.9, 0.2, 0.3, 0.8]
    got = [scorer.score(scorer.preprocess(frame(k)), outputs(v)).score for k, v in enumerate(values)]
    np.testing.assert_allclose(got, [0.1, 0.5, 0.2, 0.3, 0.3], atol=1e-6)
    assert scorer.gaps == 0
    later = scorer.preprocess(frame(9))
    after = scorer.preprocess(
        frame(10, flags=FrameFlags.DISCONTINUITY)
    )  # taken before the score of the frame before it
    assert scorer.score(later, outputs(0.9)).score == pytest.approx(0.8)
    assert scorer.score(after, outputs(0.1)).score == pytest.approx(0.1)
    assert scorer.gaps == 1
    scorer.reset()
    assert scorer.score(
        scorer.preprocess(frame(0, flags=FrameFlags.DISCONTINUITY)), outputs(0.6)
    ).score == pytest.approx(0.6)
    assert scorer.gaps == 1


def test_cells_lie_in_the_sources_pixels_and_cover_the_frame() -> None:
    scorer = IgdScorer(igd_manifest())
    with pytest.raises(ValueError, match="before the first score"):
        scorer.location_box(0, 0)
    scorer.score(scorer.preprocess(frame(0, np.zeros((90, 160), np.uint8))), outputs(0.1))
    assert scorer.location_box(0, 0) == (0, 0, 40, 22)
    assert scorer.location_box(3, 3) == (120, 68, 160, 90)
    assert scorer.location_box(1, 0)[1] == scorer.location_box(0, 0)[3]
    with pytest.raises(IndexError, match="4×4 cells"):
        scorer.location_box(4, 0)


@pytest.mark.parametrize("shape", [(1, 1), (1, 12), (2, 17)])
def test_outputs_of_another_shape_are_refused(shape: tuple[int, int]) -> None:
    scorer = IgdScorer(igd_manifest())
    with pytest.raises(BundleError, match="1 \\+ side²"):
        scorer.score(scorer.preprocess(frame(0)), np.zeros(shape, np.float32))


@pytest.mark.parametrize(
    "parts",
    [
        {"tiling": TilingSpec(kind="cells")},
        {"tiling": TilingSpec(kind="clips", window=16)},
        {"score": ScoreSpec(kind="top_cells")},
    ],
)
def test_other_bundles_are_refused(parts: dict[str, object]) -> None:
    with pytest.raises(BundleError, match="window of 1, the score kind 'map'"):
        IgdScorer(igd_manifest(**parts))
