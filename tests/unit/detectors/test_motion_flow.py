"""Flow and descriptors on squares whose speed is known."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from dataclasses import replace

import cv2
import numpy as np
import pytest
from motion_support import SIZE, Square, walkers, world

from streamad.detectors.motion.descriptors import describe
from streamad.detectors.motion.flow import FlowMeter
from streamad.detectors.motion.layout import FAST, LENGTH, PLACE, SHARE, SLOW, SPEED
from streamad.frame import Frame, FrameFlags, UInt8Image

HEIGHT = 240
"""The world's pictures are 160 high, so that one of their pixels is one and a half working pixels."""


@pytest.mark.parametrize("fps", [5.0, 12.5, 30.0])
@pytest.mark.parametrize("times", [1, 3])
def test_speeds_are_those_of_the_world_at_any_rate_and_size(fps: float, times: int) -> None:
    flow, square = FlowMeter(height=HEIGHT), Square(2.0, 60, -24, 36.0)
    paces, across, places = [], [], []
    for frame in world([square], 6.0, fps=fps):
        size = (times * SIZE[1], times * SIZE[0])
        shown = replace(frame, pixels=cv2.resize(frame.pixels, size, interpolation=cv2.INTER_LINEAR))
        movement = flow.push(shown)
        if isinstance(movement, str) or frame.pts_seconds < 4:
            continue
        found = describe(movement)
        assert found.grid == (15, 22)
        sums = found.values.sum(axis=0)
        paces.append(sums[SPEED] / sums[SHARE][0])
        assert 0.5 < sums[SLOW][4] / sums[FAST][4] < 2  # more has changed since then
        across.append((sums[FAST][0] - sums[FAST][2]) / sums[FAST][4])
        center = (found.values[:, PLACE] * found.values[:, [SPEED]]).sum(axis=0) / sums[SPEED]
        places.append(center / 1.5 - [80, 36 * (frame.pts_seconds - 2) - 12])
    assert np.median(paces) == pytest.approx(1.5 * 36, rel=0.15)
    assert np.median(across) > 0.9
    assert np.abs(np.median(places, axis=0)).max() < 12  # the mean over time lies behind


def test_a_change_of_light_is_no_movement() -> None:
    def brighter() -> Iterator[Frame]:
        for frame in world([], 3.0):
            pixels = cv2.add(frame.pixels, 30) if frame.index >= 20 else frame.pixels
            yield replace(frame, pixels=np.asarray(pixels, np.uint8))

    flow = FlowMeter(height=HEIGHT)
    found = [movement for frame in brighter() if not isinstance(movement := flow.push(frame), str)]
    assert len(found) > 25
    assert max(len(describe(movement).values) for movement in found) == 0


def torn(pixels: UInt8Image) -> UInt8Image:
    """A band of another part of the picture, as after a lost packet."""
    damaged = pixels.copy()
    damaged[100:130] = np.roll(pixels[20:50], 80, axis=1)
    return damaged


@pytest.mark.parametrize("damage", [torn, lambda p: p // 4, lambda p: np.full_like(p, 128)])
def test_a_single_damaged_picture_is_left_out(damage: Callable[[UInt8Image], UInt8Image]) -> None:
    frames = list(world(walkers(12), 12.0))
    whole, without = FlowMeter(height=HEIGHT), FlowMeter(height=HEIGHT)
    last: object = None
    for frame in frames:
        if frame.index % 25 == 24:
            assert np.array_equal(whole.push(replace(frame, pixels=damage(frame.pixels))), last)
        else:
            last = whole.push(frame)
            assert np.array_equal(last, without.push(frame))


def test_a_change_that_stays_counts_from_the_next_picture_on() -> None:
    flow, moving = FlowMeter(height=HEIGHT), []
    for frame in world([], 4.0):
        pixels = frame.pixels.copy()
        if frame.index >= 25:
            pixels[40:120, 60:160] = pixels[40:120, 60:160] // 2 + 90 * (np.indices((80, 100)).sum(0) // 9 % 2)
        movement = flow.push(replace(frame, pixels=pixels))
        moving.append(0 if isinstance(movement, str) else len(describe(movement).values))
    assert moving[24] == moving[25] == 0
    assert moving[26] > 10


def test_a_hole_in_the_stream_has_no_flow_and_a_short_one_has() -> None:
    flow = FlowMeter(height=HEIGHT)
    frames = list(world(walkers(12), 12.0))
    assert [flow.push(frame) for frame in frames[:3]] == ["warming_up"] * 3
    for frame in frames[3:60]:
        assert not isinstance(flow.push(frame), str)
    assert not isinstance(flow.push(frames[63]), str)  # 0.3 s: measured over the longer time
    assert flow.push(frames[80]) == "gap"
    assert flow.gaps == 0
    assert flow.push(replace(frames[81], flags=FrameFlags.DISCONTINUITY)) == "warming_up"
    assert flow.gaps == 1


def test_a_copy_goes_on_by_itself() -> None:
    frames = list(world(walkers(8), 8.0))
    flow = FlowMeter(height=HEIGHT)
    for frame in frames[:70]:
        flow.push(frame)
    other = copy.deepcopy(flow)
    first = [flow.push(frame) for frame in frames[70:75]]
    second = [other.push(frame) for frame in frames[70:75]]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5)  # type: ignore[arg-type]  # rounding depends on the place in memory


def test_nothing_moves() -> None:
    flow = FlowMeter(height=HEIGHT)
    for frame in world([], 5.0):
        movement = flow.push(frame)
    assert not isinstance(movement, str)
    assert describe(movement).values.shape == (0, LENGTH)


@pytest.mark.parametrize("shape", [(40, 40), (64, 128), (1080, 1920), (40, 3000), (600, 100)])
def test_pictures_of_any_size_have_a_grid(shape: tuple[int, int]) -> None:
    flow, rng = FlowMeter(height=HEIGHT), np.random.default_rng(0)
    for number in range(6):
        movement = flow.push(Frame("x", number, number / 10, 0.0, rng.integers(0, 255, shape, dtype=np.uint8)))
    assert not isinstance(movement, str)
    assert movement.shape[0] == 15
    assert np.isfinite(movement).all()
