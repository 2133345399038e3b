"""Moving cells with their history: which cells, how old each channel is, and what a gap does."""

from __future__ import annotations

import numpy as np
import pytest

from streamad.frame import Frame, FrameFlags
from streamad.preprocessing import BackgroundModel, FrameSizeError, PatchHistory

CAMERA = "cam"


def frame(index: int, pixels: np.ndarray, flags: FrameFlags = FrameFlags.NONE) -> Frame:
    return Frame(CAMERA, index, index / 25, 0.0, pixels, flags)


def picture(index: int, size: tuple[int, int] = (120, 150), cell: tuple[int, int] = (1, 2)) -> np.ndarray:
    """Gray 100; one cell holds a gray level that tells the frame's number."""
    pixels = np.full(size, 100, np.uint8)
    row, col = cell
    pixels[30 * row : 30 * row + 30, 30 * col : 30 * col + 30] = 150 + index % 100
    return pixels


def history(lags: tuple[int, ...] = (0, 3, 5), **options: int | float | None) -> PatchHistory:
    """Its background knows the empty scene at once and hardly learns."""
    background = BackgroundModel(period=10_000, warmup=1)
    for _ in range(2):
        background.difference(np.full((120, 150), 100, np.uint8))
    return PatchHistory(lags=lags, background=background, **options)  # type: ignore[arg-type]


def test_channels_are_the_frames_of_the_stated_ages() -> None:
    cells = history((0, 3, 5))
    for index in range(20):
        patches = cells.push(frame(index, picture(index)))
        assert patches.warming_up is (index < 5)
        if index >= 5:
            np.testing.assert_array_equal(patches.locations, [[1, 2]])
            assert patches.pixels.shape == (1, 3, 30, 30)
            for channel, lag in enumerate((0, 3, 5)):
                assert (patches.pixels[0, channel] == 150 + index - lag).all()
        else:
            assert patches.pixels.shape == (0, 3, 30, 30)
            assert patches.locations.shape == (0, 2)
    assert cells.gaps == 0


def test_single_pictures_need_no_history() -> None:
    cells = history((0,))
    patches = cells.push(frame(0, picture(0)))
    assert not patches.warming_up
    assert patches.pixels.shape == (1, 1, 30, 30)


def test_a_background_that_is_not_settled_holds_frames_back() -> None:
    cells = PatchHistory(lags=(0,), background=BackgroundModel(warmup=12))
    flags = [cells.push(frame(k, picture(k))).warming_up for k in range(16)]
    assert flags == [True] * 12 + [False] * 4


@pytest.mark.parametrize(("pixels", "moves"), [(89, False), (90, True), (91, True)])
def test_a_cell_moves_from_a_tenth_of_its_pixels_on(pixels: int, moves: bool) -> None:
    scene = np.full((120, 150), 100, np.uint8)
    places = np.random.default_rng(pixels).permutation(900)[:pixels]
    scene[30:60, 60:90].flat[places] = 0  # a view: `flat` of a slice writes through
    block = scene[30:60, 60:90]
    block[np.unravel_index(places, (30, 30))] = 116
    patches = history((0,)).push(frame(0, scene))
    assert len(patches.locations) == int(moves)


@pytest.mark.parametrize(("gray", "moves"), [(115, False), (116, True), (85, False), (84, True)])
def test_a_pixel_differs_by_more_than_the_level(gray: int, moves: bool) -> None:
    scene = np.full((120, 150), 100, np.uint8)
    scene[30:60, 60:90] = gray
    assert len(history((0,)).push(frame(0, scene)).locations) == int(moves)


def test_level_and_share_are_settings() -> None:
    scene = np.full((120, 150), 100, np.uint8)
    scene[30:60, 60:75] = 108  # half of a cell, by 8 levels
    assert len(history((0,), level=7, share=0.5).push(frame(0, scene)).locations) == 1
    assert len(history((0,), level=8, share=0.5).push(frame(0, scene)).locations) == 0
    assert len(history((0,), level=7, share=0.51).push(frame(0, scene)).locations) == 0


@pytest.mark.parametrize("kind", ["discontinuity", "backwards"])
def test_a_gap_starts_the_history_anew_and_keeps_the_background(kind: str) -> None:
    cells = history((0, 3, 5))
    for index in range(10):
        cells.push(frame(index, picture(index)))
    first = {"discontinuity": 10, "backwards": 3}[kind]
    flag = FrameFlags.DISCONTINUITY if kind == "discontinuity" else FrameFlags.NONE
    for number, index in enumerate(range(first, first + 8)):
        patches = cells.push(frame(index, picture(index), flag if number == 0 else FrameFlags.NONE))
        assert patches.warming_up is (number < 5)
        if number >= 5:  # and no channel comes from before the gap
            assert [int(c.mean()) for c in patches.pixels[0]] == [150 + index - lag for lag in (0, 3, 5)]
    assert cells.gaps == 1


