"""Flow and descriptors on squares whose speed is known."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import pytest
from motion_support import Square, walkers, world

from streamad.detectors.motion.descriptors import describe
from streamad.detectors.motion.flow import FlowMeter
from streamad.detectors.motion.layout import LENGTH
from streamad.detectors.motion.temporal_smoother import TemporalSmoother
from streamad.frame import FrameFlags
from streamad.preprocessing import BackgroundModel


def meter(fps: float) -> FlowMeter:
    background = BackgroundModel(period=max(1, round(0.4 * fps)), warmup=round(3.2 * fps))
    return FlowMeter(background, level=15, max_height=None)


@pytest.mark.parametrize("fps", [5.0, 12.5, 30.0])
def test_speeds_are_those_of_the_world_at_any_rate(fps: float) -> None:
    flow, trace = meter(fps), TemporalSmoother()
    speeds, rights = [], []
    for frame in world([Square(4.0, 60, -24, 36.0)], 8.0, fps=fps):
        movement = flow.push(frame)
        if movement.flow is None or movement.seconds is None or frame.pts_seconds < 6:
            continue
        values = trace.follow(found := describe(movement), movement.seconds)
        around = [movement.foreground[max(0, r - 15) : r + 15, max(0, c - 10) : c + 10].sum() / 600
                  for r, c in values[:, :2].astype(int) // 2]  # fmt: skip
        inner = np.array(around) > 0.4  # the square itself, not its seam
        speeds += list(values[inner, 2])
        rights += list(values[inner, 3] - values[inner, 5])
        assert (np.abs(found.values[inner, 4] - found.values[inner, 6]) < 8).all()
    assert np.median(speeds) == pytest.approx(36, rel=0.12)
    assert np.median(rights) == pytest.approx(36, rel=0.12)


def test_a_hole_in_the_stream_has_no_flow_and_a_short_one_has() -> None:
    flow = meter(12.5)
    frames = list(world(walkers(12), 12.0))
    for frame in frames[:60]:
        flow.push(frame)
    assert flow.push(frames[63]).flow is not None  # 0.3 s: measured over the longer time
    late = flow.push(frames[80])
    assert late.flow is None
    assert late.dropped
    assert flow.gaps == 0
    broken = flow.push(replace(frames[81], flags=FrameFlags.DISCONTINUITY))
    assert broken.flow is None
    assert not broken.dropped
    assert broken.seconds is None
    assert flow.gaps == 1
    assert flow.is_warm


def test_a_copy_goes_on_by_itself() -> None:
    frames = list(world(walkers(8), 8.0))
    flow = meter(12.5)
    for frame in frames[:70]:
        flow.push(frame)
    other = copy.deepcopy(flow)
    first = [flow.push(frame).foreground for frame in frames[70:75]]
    second = [other.push(frame).foreground for frame in frames[70:75]]
    for a, b in zip(first, second, strict=True):
        np.testing.assert_array_equal(a, b)


def test_nothing_moves() -> None:
    flow = meter(12.5)
    for frame in world([], 5.0):
        movement = flow.push(frame)
    found = describe(movement)
    assert len(found.values) == 0
    assert TemporalSmoother().follow(found, 0.08).shape == (0, LENGTH)
