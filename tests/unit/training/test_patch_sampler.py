"""From clips to training cells: what is collected, how it is sampled, and which way things move."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import pytest
from bundle_support import moving_shapes, textured_background

from streamad.errors import UsageError
from streamad.frame import Frame, FrameFlags
from streamad.preprocessing import PatchHistory
from streamad.training.patch_sampler import FLOW_CONSISTENT, PatchSampler


def clip(pictures: Iterator[np.ndarray]) -> list[Frame]:
    first = FrameFlags.DISCONTINUITY
    return [Frame("c", k, k / 25, 0.0, p, FrameFlags.NONE if k else first) for k, p in enumerate(pictures)]


def test_cells_are_those_of_the_tiling() -> None:
    frames = clip(moving_shapes(80))
    collector = PatchSampler((0, 2, 4), max_cells=10_000, seed=1)
    collector.feed(frames)
    history = PatchHistory(lags=(0, 2, 4))
    expected = np.concatenate([history.push(frame).pixels for frame in frames])
    np.testing.assert_array_equal(collector.stacks(), expected)
    assert (collector.frames, collector.seen) == (80, len(expected))
    assert len(expected) > 50


def test_the_background_is_carried_from_clip_to_clip_and_the_history_is_not() -> None:
    collector = PatchSampler((0, 2, 4), max_cells=10_000, seed=1)
    frames = clip(moving_shapes(60))
    collector.feed(frames[:40])
    before = collector.seen
    again = [Frame("c", k, k / 25, 0.0, f.pixels, FrameFlags.NONE if k else FrameFlags.DISCONTINUITY)
             for k, f in enumerate(frames[:5])]  # fmt: skip
    collector.feed(again[:4])
    assert collector.seen == before  # four frames have no history of four
    collector.feed([Frame("c", 4, 0.16, 0.0, frames[4].pixels)])
    assert collector.seen > before  # no second warm-up


def test_a_bounded_sample_is_uniform_over_all_cells() -> None:
    """Every cell is kept with probability max_cells / seen, early or late."""
    frames = clip(moving_shapes(120))
    whole = PatchSampler((0,), max_cells=10_000, seed=0)
    whole.feed(frames)
    cells = [cell.tobytes() for cell in whole.stacks()]
    position = {cell: k for k, cell in enumerate(cells)}
    assert len(position) == len(cells)  # sensor noise: no two alike
    kept: list[int] = []
    for seed in range(12):
        collector = PatchSampler((0,), max_cells=60, seed=seed)
        collector.feed(frames)
        assert len(collector.stacks()) == 60
        assert collector.seen == len(cells)
        kept += [position[cell.tobytes()] for cell in collector.stacks()]
    share = np.array(kept) / len(cells)
    assert abs(share.mean() - 0.5) < 0.05
    counts = np.histogram(share, 4, (0, 1))[0]
    assert counts.min() > 0.7 * len(kept) / 4


def test_the_sample_depends_on_the_seed_alone() -> None:
    frames = clip(moving_shapes(80))
    samples = []
    for seed in (1, 1, 2):
        collector = PatchSampler((0,), max_cells=30, seed=seed)
        collector.feed(frames)
        samples.append(collector.stacks())
    np.testing.assert_array_equal(samples[0], samples[1])
    assert not np.array_equal(samples[0], samples[2])


@pytest.mark.parametrize("frames", [clip(moving_shapes(60, busy=())), clip(moving_shapes(20)), []])
def test_where_nothing_moves_there_is_nothing_to_learn(frames: list[Frame]) -> None:
    collector = PatchSampler((0,), max_cells=100, seed=1)
    collector.feed(frames)
    with pytest.raises(UsageError, match=f"nothing moved in {len(frames)} frames") as caught:
        collector.stacks()
    assert caught.value.hint


def walkers(directions: tuple[int, ...], frames: int = 120) -> Iterator[np.ndarray]:
    """Textured squares walk to the right (1) or to the left (-1)."""
    background = textured_background((240, 150))
    texture = cv2.resize(np.random.default_rng(8).integers(0, 256, (6, 6), dtype=np.uint8), (24, 24))
    for number in range(frames):
        picture = background.copy()
        for lane, direction in enumerate(directions):
            left = (direction * 2 * number + 60 * lane) % 210
            picture[10 + 35 * lane : 34 + 35 * lane, left : left + 24] = texture
        yield picture


def test_flow_tells_one_way_from_both_ways() -> None:
    consistencies = []
    for directions in ((1, 1, 1), (-1, -1, -1), (1, -1, 1, -1)):
        collector = PatchSampler((0,), max_cells=100, seed=1)
        collector.feed(clip(walkers(directions)))
        consistencies.append(collector.flow_consistency)
    assert consistencies[0] > 0.75
    assert consistencies[1] > 0.75
    assert consistencies[2] < FLOW_CONSISTENT - 0.2


def test_flow_of_nothing_is_zero() -> None:
    assert PatchSampler((0,), max_cells=1, seed=1).flow_consistency == 0
