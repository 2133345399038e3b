"""Rendered frames without encoding: boxes, masks, optical flow and speeds, each measured from the pixels."""

from __future__ import annotations

import itertools
from functools import cache

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from streamad.errors import UsageError
from streamad.synthetic_scene import SceneFrame, iterate_frames
from streamad.synthetic_scene.stage import VISIBLE_FRACTION

SIZE = (400, 224)


@cache
def _clip(kind: str) -> tuple[SceneFrame, ...]:
    return tuple(iterate_frames(seed=7, size=SIZE, seconds=24.0, fps=10.0, anomalies=[kind]))


def _gray(frame: SceneFrame) -> npt.NDArray[np.uint8]:
    return np.asarray(cv2.cvtColor(frame.pixels, cv2.COLOR_RGB2GRAY), dtype=np.uint8)


def test_the_same_seed_renders_the_same_frames() -> None:
    first, second = (
        list(itertools.islice(iterate_frames(seed=5, size=(320, 180), seconds=30, anomalies=["cart"]), 25))
        for _ in "ab"
    )
    for a, b in zip(first, second, strict=True):
        assert np.array_equal(a.pixels, b.pixels)
        assert a.sightings == b.sightings
        assert a.walkers == b.walkers


def test_seeds_are_different_places_and_videos_of_a_seed_the_same_place() -> None:
    def empty(seed: int, video: int) -> npt.NDArray[np.float64]:
        frames = iterate_frames(seed=seed, size=(320, 180), seconds=4, fps=3, part="training", video=video)
        return np.median([_gray(frame) for frame in frames], axis=0)

    here, also_here, elsewhere = empty(5, 0), empty(5, 1), empty(6, 0)
    same, other = np.median(np.abs(here - also_here)), np.median(np.abs(here - elsewhere))
    assert other > 5 * max(same, 1.0)
    first, second = (
        next(iter(iterate_frames(seed=5, size=(320, 180), seconds=2, part="training", video=v))) for v in (0, 1)
    )
    assert first.walkers != second.walkers


def test_frames_have_the_promised_form() -> None:
    frames = list(iterate_frames(seed=2, size=(320, 240), seconds=1.6, fps=10, part="training"))
    assert [frame.index for frame in frames] == list(range(16))
    assert [frame.seconds for frame in frames] == pytest.approx([k / 10 for k in range(16)])
    assert all(frame.pixels.shape == (240, 320, 3) and frame.pixels.dtype == np.uint8 for frame in frames)
    assert all(frame.label == 0 and frame.mask is None for frame in frames)


def test_a_training_video_holds_no_anomaly_even_where_some_are_asked_for() -> None:
    frames = iterate_frames(seed=2, size=(320, 180), seconds=3, part="training", anomalies=["cart"])
    assert not any(frame.label for frame in frames)


def test_more_events_than_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="do not fit"):
        next(iter(iterate_frames(seed=2, size=(320, 180), seconds=10)))


