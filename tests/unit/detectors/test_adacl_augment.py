"""Created anomalies, each against a second derivation pixel by pixel."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest

from streamad.detectors.adacl.augment import (
    MIRRORED,
    SPATIAL,
    TEMPORAL,
    create_anomalies,
    cut_paste,
    distinct_kinds,
    lags_needed,
    mix_up,
    puzzle,
    rotate,
)
from streamad.errors import UsageError

SIDE = 30


def numbered(n: int, channels: int = 2, side: int = SIDE) -> np.ndarray:
    """(n, channels, side, side): every pixel of a channel tells its own place, every channel its number."""
    place = np.arange(side * side, dtype=np.float32).reshape(side, side)
    return np.broadcast_to(
        place + 1000 * np.arange(channels, dtype=np.float32)[:, None, None], (n, channels, side, side)
    ).copy()


def turned(cell: np.ndarray, quarters: int) -> np.ndarray:
    """Rotated counter-clockwise, by the definition."""
    side = cell.shape[-1]
    out = np.empty_like(cell)
    for i in range(side):
        for j in range(side):
            out[..., i, j] = cell[..., j, side - 1 - i] if quarters == 1 else cell[..., side - 1 - j, i]
    return out


def test_cut_paste_moves_one_rectangle_of_every_channel() -> None:
    cells = numbered(300)
    original = cells.copy()
    out = cut_paste(cells, np.random.default_rng(0))
    np.testing.assert_array_equal(cells, original)
    areas = []
    for one in out:
        ys, xs = np.nonzero(one[0] != original[0, 0])
        assert ys.size > 0
        y0, y1, x0, x1 = ys.min(), ys.max() + 1, xs.min(), xs.max() + 1
        for channel in range(2):
            source = (one[channel, y0:y1, x0:x1] - 1000 * channel).astype(int)
            place = np.stack([source // SIDE, source % SIDE])
            shift = place - np.mgrid[y0:y1, x0:x1]
            assert (shift == shift[:, :1, :1]).all()  # one rectangle from one other place
            assert shift[:, 0, 0].any()
            outside = one[channel].copy()
            outside[y0:y1, x0:x1] = original[0, channel, y0:y1, x0:x1]
            np.testing.assert_array_equal(outside, original[0, channel])
        areas.append((y1 - y0) * (x1 - x0) / SIDE**2)
    assert 0.01 < min(areas) < 0.04  # U(.02, .15), sides rounded
    assert 0.12 < max(areas) < 0.18


@pytest.mark.parametrize("width", [2, 5, 10, 15, 16, 20, 21])
def test_another_place_is_another_place(width: int) -> None:
    class SamePlaceTwice:
        """Draws a rectangle of the wanted width, and twice the same place for it."""

        def __init__(self) -> None:
            self.answers = [0.15, np.log(0.15 * SIDE**2 / width**2)]

        def uniform(self, low: float, high: float) -> float:
            return self.answers.pop(0)

        def integers(self, low: int, high: int, size: int) -> np.ndarray:
            return np.array([high // 3, high // 3])

    for _ in range(3):
        rng: Any = SamePlaceTwice()
        cells = numbered(1)
        assert (cut_paste(cells, rng) != cells).any()


def test_puzzle_shuffles_whole_quarters_and_never_leaves_them_all() -> None:
    cells = numbered(2000)
    out = puzzle(cells, np.random.default_rng(0))
    half = SIDE // 2
    corners = [(0, 0), (0, half), (half, 0), (half, half)]
    quarters = [cells[0, :, y : y + half, x : x + half] for y, x in corners]
    seen: Counter[tuple[int, ...]] = Counter()
    for one in out:
        order = []
        for y, x in corners:
            piece = one[:, y : y + half, x : x + half]
            (which,) = [k for k, quarter in enumerate(quarters) if (quarter == piece).all()]
            order.append(which)
        assert sorted(order) == [0, 1, 2, 3]
        seen[tuple(order)] += 1
    assert (0, 1, 2, 3) not in seen
    assert len(seen) == 23
    assert min(seen.values()) > 2000 / 23 / 2  # drawn evenly


def test_puzzle_of_an_odd_side_keeps_the_shape() -> None:
    out = puzzle(numbered(5, side=31), np.random.default_rng(0))
    assert out.shape == (5, 2, 31, 31)
    assert set(np.unique(out)) <= set(np.unique(numbered(1, side=31)))


def test_rotate_turns_by_a_quarter_either_way() -> None:
    cells = numbered(400)
    out = rotate(cells, np.random.default_rng(0))
    ways = [turned(cells[0], 1), turned(cells[0], 3)]
    which = [[(one == way).all() for way in ways].index(True) for one in out]
    assert 150 < sum(which) < 250


def test_mix_up_is_a_weighted_sum_with_the_rotated_cell() -> None:
    rng = np.random.default_rng(1)
    cells = rng.uniform(0, 255, (200, 2, SIDE, SIDE)).astype(np.float32)
    out = mix_up(cells, np.random.default_rng(0))
    weights = []
    for cell, one in zip(cells, out, strict=True):
        fits = []
        for quarters in (1, 3):
            way = turned(cell, quarters)
            # one = a·cell + (1 − a)·way, solved for a over all pixels
            a = float(((one - way) * (cell - way)).sum() / ((cell - way) ** 2).sum())
            fits.append((float(np.abs(a * cell + (1 - a) * way - one).max()), a))
        error, a = min(fits)
        assert error < 1e-3
        weights.append(a)
    assert 0.3 <= min(weights) < 0.33
    assert 0.67 < max(weights) <= 0.7


LAGS = (0, 5, 10)


def stacks(n: int, stack_lags: tuple[int, ...]) -> np.ndarray:
    """(n, len(stack_lags), 30, 30): every channel holds its own age."""
    return np.broadcast_to(np.array(stack_lags, np.uint8)[:, None, None], (n, len(stack_lags), SIDE, SIDE)).copy()


def ages(cells: np.ndarray) -> list[tuple[int, ...]]:
    """The age that each channel of each cell shows."""
    assert (cells == cells[..., :1, :1]).all()
    return [tuple(int(v) for v in one) for one in cells[..., 0, 0]]


def test_needed_lags_are_those_of_the_channels_and_of_every_speed() -> None:
    assert lags_needed(LAGS, tuple(SPATIAL)) == (0, 5, 10)
    assert lags_needed(LAGS, ("speed",)) == (0, 5, 8, 10, 15, 20)  # 7.5 rounds to 8
    assert lags_needed((0,), ("speed",)) == (0,)
    assert lags_needed((0, 2, 4), ("reverse", "freeze")) == (0, 2, 4)


def test_speed_takes_channels_further_apart() -> None:
    needed = lags_needed(LAGS, ("speed",))
    out = create_anomalies(stacks(200, needed), LAGS, needed, ("speed",), np.random.default_rng(0), 0)
    seen = Counter(ages(out))
    assert set(seen) == {(0, 8, 15), (0, 10, 20)}
    assert min(seen.values()) > 60


def test_reverse_runs_the_history_backwards() -> None:
    out = create_anomalies(stacks(5, LAGS), LAGS, LAGS, ("reverse",), np.random.default_rng(0), 0)
    assert ages(out) == [(10, 5, 0)] * 5


def test_freeze_shows_the_newest_frame_in_all_channels() -> None:
    out = create_anomalies(stacks(5, LAGS), LAGS, LAGS, ("freeze",), np.random.default_rng(0), 0)
    assert ages(out) == [(0, 0, 0)] * 5


def test_kinds_are_drawn_evenly_and_one_anomaly_is_made_of_every_cell() -> None:
    kinds = TEMPORAL
    needed = lags_needed(LAGS, kinds)
    given = stacks(900, needed)
    out = create_anomalies(given, LAGS, needed, kinds, np.random.default_rng(0), 0)
    assert out.shape == (900, 3, SIDE, SIDE)
    assert out.dtype == np.float32
    np.testing.assert_array_equal(given, stacks(900, needed))
    seen = Counter(ages(out))
    assert 240 < seen[(10, 5, 0)] < 360
    assert 240 < seen[(0, 0, 0)] < 360
    assert 240 < seen[(0, 8, 15)] + seen[(0, 10, 20)] < 360


@pytest.mark.parametrize("kind", list(SPATIAL))
def test_spatial_kinds_act_on_the_channels_of_the_network(kind: str) -> None:
    rng = np.random.default_rng(4)
    given = rng.integers(0, 256, (20, 6, SIDE, SIDE), dtype=np.uint8)
    needed = (0, 5, 8, 10, 15, 20)
    out = create_anomalies(given, LAGS, needed, (kind,), np.random.default_rng(9), 0)
    drawn = np.random.default_rng(9)
    drawn.integers(1, size=20)  # the draw of the kind comes first
    expected = SPATIAL[kind](given[:, [0, 1, 3]].astype(np.float32), drawn)
    np.testing.assert_array_equal(out, expected)


def test_noise_has_the_stated_deviation_and_is_independent_between_channels() -> None:
    out = create_anomalies(stacks(100, LAGS), LAGS, LAGS, ("freeze",), np.random.default_rng(0), 3.0)
    assert abs(float(out.std()) - 3) < 0.05
    first, second = out[:, 0].ravel(), out[:, 1].ravel()
    assert abs(float(np.corrcoef(first, second)[0, 1])) < 0.02


def test_an_unknown_kind_is_refused_by_name() -> None:
    with pytest.raises(UsageError, match="'melt'"):
        create_anomalies(stacks(3, LAGS), LAGS, LAGS, ("melt",), np.random.default_rng(0), 0)


def test_the_same_seed_makes_the_same_anomalies() -> None:
    rng = np.random.default_rng(4)
    given = rng.integers(0, 256, (50, 6, SIDE, SIDE), dtype=np.uint8)
    needed, kinds = (0, 5, 8, 10, 15, 20), (*SPATIAL, *TEMPORAL)
    first, second = (create_anomalies(given, LAGS, needed, kinds, np.random.default_rng(3), 1.0) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_the_patch_and_the_mixture_follow_their_intervals() -> None:
    rng = np.random.default_rng(0)
    cells = rng.uniform(0, 255, (200, 1, SIDE, SIDE)).astype(np.float32)
    changed = (cut_paste(cells, rng, (0.3, 0.4)) != cells).mean(axis=(1, 2, 3))
    assert 0.2 < changed.mean() < 0.45  # what the rectangle covers, less where it lands on itself
    mixed = mix_up(cells, rng, (0.2, 0.2))
    for k in range(20):
        ways = [0.2 * cells[k] + 0.8 * turned(cells[k], q) for q in (1, 3)]
        assert any(np.allclose(mixed[k], way, atol=1e-3) for way in ways)


def test_mirrors_are_mirrors() -> None:
    cells = numbered(3)
    rng = np.random.default_rng(0)
    np.testing.assert_array_equal(MIRRORED["mirror"](cells, rng)[..., 0], cells[..., -1])
    np.testing.assert_array_equal(MIRRORED["upside_down"](cells, rng)[..., 0, :], cells[..., -1, :])


def test_stretching_keeps_the_middle_and_changes_one_axis() -> None:
    rng = np.random.default_rng(0)
    cells = np.zeros((60, 1, 31, 31), np.float32)
    cells[:, :, 11:20, 11:20] = 200  # a square of 9 about the middle
    stretched = MIRRORED["stretch"](cells, rng)
    for picture in stretched[:, 0]:
        height, width = ((picture[:, 15] > 100).sum(), (picture[15] > 100).sum())
        assert (height == 9) != (width == 9)  # one axis alone
        other = width if height == 9 else height
        assert 12 <= other <= 19 or 4 <= other <= 7  # by 1.35 to 2, one way or the other
        np.testing.assert_allclose(picture, picture[::-1, ::-1], atol=10)  # about the middle


def test_anomalies_that_change_little_are_drawn_again() -> None:
    """A dot on empty ground: most patches copy ground onto ground."""
    stacks = np.zeros((300, 1, SIDE, SIDE), np.uint8)
    stacks[:, :, 12:16, 12:16] = 255
    shares = []
    for least in (0.0, 0.1):
        created = create_anomalies(stacks, (0,), (0,), ("cut_paste",), np.random.default_rng(1), 0.0, least)
        shares.append(float((created != stacks).any(axis=(1, 2, 3)).mean()))
    assert shares[0] < 0.6
    assert shares[1] > shares[0] + 0.3


def test_spoiling_twice_moves_more() -> None:
    stacks = np.random.default_rng(0).integers(0, 256, (100, 1, SIDE, SIDE), dtype=np.uint8)
    once = create_anomalies(stacks, (0,), (0,), ("rotate",), np.random.default_rng(1), 0.0, twice=0.0)
    again = create_anomalies(stacks, (0,), (0,), ("rotate",), np.random.default_rng(1), 0.0, twice=1.0)
    half = [np.rot90(stacks[k], 2, axes=(-2, -1)) for k in range(100)]
    is_turned = [
        any(np.array_equal(once[k, 0], turned(stacks[k].astype(np.float32), q)[0]) for q in (1, 3)) for k in range(100)
    ]
    is_half = [np.array_equal(again[k], half[k]) or np.array_equal(again[k], stacks[k]) for k in range(100)]
    assert all(is_turned)
    assert all(is_half)


def test_kinds_that_make_another_normal_picture_are_left_out() -> None:
    """Rings look the same however they are turned; an L does not."""
    rng = np.random.default_rng(0)
    rings, corners = np.zeros((2, 300, 1, 28, 28), np.uint8)
    y, x = np.mgrid[:28, :28]
    for k in range(300):
        radius = rng.uniform(6, 10)
        ring = np.abs(np.hypot(y - 13.5, x - 13.5) - radius) < 1.5
        rings[k, 0] = np.where(ring, 255, rng.integers(0, 20, (28, 28)))
        top, left = rng.integers(3, 8, 2)
        corners[k, 0, top : top + 16, left : left + 4] = 255
        corners[k, 0, top + 12 : top + 16, left : left + 14] = 255
    kinds = ("cut_paste", "rotate", "mirror", "upside_down")
    assert distinct_kinds(rings, kinds, 1.3, rng) == ("cut_paste",)
    assert distinct_kinds(corners, kinds, 1.3, rng) == kinds
    assert distinct_kinds(rings, kinds, 0.0, rng) == kinds
    assert distinct_kinds(rings, ("rotate",), 1.3, rng) == ("rotate",)  # better one that is weak than none
