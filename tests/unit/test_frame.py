"""Frame: what it accepts, and what it says of itself."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from streamad.frame import Frame, FrameFlags


def frame(pixels: np.ndarray, flags: FrameFlags = FrameFlags.NONE) -> Frame:
    return Frame("cam", 7, 0.28, 12.5, pixels, flags)


def test_shape_is_height_and_width() -> None:
    assert frame(np.zeros((30, 40), np.uint8)).shape == (30, 40)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((30, 40, 3), np.uint8),
        np.zeros((30, 40), np.float32),
        np.zeros(30, np.uint8),
        np.zeros((30, 40), np.int8),
    ],
)
def test_other_arrays_are_refused_with_what_was_given(pixels: np.ndarray) -> None:
    with pytest.raises(ValueError, match=r"\(H, W\) uint8") as caught:
        frame(pixels)
    assert str(pixels.shape) in str(caught.value)
    assert str(pixels.dtype) in str(caught.value)


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (FrameFlags.NONE, False),
        (FrameFlags.KEY | FrameFlags.CORRUPT, False),
        (FrameFlags.DISCONTINUITY, True),
        (FrameFlags.KEY | FrameFlags.DISCONTINUITY, True),
    ],
)
def test_discontinuity_is_read_from_the_flags(flags: FrameFlags, expected: bool) -> None:
    assert frame(np.zeros((2, 2), np.uint8), flags).is_discontinuity is expected


def test_a_frame_is_frozen_and_its_repr_holds_no_pixels() -> None:
    one = frame(np.full((2, 2), 77, np.uint8))
    with pytest.raises(dataclasses.FrozenInstanceError):
        one.index = 8  # type: ignore[misc]
    assert "77" not in repr(one)
    assert "cam" in repr(one)