@pytest.mark.parametrize(
    "kind",
    ["cart", "object_left", *(pytest.param(k, marks=pytest.mark.slow) for k in ("cyclist", "runner", "against_flow"))],
)
def test_an_anomaly_is_seen_where_its_mask_and_box_are(kind: str) -> None:
    frames = _clip(kind)
    labels = np.array([frame.label for frame in frames])
    assert 2.5 * 10 < labels.sum() < 0.8 * labels.size
    # Contiguous but for moments in which something hides it.
    seen = np.flatnonzero(labels)
    assert labels[seen[0] : seen[-1] + 1].mean() > 0.9
    background = np.median([_gray(frame) for frame in frames[:: len(frames) // 40]], axis=0)
    contrasts = []
    for frame in frames:
        if not frame.label:
            assert frame.mask is None
            continue
        (sighting,) = frame.sightings
        assert sighting.kind == kind
        assert VISIBLE_FRACTION <= sighting.visible <= 1
        assert frame.mask is not None
        rows, columns = np.nonzero(frame.mask)
        x0, y0, x1, y1 = sighting.box
        assert 0 <= x0 < x1 <= SIZE[0]
        assert 0 <= y0 < y1 <= SIZE[1]
        assert columns.min() >= x0 - 1.5
        assert columns.max() <= x1 + 1.5
        assert rows.min() >= y0 - 1.5
        assert rows.max() <= y1 + 1.5
        difference = np.abs(_gray(frame).astype(float) - background)
        inside = difference[frame.mask].mean()
        contrasts.append(inside / np.median(difference))
    assert np.median(contrasts) > 4
    unhidden = [f for f in frames if f.label and f.sightings[0].visible > 0.98]
    assert unhidden
    for frame in unhidden:
        assert frame.mask is not None
        rows, columns = np.nonzero(frame.mask)
        extent = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(extent, frame.sightings[0].box, atol=2.5)


def _flow_inside(before: SceneFrame, after: SceneFrame, boxes: list[tuple[float, ...]]) -> list[float]:
    """Median horizontal optical flow of the moving pixels in each box, pixels a frame."""
    flow = cv2.calcOpticalFlowFarneback(_gray(before), _gray(after), None, 0.5, 4, 15, 3, 5, 1.2, 0)  # type: ignore[call-overload]
    speeds = []
    for x0, y0, x1, y1 in boxes:
        patch = flow[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1]
        moving = patch[np.hypot(patch[..., 0], patch[..., 1]) > 0.5]
        if len(moving) > 20:
            speeds.append(float(np.median(moving[:, 0])))
    return speeds


def test_optical_flow_of_a_walker_against_the_flow_is_opposite_to_all_others() -> None:
    frames = _clip("against_flow")
    with_flow: list[float] = []
    against: list[float] = []
    for before, after in itertools.pairwise(frames[::1]):
        if not before.label or before.index % 3:
            continue
        box = before.sightings[0].box
        apart = [
            w
            for w in before.walkers
            if w[2] - w[0] > 5 and (w[2] < box[0] - 6 or w[0] > box[2] + 6) and w[3] - w[1] > 20
        ]
        with_flow += _flow_inside(before, after, list(apart))
        near = [w for w in before.walkers if w[2] > box[0] - 6 and w[0] < box[2] + 6]
        if not near:
            against += _flow_inside(before, after, [box])
    assert len(with_flow) > 50
    assert len(against) > 10
    direction = np.sign(np.median(with_flow))
    assert np.mean(np.sign(with_flow) == direction) > 0.9
    assert np.mean(np.sign(against) == -direction) > 0.9


def _walker_speeds(frames: tuple[SceneFrame, ...]) -> list[float]:
    """Body heights a second of every walker that is whole in the picture for two seconds."""
    tracks: dict[int, list[tuple[float, float, float]]] = {}
    for frame in frames:
        for identity, (x0, y0, x1, y1) in zip(frame.walker_ids, frame.walkers, strict=True):
            if x0 > 2 and x1 < SIZE[0] - 2 and y0 > 2 and y1 < SIZE[1] - 2:
                tracks.setdefault(identity, []).append((frame.seconds, (x0 + x1) / 2, y1 - y0))
    return [_speed(track) for track in tracks.values() if len(track) > 20]


def _speed(track: list[tuple[float, float, float]]) -> float:
    seconds, x, tall = np.array(track).T
    return float(abs(np.polyfit(seconds, x, 1)[0]) / np.median(tall))


@pytest.mark.parametrize(("kind", "low", "high"), [("runner", 2.0, 3.3), ("cyclist", 2.3, 4.0)])
def test_runner_and_cyclist_are_as_many_times_faster_than_the_walkers_as_stated(
    kind: str, low: float, high: float
) -> None:
    frames = _clip(kind)
    whole = [
        (f.seconds, (f.sightings[0].box[0] + f.sightings[0].box[2]) / 2, f.sightings[0].box[3] - f.sightings[0].box[1])
        for f in frames
        if f.label and f.sightings[0].box[0] > 2 and f.sightings[0].box[2] < SIZE[0] - 2
    ]
    walkers = _walker_speeds(frames)
    assert len(walkers) >= 5
    assert low < _speed(whole) / np.median(walkers) < high


def test_walkers_are_one_to_three_cells_tall() -> None:
    for seed in (1, 3, 12):
        frames = iterate_frames(seed=seed, size=SIZE, seconds=4, fps=2, part="training")
        talls = [(b[3] - b[1]) * 360 / SIZE[1] for f in frames for b in f.walkers if b[0] > 2 and b[2] < SIZE[0] - 2]
        assert talls
        assert min(talls) > 18
        assert max(talls) < 108


def test_noise_is_there_is_small_and_grows_with_the_signal() -> None:
    frames = [
        _gray(f).astype(np.float64) for f in iterate_frames(seed=1, size=(320, 180), seconds=4, fps=10, part="training")
    ]
    noise = np.std(np.diff(frames, axis=0), axis=0) / np.sqrt(2)
    level = np.median(frames, axis=0)
    still = noise < 6
    assert still.mean() > 0.6
    assert 0.5 < np.median(noise[still]) < 4.5
    dark, bright = np.quantile(level[still], [0.2, 0.8])
    assert np.median(noise[still & (level >= bright)]) > np.median(noise[still & (level <= dark)])


def test_the_light_drifts_slowly_and_little() -> None:
    means = [f.pixels[:40].mean() for f in iterate_frames(seed=1, size=(320, 180), seconds=60, fps=1, part="training")]
    assert 0.002 < np.ptp(means) / np.mean(means) < 0.09
    assert np.abs(np.diff(means)).max() / np.mean(means) < 0.012
