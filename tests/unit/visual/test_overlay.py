"""The overlay: what is tinted, what stays gray, what the strip says."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from streamad.frame import LocationBoxes
from streamad.preprocessing import PatchGrid
from streamad.visual.overlay import ALERT_RED, draw_overlay, strip_height, with_footer

H, W = 240, 360
TOP = strip_height(H)


def _pixels() -> npt.NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (H, W), dtype=np.uint8)


def _draw(pixels: npt.NDArray[np.uint8], **changes: Any) -> npt.NDArray[np.uint8]:
    arguments: dict[str, Any] = {
        "anomaly_map": None,
        "boxes": PatchGrid(H, W).boxes,
        "scale": (5.0, 20.0),
        "alert": False,
        "score_text": "7.1",
        **changes,
    }
    return draw_overlay(pixels, **arguments)


def _is_gray(rgb: npt.NDArray[np.uint8], pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    return np.asarray((rgb == pixels[..., None]).all(axis=-1))


def test_without_heat_map_the_picture_stays_gray_below_the_strip() -> None:
    pixels = _pixels()
    before = pixels.copy()
    out = _draw(pixels)
    assert out.shape == (H, W, 3)
    assert out.dtype == np.uint8
    assert _is_gray(out, pixels)[TOP:].all()
    assert np.array_equal(pixels, before), "the input is not drawn on"


def test_cells_at_or_below_low_and_cells_without_score_stay_gray() -> None:
    pixels = _pixels()
    anomaly_map = np.full((8, 12), 5.0, np.float32)
    anomaly_map[3] = np.nan
    anomaly_map[5] = -3
    assert _is_gray(_draw(pixels, anomaly_map=anomaly_map), pixels)[TOP:].all()
    assert _is_gray(_draw(pixels, anomaly_map=np.full((8, 12), np.nan, np.float32)), pixels)[TOP:].all()


def test_a_hot_cell_is_tinted_over_its_box_and_nowhere_else() -> None:
    pixels = _pixels()
    anomaly_map = np.zeros((8, 12), np.float32)
    anomaly_map[4, 6] = 20.0
    anomaly_map[4, 7] = np.nan
    gray = _is_gray(_draw(pixels, anomaly_map=anomaly_map), pixels)
    box = np.s_[4 * 30 : 5 * 30, 6 * 30 : 7 * 30]
    assert not gray[box].any()
    gray[box] = True
    assert gray[TOP:].all()


def test_higher_scores_are_redder_and_infinite_ones_are_not_scored() -> None:
    pixels = np.full((H, W), 128, np.uint8)
    anomaly_map = np.zeros((8, 12), np.float32)
    anomaly_map[2, 2], anomaly_map[2, 6], anomaly_map[5, 2], anomaly_map[5, 6] = 8.0, 20.0, 500.0, np.inf
    out = _draw(pixels, anomaly_map=anomaly_map).astype(int)
    mild, hot, beyond, infinite = (out[r * 30 + 15, c * 30 + 15] for r, c in ((2, 2), (2, 6), (5, 2), (5, 6)))
    assert hot[0] - hot[1] > mild[0] - mild[1] > 0
    assert np.array_equal(hot, beyond)
    assert infinite.tolist() == [128, 128, 128]


def test_cells_of_any_grid_lie_where_their_boxes_say_on_a_copy_of_another_size() -> None:
    """Cells of half the height and a third of the width of the picture's, overlapping by half, not from the edge."""
    pixels = _pixels()
    boxes = LocationBoxes.between((H // 2, W // 3), range(20, 120, 8), range(10, 100, 5), span=2)
    anomaly_map = np.full(boxes.grid, np.nan, np.float32)
    anomaly_map[3, 2], anomaly_map[3, 3], anomaly_map[9, 15] = 20.0, 6.0, 20.0
    out = _draw(pixels, anomaly_map=anomaly_map, boxes=boxes)
    alone = _draw(pixels, anomaly_map=np.where(anomaly_map > 6, anomaly_map, np.nan), boxes=boxes)
    expected = np.zeros((H, W), bool)
    for row, col in ((3, 2), (3, 3), (9, 15)):
        x0, y0, x1, y1 = boxes.box(row, col)
        expected[2 * y0 : 2 * y1, 3 * x0 : 3 * x1] = True
    assert np.array_equal(~_is_gray(out, pixels)[TOP:], expected[TOP:])
    x0, y0, x1, y1 = boxes.box(3, 2)
    shared = np.s_[2 * y0 : 2 * y1, 3 * x0 : 3 * x1]
    assert np.array_equal(out[shared], alone[shared]), "where cells overlap the higher one is seen"


def test_alert_turns_strip_and_border_red() -> None:
    pixels = _pixels()
    calm, alarmed = _draw(pixels), _draw(pixels, alert=True)

    def red_share(rgb: npt.NDArray[np.uint8]) -> float:
        return float((rgb[:TOP] == ALERT_RED).all(axis=-1).mean())

    assert red_share(calm) == 0
    assert red_share(alarmed) > 0.5
    assert (alarmed[-1, :] == ALERT_RED).all()
    assert (alarmed[:, 0] == ALERT_RED).all()
    assert _is_gray(alarmed, pixels)[TOP + 8 : -8, 8:-8].all()


def _bar_columns(rgb: npt.NDArray[np.uint8], color: tuple[int, int, int]) -> npt.NDArray[np.intp]:
    return np.flatnonzero((rgb[TOP // 2] == color).all(axis=-1))


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
        ({"anomaly_map": np.zeros((9, 12), np.float32)}, "boxes of a grid of 8×12 locations"),
        ({"anomaly_map": np.zeros((8, 12), np.float32), "boxes": None}, "needs the boxes"),
        ({"anomaly_map": np.zeros(12, np.float32)}, r"shape \(12,\)"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        _draw(_pixels(), **changes)


def test_the_last_cells_are_drawn_where_the_tiler_shifted_them() -> None:
    pixels = np.full((100, 110), 60, np.uint8)  # 4×4 cells of 30: the last ones end at the edges
    anomaly_map = np.full((4, 4), np.nan, np.float32)
    anomaly_map[3, 3] = 10.0
    out = _draw(pixels, anomaly_map=anomaly_map, boxes=PatchGrid(100, 110).boxes, scale=(0.0, 10.0))
    expected = np.zeros((100, 110), bool)
    expected[70:, 80:] = True
    assert np.array_equal(~_is_gray(out, pixels)[strip_height(100) :], expected[strip_height(100) :])


def test_a_color_frame_keeps_its_colors() -> None:
    pixels = np.dstack([np.full((H, W), value, np.uint8) for value in (200, 40, 90)])
    before = pixels.copy()
    result = _draw(pixels, alert=False)
    assert (pixels == before).all()
    assert (result[TOP:] == pixels[TOP:]).all()


def test_a_picture_that_is_neither_gray_nor_rgb_is_refused() -> None:
    with pytest.raises(ValueError, match="uint8"):
        _draw(np.zeros((H, W, 4), np.uint8))


@pytest.mark.parametrize(("width", "height"), [(96, 72), (160, 120), (320, 240), (1920, 1080)])
def test_a_footer_holds_its_whole_text_and_leaves_the_picture_as_it_is(width: int, height: int) -> None:
    picture = np.full((height, width, 3), 90, np.uint8)
    text = "2026-12-01 02:00:11 UTC"
    result = with_footer(picture, text)
    assert result.shape == (height + strip_height(height), width, 3)
    assert (result[:height] == picture).all()
    strip = result[height:].max(axis=(0, 2)) > 60
    written = np.flatnonzero(strip)
    assert written[-1] < width - 1, "nothing is cut off"
    # The last letters are as wide as when they stand alone.
    assert written[-1] - written[0] > 0.5 * min(width, 8 * len(text) * strip_height(height) / 32)
