"""How long something has been standing where: against scenes whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import pytest

from streamad.detectors.motion.overdue import OVERDUE, REPORT_SECONDS, OverdueStays
from streamad.detectors.motion.stay_limits import NEVER, STAY_DTYPE, StayRecords, runs_of, usual_stay
from streamad.detectors.motion.stays import StayMeter
from streamad.frame import Frame, FrameFlags

FPS = 5
GRID = (15, 20)
BAG = (slice(120, 152), slice(96, 120))
"""Rows and columns of the bag: cells 7 to 9 down, 6 and 7 across."""

Change = Callable[[np.ndarray, float], np.ndarray]


def ground(rng: np.random.Generator) -> np.ndarray:
    rough = cv2.resize(rng.uniform(60, 180, (30, 40)).astype(np.float32), (320, 240), interpolation=cv2.INTER_CUBIC)
    return rough + rng.normal(0, 6, (240, 320))


def bag(picture: np.ndarray, _: float = 0) -> np.ndarray:
    picture = picture.copy()
    picture[BAG] = 30
    picture[BAG][6:20, 4:20] = 90
    return picture


def longest(
    meter: StayMeter, seconds: tuple[int, int], *changes: Change, jump: float = 0.0, flags: FrameFlags = FrameFlags(0)
) -> np.ndarray:
    """Show the scene from one time to another, with changes, and return the longest stay of each cell."""
    rng = np.random.default_rng(3)
    scene, most = ground(rng), np.zeros(GRID)
    for number in range(seconds[0] * FPS, seconds[1] * FPS):
        picture, now = scene, number / FPS
        for change in changes:
            picture = change(picture, now)
        noisy = picture + np.random.default_rng(number).normal(0, 4, picture.shape)
        pixels = np.clip(noisy, 0, 255).astype(np.uint8)
        meter.push(Frame("x", number, now + jump, 0.0, pixels, flags=flags), GRID)
        flags = FrameFlags(0)
        if meter.seconds.size:
            most = np.maximum(most, meter.seconds)
    return most


def test_a_thing_stands_for_as_long_as_it_stands_and_where_it_stands() -> None:
    meter = StayMeter()
    assert longest(meter, (0, 40)).max() == 0
    found = longest(meter, (40, 55), bag)
    assert found.max() == pytest.approx(15, abs=1.6)
    rows, cols = np.nonzero(found > 5)
    assert {7, 8} <= set(rows) <= {6, 7, 8, 9, 10}
    assert {6, 7} <= set(cols) <= {5, 6, 7, 8}
    longest(meter, (55, 58))
    assert meter.seconds.max() == 0


def test_passers_by_do_not_interrupt_a_stay_and_are_none() -> None:
    def passing(picture: np.ndarray, now: float) -> np.ndarray:
        picture, left = picture.copy(), int(now * 60) % 400 - 40
        picture[80:200, max(0, left) : max(0, left + 30)] = 200
        return picture

    meter = StayMeter()
    assert longest(meter, (0, 60), passing).max() < 2
    found = longest(meter, (60, 75), bag, passing)
    assert found.max() == pytest.approx(15, abs=3)


def soft(gain: float, offset: float) -> Change:
    return lambda picture, _: picture * gain + offset


def shaking(picture: np.ndarray, now: float) -> np.ndarray:
    return np.roll(picture, (round(1.4 * np.sin(now * 9)), round(1.4 * np.sin(now * 7))), (0, 1))


def drifting(picture: np.ndarray, now: float) -> np.ndarray:
    slope = np.linspace(-1, 1, picture.shape[1])[None]
    return picture * (0.8 + 0.2 * np.cos(now / 20)) + 25 * np.sin(now / 15) * slope


@pytest.mark.parametrize("change", [shaking, drifting, soft(0.7, 30), soft(1.3, -20)])
def test_light_and_a_shaking_camera_are_no_stays(change: Change) -> None:
    meter = StayMeter()
    longest(meter, (0, 30))
    assert longest(meter, (30, 60), change).max() < 2


def test_a_scene_that_changes_everywhere_begins_again() -> None:
    meter = StayMeter()
    longest(meter, (0, 30))
    turned = longest(meter, (30, 45), lambda picture, _: picture[::-1, ::-1])
    assert turned.max() == 0
    assert longest(meter, (45, 60), lambda picture, now: bag(picture[::-1, ::-1])).max() > 5


def test_a_stay_outlasts_a_gap_which_does_not_count() -> None:
    meter = StayMeter()
    longest(meter, (0, 40))
    longest(meter, (40, 48), bag)
    found = longest(meter, (48, 54), bag, jump=3600.0, flags=FrameFlags.DISCONTINUITY)
    assert found.max() == pytest.approx(14, abs=2.5)


def test_what_stood_there_at_the_beginning_leaves_no_ghost() -> None:
    meter = StayMeter()
    longest(meter, (0, 10), bag)
    assert longest(meter, (10, 60)).max() <= 5.5  # half of what was known of the scene
    assert meter.seconds.max() == 0
    assert longest(meter, (60, 70), bag).max() == 0  # it is known


def stays(*seconds: float) -> np.ndarray:
    found = np.zeros(len(seconds), STAY_DTYPE)
    found["seconds"] = seconds
    return found


def test_the_longest_stay_is_usual_if_enough_was_seen() -> None:
    ten_minutes = np.array([[600.0, 500.0]])
    assert usual_stay(stays(3, 5, 2), ten_minutes, 2.0) == 5
    assert usual_stay(stays(), ten_minutes, 2.0) == 1.5
    assert usual_stay(stays(30), ten_minutes, 2.0) == NEVER
    assert usual_stay(stays(5), np.array([[600.0, 100.0]]), 2.0) == NEVER  # hardly anything moved
    assert usual_stay(stays(5), np.array([[20.0, 20.0]] * 40), 2.0) == NEVER  # no clip could show a longer one


def test_the_longest_stays_of_every_cell_are_kept() -> None:
    records = StayRecords(3)
    rng, expected = np.random.default_rng(1), {0: [], 2: []}
    for _ in range(500):
        for cell in expected:
            long = float(np.float32(rng.uniform(2, 900)))
            for part in (1.0, long):  # a stay is reported as it grows
                records.add(np.array([cell]), np.array([part], np.float32))
            expected[cell].append(long)
    found = records.stays()
    for cell, all_of_it in expected.items():
        kept = found["seconds"][found["cell"] == cell]
        np.testing.assert_allclose(kept, sorted(all_of_it)[-16:][::-1], rtol=1e-6)
    assert len(found) == 32


def test_a_stay_that_an_alert_touched_is_no_example_before_or_after() -> None:
    records = StayRecords(1)

    def note(*seconds: float, is_normal: bool = True) -> None:
        for now in seconds:
            records.add(np.array([0]), np.array([now], np.float32), is_normal=is_normal)

    note(1, 2, 4)
    note(1, 6, 12)
    note(20, 25, is_normal=False)
    note(30, 900)  # it goes on after its alert
    assert records.stays()["seconds"].tolist() == [4]
    note(1, 3)
    assert records.stays()["seconds"].tolist() == [4, 3]


def test_the_time_in_which_something_moves_is_counted_clip_by_clip() -> None:
    clips = np.repeat([0, 1], [100, 50]).astype(np.int32)
    seconds = np.concatenate([np.arange(100), np.arange(50)]) / 10
    counts = np.where(np.arange(150) % 2, 3, 0).astype(np.int32)
    np.testing.assert_allclose(runs_of(clips, seconds, counts), [[9.9, 5.0], [4.9, 2.5]], atol=0.11)


def test_a_thing_is_reported_once_and_for_some_seconds() -> None:
    overdue, standing = OverdueStays(), np.zeros(GRID, np.float32)
    usual, told = np.array([5.0], np.float32), []
    for number in range(400):
        now = number / 10
        standing[7:9, 6:8] = now
        standing[12, 12] = now / 2  # another thing
        cell = np.array([[7, 6]]) if now < 30 else np.array([[12, 12]])
        overdue.push(now, standing, cell, standing[*cell.T], usual, np.array([9.0], np.float32))
        if overdue.cells is not None:
            told.append((now, int(overdue.cells.sum())))
    first = [now for now, cells in told if cells == 4]
    assert first[0] == pytest.approx(5 * OVERDUE)
    assert first[-1] - first[0] == pytest.approx(REPORT_SECONDS, abs=0.2)
    assert next(now for now, cells in told if cells == 1) == 30
    assert overdue.distance == 0.0 or now < 30 + REPORT_SECONDS


def test_what_leaves_is_not_reported_any_more() -> None:
    overdue, standing = OverdueStays(), np.zeros(GRID, np.float32)
    standing[7:9, 6:8] = 12
    given = (np.array([[7, 6]]), np.array([12.0], np.float32), np.array([5.0], np.float32), np.array([9.0], np.float32))
    overdue.push(1.0, standing, *given)
    assert overdue.distance == 9.0
    assert overdue.reason == "standing here for 12 s; usual is up to 5 s"
    overdue.push(2.0, np.zeros(GRID, np.float32), given[0][:0], *(part[:0] for part in given[1:]))
    assert overdue.distance == 0.0
