"""Feeding of whole frames: sizes, segments, windows, bounds."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

pytest.importorskip("torch")

from streamad.errors import UsageError
from streamad.frame import Frame, FrameFlags
from streamad.training.frame_sampler import SEGMENT, FrameSampler


def clip(count: int, first: int = 0, hole: int | None = None, seed: int = 0) -> list[Frame]:
    rng = np.random.default_rng(seed)
    frames = []
    for k in range(count):
        index = first + k + (5 if hole is not None and k >= hole else 0)
        flags = FrameFlags.DISCONTINUITY if k == 0 else FrameFlags.NONE
        frames.append(Frame("c", index, index / 10, 0.0, rng.integers(0, 256, (48, 80), dtype=np.uint8), flags))
    return frames


def test_every_window_of_a_clip_is_there_once() -> None:
    collector = FrameSampler(32, 32, window=16, max_frames=4000, seed=0)
    source = clip(200)
    collector.feed(source)
    frames, starts = collector.windows()
    assert collector.frames == 200
    assert len(starts) == 200 - 15
    small = [cv2.resize(f.pixels, (32, 32), interpolation=cv2.INTER_AREA) for f in source]  # more than twofold: areas
    found = [int(np.argmin([np.abs(frames[s].astype(int) - p.astype(int)).sum() for p in small])) for s in starts]
    assert found == list(range(185))
    for start, place in zip(starts, found, strict=True):
        np.testing.assert_array_equal(frames[start : start + 16], small[place : place + 16])


def test_no_window_crosses_a_hole_or_the_end_of_a_clip() -> None:
    collector = FrameSampler(32, 32, window=16, max_frames=4000, seed=0)
    collector.feed(clip(60, hole=30))
    collector.feed(clip(40, seed=1))
    collector.feed(clip(10, seed=2))  # shorter than a window
    frames, starts = collector.windows()
    assert len(frames) == 100
    assert list(starts) == [*range(15), *range(30, 45), *range(60, 85)]


def test_the_sample_is_bounded_and_repeatable() -> None:
    samples = []
    for _ in range(2):
        collector = FrameSampler(32, 32, window=1, max_frames=2 * SEGMENT, seed=3)
        for seed in range(6):
            collector.feed(clip(100, seed=seed))
        samples.append(collector.windows()[0])
    assert len(samples[0]) <= 2 * SEGMENT
    np.testing.assert_array_equal(*samples)


def test_too_short_clips_and_blank_ones_are_refused() -> None:
    collector = FrameSampler(32, 32, window=16, max_frames=4000, seed=0)
    collector.feed(clip(15))
    with pytest.raises(UsageError, match="15 frames contain no 16 consecutive ones"):
        collector.windows()
    blank = FrameSampler(32, 32, window=1, max_frames=4000, seed=0)
    blank.feed([Frame("c", 0, 0.0, 0.0, np.full((40, 40), 16, np.uint8))])
    with pytest.raises(UsageError, match=r"have one gray level \(16\)"):
        blank.windows()
    frozen = FrameSampler(32, 32, window=1, max_frames=4000, seed=0)
    picture = clip(1)[0].pixels
    frozen.feed([Frame("c", k, k / 10, 0.0, picture) for k in range(5)])
    with pytest.raises(UsageError, match="all 5 frames are the same picture"):
        frozen.windows()
