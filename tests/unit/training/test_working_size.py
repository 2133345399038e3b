"""The size of moving things, measured on scenes whose things have a known size."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from bundle_support import textured_background

from streamad.frame import Frame
from streamad.training.working_size import LARGEST, OBJECT_HEIGHT, SMALLEST, object_height, working_height


def frames(things: list[tuple[int, int]], size: tuple[int, int] = (320, 240), count: int = 80) -> Iterator[Frame]:
    """(height, width) bright things cross the picture in lanes of their own."""
    background = textured_background(size)
    rng = np.random.default_rng(0)
    for number in range(count):
        picture = background.copy()
        top = 5
        for height, width in things:
            left = (4 * number + 37 * top) % (size[0] + width) - width
            cv2.rectangle(picture, (left, top), (left + width - 1, top + height - 1), 240, -1)
            top += height + 5
        noisy = np.clip(picture + rng.normal(0, 1.5, picture.shape), 0, 255).astype(np.uint8)
        yield Frame("cam", number, number / 25, 0.0, noisy)


@pytest.mark.parametrize("height", [20, 50, 100])
def test_things_of_one_height_are_measured(height: int) -> None:
    measured = object_height(frames([(height, height // 2)]))
    assert measured is not None
    assert measured == pytest.approx(height, abs=4)


def test_large_things_count_for_more_than_specks() -> None:
    measured = object_height(frames([(60, 30), (10, 10), (10, 10), (10, 10)]))
    assert measured is not None
    weighted = (60 * 1800 + 3 * 10 * 100) / (1800 + 300)
    assert measured == pytest.approx(weighted, abs=6)


def test_where_nothing_moves_there_is_no_height() -> None:
    assert object_height(frames([])) is None
    assert object_height(iter([])) is None


@pytest.mark.parametrize(
    ("frame_height", "things", "expected"),
    [
        (480, 2 * OBJECT_HEIGHT, 240),
        (240, OBJECT_HEIGHT, 240),
        (240, OBJECT_HEIGHT / 4, 240),  # never enlarged
        (1080, 1080 / 20, LARGEST),
        (480, 480.0, SMALLEST),
        (1080, None, LARGEST),
        (100, None, 100),
        (90, 400.0, 90),
    ],
)
def test_frames_are_shrunk_until_things_have_the_papers_size(
    frame_height: int, things: float | None, expected: int
) -> None:
    assert working_height(frame_height, things) == expected
