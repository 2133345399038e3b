"""Windows of frames, against slices of the list of frames."""

from __future__ import annotations

import numpy as np
import pytest

from streamad.frame import Frame, FrameFlags
from streamad.preprocessing import ClipWindow


def frames(indices: list[int], size: tuple[int, int] = (4, 4), cut_at: int | None = None) -> list[Frame]:
    pixels = np.zeros(size, np.uint8)
    return [
        Frame("cam", i, i / 25, 0.0, pixels, FrameFlags.DISCONTINUITY if i == cut_at else FrameFlags.NONE)
        for i in indices
    ]


@pytest.mark.parametrize("length", [1, 2, 16])
def test_every_window_of_consecutive_frames_is_given(length: int) -> None:
    window = ClipWindow(length)
    stream = frames(list(range(40)))
    for number, one in enumerate(stream):
        clip = window.push(one)
        if number < length - 1:
            assert clip is None
        else:
            assert clip == tuple(stream[number - length + 1 : number + 1])
    assert window.gaps == 0


@pytest.mark.parametrize(
    "stream",
    [
        frames([0, 1, 2, 3, 4, 5, 7, 8, 9, 10, 11]),
        frames([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10], cut_at=6),
        frames([0, 1, 2, 3, 4, 5]) + frames([6, 7, 8, 9, 10], size=(8, 8)),
        frames([0, 1, 2, 3, 4, 5]) + frames([0, 1, 2, 3, 4]),
    ],
)
def test_no_window_reaches_across_a_gap(stream: list[Frame]) -> None:
    window = ClipWindow(4)
    clips = [window.push(one) for one in stream]
    assert [clip is None for clip in clips] == [True] * 3 + [False] * 3 + [True] * 3 + [False] * 2
    assert clips[9] == tuple(stream[6:10])
    assert window.gaps == 1


def test_reset_is_no_gap() -> None:
    window = ClipWindow(2)
    window.push(frames([0])[0])
    window.reset()
    assert window.push(frames([1])[0]) is None
    assert window.gaps == 0


def test_a_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="length 0"):
        ClipWindow(0)
