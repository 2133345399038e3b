"""The background model, against numpy's temporal median of the same frames."""

from __future__ import annotations

import numpy as np
import pytest
from bundle_support import moving_shapes, textured_background

from streamad.preprocessing import BackgroundModel

SIZE = (96, 64)


def noisy(picture: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(picture + rng.normal(0, 1.5, picture.shape), 0, 255).astype(np.uint8)


def test_converges_to_the_temporal_median() -> None:
    crowded = ((0, 40), (100, 140), (200, 240), (300, 340))
    frames = np.stack(list(moving_shapes(400, (160, 120), shapes=2, busy=crowded)))
    median = np.median(frames, axis=0)
    model = BackgroundModel()
    errors = []
    for number, frame in enumerate(frames):
        model.difference(frame)
        if number in (40, 200, 399):
            assert model.image is not None
            errors.append(np.abs(model.image.astype(int) - median))
    assert errors[0].mean() > 2 * errors[1].mean() > 4 * errors[2].mean()
    # At one level in four frames, what walkers left behind in the warm-up is gone after 350 frames. The rest is
    # sensor noise; a temporal mean would keep a ghost of 20 levels.
    assert errors[2].mean() < 1
    assert np.quantile(errors[2], 0.98) <= 3
    assert errors[2].max() <= 15
    assert np.abs(frames.mean(axis=0) - median).max() > 15


def test_the_first_frame_differs_nowhere_and_becomes_the_background() -> None:
    model = BackgroundModel()
    assert model.image is None
    frame = textured_background(SIZE)
    assert not model.difference(frame).any()
    assert model.image is not None
    np.testing.assert_array_equal(model.image, frame)
    frame[:] = 0  # the model owns its picture
    assert model.image.any()


def test_people_of_the_first_frame_are_forgotten_within_the_warm_up() -> None:
    rng = np.random.default_rng(1)
    empty = textured_background(SIZE)
    occupied = empty.copy()
    occupied[10:50, 20:50] = 240  # 90 to 150 gray levels over the background
    model = BackgroundModel(warmup=32)
    for number in range(33):
        assert not model.is_warm
        model.difference(noisy(occupied if number < 2 else empty, rng))
    assert model.is_warm
    difference = model.difference(empty)
    assert difference.max() <= 15  # nothing there would move
    assert difference.mean() < 4


def test_the_steps_of_the_warm_up_shrink_to_one() -> None:
    model = BackgroundModel(warmup=32, period=4)
    # Half of the picture, so that the median of the difference stays 0 and the light is not followed.
    dark, half = np.zeros((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    half[:, :16] = 255
    model.difference(dark)
    levels = [0]
    for _ in range(40):
        model.difference(half)
        assert model.image is not None
        levels.append(int(model.image[0, 0]))
        assert not model.image[:, 16:].any()
    steps = np.diff(levels)
    assert (np.diff(steps[:31]) <= 0).all()  # never larger than the one before
    assert steps[:31].min() == 1
    assert steps[32:].max() == 1  # warm: one level ...
    assert steps[32:].sum() == 2  # ... every fourth frame


def test_an_object_that_stays_is_absorbed_in_the_documented_time() -> None:
    """40 gray levels at 10 frames a second: 16 s, by the docstring."""
    model = BackgroundModel(period=4)
    empty = np.full((64, 64), 100, np.uint8)
    parked = empty.copy()
    parked[20:40, 20:40] = 140
    for _ in range(40):
        model.difference(empty)
    differences = [int(model.difference(parked)[30, 30]) for _ in range(164)]
    assert differences[0] == 40
    assert differences[80] == 20
    assert differences[100 - 8] > 15  # still moving by the motion level of 15 after 9 s ...
    assert differences[104] <= 15  # ... and no more after 10.4 s
    assert differences[160] == 0
    # When it leaves, the place differs the other way and is forgotten as slowly.
    assert int(model.difference(empty)[30, 30]) == 40


@pytest.mark.parametrize("shift", [-60, -20, 8, 30, 60])
def test_a_global_change_of_light_moves_nothing(shift: int) -> None:
    rng = np.random.default_rng(2)
    empty = textured_background(SIZE)  # 90 to 150: no clipping
    model = BackgroundModel()
    for _ in range(40):
        model.difference(noisy(empty, rng))
    after = (empty.astype(int) + shift).astype(np.uint8)
    for _ in range(3):
        assert model.difference(noisy(after, rng)).max() <= 12


def test_a_change_of_light_hides_no_object() -> None:
    model = BackgroundModel()
    empty = textured_background(SIZE)
    for _ in range(40):
        model.difference(empty)
    brighter = empty + np.uint8(30)
    brighter[20:40, 30:50] = 20
    difference = model.difference(brighter)
    assert difference[20:40, 30:50].min() > 60
    difference[20:40, 30:50] = 0
    assert difference.max() <= 2


def test_a_person_is_seen_and_leaves_no_ghost() -> None:
    model = BackgroundModel()
    empty = np.full((64, 64), 100, np.uint8)
    for _ in range(40):
        model.difference(empty)
    for left in range(0, 54, 2):
        walker = empty.copy()
        walker[20:50, left : left + 10] = 30
        difference = model.difference(walker)
        assert difference[20:50, left : left + 10].min() >= 60
    assert model.difference(empty).max() <= 3


def test_another_size_starts_anew() -> None:
    model = BackgroundModel(warmup=4)
    for _ in range(10):
        model.difference(np.full((64, 64), 100, np.uint8))
    assert model.is_warm
    assert not model.difference(np.full((32, 64), 10, np.uint8)).any()
    assert not model.is_warm
    model.reset()
    assert model.image is None


@pytest.mark.parametrize("arguments", [{"period": 0}, {"warmup": 0}, {"period": -4}])
def test_impossible_settings_are_refused(arguments: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="at least 1 frame"):
        BackgroundModel(**arguments)
