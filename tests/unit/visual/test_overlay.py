"""The overlay: what is tinted, what stays grey, what the strip says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamad.visual.overlay import ALERT_RED, draw_overlay, strip_height

H, W = 240, 360
TOP = strip_height(H)


def _pixels() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (H, W), dtype=np.uint8)


def _draw(pixels: npt.NDArray[np.uint8], **changes: Any) -> npt.NDArray[np.uint8]:
    arguments: dict[str, Any] = {"heatmap": None, "scale": (5.0, 20.0), "alert": False, "score_text": "7.1", **changes}
    return draw_overlay(pixels, **arguments)


def _is_grey(rgb: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return np.asarray((rgb == pixels[..., None]).all(axis=-1))


def test_without_heat_map_the_picture_stays_grey_below_the_strip() -> None:
    pixels = _pixels()
    before = pixels.copy()
    out = _draw(pixels)
    assert out.shape == (H, W, 3)
    assert out.dtype == np.uint8
    assert _is_grey(out, pixels)[TOP:].all()
    assert np.array_equal(pixels, before), "the input is not drawn on"


def test_cells_at_or_below_low_and_cells_without_score_stay_grey() -> None:
    pixels = _pixels()
    heatmap = np.full((8, 12), 5.0, np.float32)
    heatmap[3] = np.nan
    heatmap[5] = -3
    assert _is_grey(_draw(pixels, heatmap=heatmap), pixels)[TOP:].all()
    assert _is_grey(_draw(pixels, heatmap=np.full((8, 12), np.nan, np.float32)), pixels)[TOP:].all()


def test_a_hot_cell_is_tinted_and_its_unscored_neighbour_is_not() -> None:
    pixels = _pixels()
    heatmap = np.zeros((8, 12), np.float32)
    heatmap[4, 6] = 20.0
    heatmap[4, 7] = np.nan
    grey = _is_grey(_draw(pixels, heatmap=heatmap), pixels)
    assert not grey[4 * 30 + 5 : 5 * 30 - 5, 6 * 30 + 5 : 7 * 30 - 5].any()
    assert grey[4 * 30 : 5 * 30, 7 * 30 : 8 * 30].all(), "NaN leaves R = G = B"
    far = np.ones((H, W), bool)
    far[:TOP] = False
    far[3 * 30 : 6 * 30, 5 * 30 : 8 * 30] = False
    assert grey[far].all(), "the soft edge ends within one cell"


def test_higher_scores_are_redder_and_infinite_ones_are_not_scored() -> None:
    pixels = np.full((H, W), 128, np.uint8)
    heatmap = np.zeros((8, 12), np.float32)
    heatmap[2, 2], heatmap[2, 6], heatmap[5, 2], heatmap[5, 6] = 8.0, 20.0, 500.0, np.inf
    out = _draw(pixels, heatmap=heatmap).astype(int)
    mild, hot, beyond, infinite = (out[r * 30 + 15, c * 30 + 15] for r, c in ((2, 2), (2, 6), (5, 2), (5, 6)))
    assert hot[0] - hot[1] > mild[0] - mild[1] > 0
    assert np.array_equal(hot, beyond)
    assert infinite.tolist() == [128, 128, 128]


def test_origin_moves_the_grid_and_what_it_leaves_over_is_untouched() -> None:
    pixels = _pixels()
    heatmap = np.full((3, 4), 20.0, np.float32)
    grey = _is_grey(_draw(pixels, heatmap=heatmap, cell=32, origin=(40, 100)), pixels)
    assert not grey[41 : 40 + 96, 101 : 100 + 128].any()
    outside = np.ones((H, W), bool)
    outside[:TOP] = False
    outside[40 : 40 + 96, 100 : 100 + 128] = False
    assert grey[outside].all()


def test_alert_turns_strip_and_border_red() -> None:
    pixels = _pixels()
    calm, alarmed = _draw(pixels), _draw(pixels, alert=True)

    def red_share(rgb: npt.NDArray[np.uint8]) -> float:
        return float((rgb[:TOP] == ALERT_RED).all(axis=-1).mean())

    assert red_share(calm) == 0
    assert red_share(alarmed) > 0.5
    assert (alarmed[-1, :] == ALERT_RED).all()
    assert (alarmed[:, 0] == ALERT_RED).all()
    assert _is_grey(alarmed, pixels)[TOP + 8 : -8, 8:-8].all()


def _bar_columns(rgb: npt.NDArray[np.uint8], colour: tuple[int, int, int]) -> npt.NDArray[np.intp]:
    return np.flatnonzero((rgb[TOP // 2] == colour).all(axis=-1))


def test_the_bar_grows_with_the_score_and_has_a_tick_at_the_threshold() -> None:
    pixels = np.zeros((H, W), np.uint8)
    blue = (92, 178, 232)
    lengths = [_bar_columns(_draw(pixels, score=s), blue).size for s in (4.0, 8.0, 16.0, 20.0, 99.0)]
    assert lengths[0] == 0
    assert lengths[1] < lengths[2] < lengths[3] == lengths[4]
    assert _bar_columns(_draw(pixels, score=float("nan")), blue).size == 0
    full = _bar_columns(_draw(pixels, score=20.0), blue)
    tick = _bar_columns(_draw(pixels, score=0.0, threshold=12.5, score_text=""), (255, 255, 255))
    plain = _bar_columns(_draw(pixels, score=20.0, score_text=""), blue)
    assert tick.size == 1
    assert tick[0] == pytest.approx((plain[0] + plain[-1]) / 2, abs=1.5), "12.5 is the middle of 5 .. 20"
    assert full.size == plain.size


def test_text_is_written_and_a_long_name_gives_way_to_the_score() -> None:
    pixels = np.zeros((H, W), np.uint8)
    empty = _draw(pixels, score_text="")
    named = _draw(pixels, score_text="", camera="gate", time_text="00:01")
    assert (named[:TOP, : W // 3] != empty[:TOP, : W // 3]).any()
    long = _draw(pixels, camera="a very long name of a camera " * 4, alert=True)
    short = _draw(pixels, camera="", alert=True)
    assert np.array_equal(long[:TOP, -60:], short[:TOP, -60:])


def test_truth_boxes_are_outlined() -> None:
    pixels = np.zeros((H, W), np.uint8)
    out = _draw(pixels, truth_boxes=[(50.2, 60.0, 90.0, 120.0)])
    assert out[60, 70].any()
    assert out[119, 70].any()
    assert out[90, 50].any()
    assert not out[90, 70].any()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scale": (5.0, 5.0)}, "low < high"),
        ({"heatmap": np.zeros((9, 12), np.float32)}, "reaches beyond"),
        ({"heatmap": np.zeros((8, 12), np.float32), "origin": (30, 0)}, "reaches beyond"),
        ({"heatmap": np.zeros(12, np.float32)}, "rows, cols"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _draw(_pixels(), **changes)


def test_the_grid_may_reach_beyond_the_frame_by_less_than_a_cell() -> None:
    pixels = np.full((100, 110), 60, np.uint8)  # 4×4 cells of 30: 10 and 20 px left over
    heatmap = np.full((4, 4), np.nan, np.float32)
    heatmap[3, 3] = 10.0
    out = _draw(pixels, heatmap=heatmap, scale=(0.0, 10.0))
    assert np.ptp(out[95, 105].astype(int)) > 0  # the corner is tinted
    assert np.ptp(out[95, 50].astype(int)) == 0


def test_a_colour_frame_is_refused() -> None:
    with pytest.raises(ValueError, match=r"\(H, W\) uint8"):
        _draw(np.zeros((H, W, 3), np.uint8))