def test_a_hole_costs_only_the_frames_whose_channels_were_dropped() -> None:
    cells = history((0, 2, 4))
    arrived = [k for k in range(40) if k not in (15, 22, 23, 24)]
    scored = []
    for index in arrived:
        patches = cells.push(frame(index, picture(index)))
        if not patches.warming_up:
            scored.append(index)
            assert [int(c.mean()) for c in patches.pixels[0]] == [150 + index - lag for lag in (0, 2, 4)]
    lost = {k + lag for k in (15, 22, 23, 24) for lag in (0, 2, 4)}
    assert scored == [k for k in arrived if k >= 4 and k not in lost]
    assert cells.gaps == 0


def test_a_camera_that_loses_every_other_frame_is_still_scored() -> None:
    cells = history((0, 2, 4))
    skipped = [cells.push(frame(k, picture(k))).warming_up for k in range(0, 40, 2)]
    assert skipped == [True] * 2 + [False] * 18


def test_another_size_starts_history_and_background_anew() -> None:
    cells = PatchHistory(lags=(0, 1), background=BackgroundModel(warmup=4))
    sizes = [(120, 150)] * 8 + [(90, 120)] * 8
    flags = []
    for index, size in enumerate(sizes):
        patches = cells.push(frame(index, np.full(size, 100, np.uint8)))
        flags.append(patches.warming_up)
        assert patches.grid.shape == (size[0] // 30, size[1] // 30)
    assert flags == ([True] * 4 + [False] * 4) * 2
    assert cells.gaps == 1


def test_a_discontinuity_of_the_very_first_frame_is_no_gap() -> None:
    cells = history((0,))
    cells.push(frame(0, picture(0), FrameFlags.DISCONTINUITY))
    assert cells.gaps == 0


def test_reset_forgets_everything() -> None:
    cells = history((0, 1))
    for index in range(4):
        cells.push(frame(index, picture(index)))
    cells.reset()
    assert cells.push(frame(4, picture(4))).warming_up
    assert cells.gaps == 0


def test_taller_frames_are_shrunk_by_averaging_areas() -> None:
    rng = np.random.default_rng(0)
    background = BackgroundModel(period=10_000, warmup=1)
    for _ in range(2):
        background.difference(np.full((120, 150), 100, np.uint8))
    cells = PatchHistory(lags=(0,), max_height=120, background=background)
    scene = np.full((240, 300), 100, np.uint8)
    scene[60:120, 120:180] = rng.integers(150, 250, (60, 60))
    patches = cells.push(frame(0, scene))
    np.testing.assert_array_equal(patches.locations, [[1, 2]])
    mean_of_fours = scene[60:120, 120:180].reshape(30, 2, 30, 2).mean(axis=(1, 3))
    assert np.abs(patches.pixels[0, 0] - mean_of_fours).max() <= 0.5
    assert cells.location_box(1, 2) == (120, 60, 180, 120)  # in pixels of the source
    assert cells.location_box(3, 4) == (240, 180, 300, 240)


def test_boxes_of_odd_factors_stay_inside_the_frame() -> None:
    cells = PatchHistory(lags=(0,), max_height=100)
    cells.push(frame(0, np.zeros((333, 517), np.uint8)))
    rows, cols = 4, 6  # 100×155
    boxes = [cells.location_box(r, c) for r in range(rows) for c in range(cols)]
    assert min(b[0] for b in boxes) == min(b[1] for b in boxes) == 0
    assert max(b[2] for b in boxes) == 517
    assert max(b[3] for b in boxes) == 333


def test_a_box_before_the_first_frame_is_refused() -> None:
    with pytest.raises(ValueError, match="no grid"):
        PatchHistory().location_box(0, 0)


@pytest.mark.parametrize("size", [(1, 1), (29, 200), (200, 29)])
def test_frames_smaller_than_a_cell_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(FrameSizeError):
        PatchHistory().push(frame(0, np.zeros(size, np.uint8)))


def test_a_frame_that_shrinks_under_a_cell_is_refused() -> None:
    with pytest.raises(FrameSizeError, match="200×300 pixels, shrunk to a height of 30"):
        PatchHistory(max_height=30).push(frame(0, np.zeros((300, 200), np.uint8)))


@pytest.mark.parametrize("lags", [(), (1,), (0, 0), (0, 5, 3)])
def test_impossible_lags_are_refused(lags: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="lags"):
        PatchHistory(lags=lags)


def test_patches_are_copies() -> None:
    cells = history((0,))
    scene = picture(0)
    patches = cells.push(frame(0, scene))
    patches.pixels[:] = 0
    assert scene[40, 70] == 150
