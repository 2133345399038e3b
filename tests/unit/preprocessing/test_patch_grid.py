"""The grid of 30×30 cells, against plain loops over pixels."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamad.errors import ExitCode
from streamad.preprocessing import PATCH_SIZE, FrameSizeError, PatchGrid

sizes = st.integers(PATCH_SIZE, 200)


def test_ped2_has_the_papers_grid() -> None:
    grid = PatchGrid(240, 360)
    assert grid.shape == (8, 12)
    assert [grid.boxes.box(r, c) for r in range(8) for c in range(12)] == [
        (30 * c, 30 * r, 30 * c + 30, 30 * r + 30) for r in range(8) for c in range(12)
    ]


@given(height=sizes, width=sizes)
@settings(max_examples=60, deadline=None)
def test_every_pixel_is_in_a_cell_and_every_cell_in_the_frame(height: int, width: int) -> None:
    grid = PatchGrid(height, width)
    assert grid.shape == (math.ceil(height / 30), math.ceil(width / 30))
    covered = np.zeros((height, width), int)
    for row in range(grid.shape[0]):
        for col in range(grid.shape[1]):
            x0, y0, x1, y1 = grid.boxes.box(row, col)
            assert (x1 - x0, y1 - y0) == (30, 30)
            assert x0 >= 0
            assert y0 >= 0
            assert x1 <= width
            assert y1 <= height
            covered[y0:y1, x0:x1] += 1
    assert covered.min() == 1
    # Only the last row and column overlap their neighbors.
    assert covered[: height - 30 - height % 30, : width - 30 - width % 30].max(initial=1) == 1
    assert covered.max() <= 4


@given(height=sizes, width=sizes, seed=st.integers(0, 99), density=st.floats(0, 1))
@settings(max_examples=40, deadline=None)
def test_share_equals_a_count_of_pixels(height: int, width: int, seed: int, density: float) -> None:
    mask = (np.random.default_rng(seed).random((height, width)) < density).astype(np.uint8)
    grid = PatchGrid(height, width)
    expected = np.zeros(grid.shape)
    for row in range(grid.shape[0]):
        for col in range(grid.shape[1]):
            top = min(30 * row, height - 30)
            left = min(30 * col, width - 30)
            expected[row, col] = sum(int(v) for line in mask[top : top + 30] for v in line[left : left + 30]) / 900
    share = grid.share(mask)
    assert share.dtype == np.float32
    np.testing.assert_allclose(share, expected, atol=1e-7)


@given(height=sizes, width=sizes, seed=st.integers(0, 99))
@settings(max_examples=40, deadline=None)
def test_cut_equals_slices(height: int, width: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    image = rng.integers(0, 256, (height, width), dtype=np.uint8)
    grid = PatchGrid(height, width)
    cells = np.argwhere(rng.random(grid.shape) < 0.4)
    cut = grid.cut(image, cells)
    assert cut.shape == (len(cells), 30, 30)
    for one, (row, col) in zip(cut, cells, strict=True):
        top = min(30 * row, height - 30)
        left = min(30 * col, width - 30)
        np.testing.assert_array_equal(one, image[top : top + 30, left : left + 30])
    before = image.copy()
    cut[:] = 0
    np.testing.assert_array_equal(image, before)  # a copy


def test_a_cut_of_no_cells_is_empty() -> None:
    assert PatchGrid(60, 60).cut(np.zeros((60, 60), np.uint8), np.zeros((0, 2), np.intp)).shape == (0, 30, 30)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (29, 100), (100, 29), (0, 30)])
def test_a_frame_smaller_than_a_cell_is_an_error_of_the_source(height: int, width: int) -> None:
    with pytest.raises(FrameSizeError, match=f"{width}×{height}") as caught:
        PatchGrid(height, width)
    assert caught.value.exit_code == ExitCode.SOURCE
    assert isinstance(caught.value, ValueError)


def test_one_cell_is_enough() -> None:
    assert PatchGrid(30, 30).shape == (1, 1)
