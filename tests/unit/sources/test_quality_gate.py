"""The frame-quality gate: every fault is held back, and nothing else."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from quality_support import FPS, Picture, frames_of, gain, noisy, place, runs, shifted, spoiled, verdicts, watched

from streamad.frame import Frame, FrameFlags
from streamad.sources import FileSpec, ImagesSpec, open_source
from streamad.sources.quality import QualitySpec
from streamad.sources.quality.gate import QualityGate
from streamad.sources.quality.measures import Pixels, measure

RNG = np.random.default_rng(1)
GOOD, BAD = 120, 150


def shake(picture: Picture, _: int) -> Picture:
    return shifted(picture, RNG.normal(0, 3.5), RNG.normal(0, 3.5))


FAULTS: dict[str, tuple[str, float, Callable[[Picture, int], Picture]]] = {
    # what is done: the reason it must be given, the seconds after which it must be (0: at once)
    "black": ("dark", 0, lambda p, _: noisy(np.full_like(p, 4), RNG)),
    "a dead sensor": ("dark", 0, lambda p, _: np.zeros_like(p)),
    "over-exposed": ("washed_out", 0, lambda p, _: gain(p, 5, 60)),
    "a hand": ("covered", 0.2, lambda p, _: noisy(np.tile(np.linspace(60, 120, p.shape[1]), (p.shape[0], 1)), RNG)),
    "out of focus": ("blurred", 2, lambda p, _: cv2.GaussianBlur(p, (0, 0), 3.5)),
    "shaken": ("shaken", 0.2, shake),
    "shifted by 2 %": ("moved", 10, lambda p, _: shifted(p, 7, -3)),
    "turned by 4 degrees": ("moved", 10, lambda p, _: shifted(p, 0, turn=4)),
    "another view": ("moved", 10, lambda p, _: cv2.flip(p, -1)),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_every_fault_is_held_back_and_the_end_of_it_noticed(fault: str) -> None:
    reason, seconds, spoil = FAULTS[fault]
    found = verdicts(spoiled(GOOD, BAD, spoil))
    before, during, after = found[:GOOD], found[GOOD : GOOD + BAD], found[GOOD + BAD :]
    assert set(before) == {None}
    settled = during[round((seconds + 0.5) * FPS) :]
    assert settled.count(reason) >= 0.97 * len(settled), runs(during)
    assert None not in during if seconds == 0 else None not in settled
    assert set(after[round(1.5 * FPS) :]) == {None}, runs(after)


def test_a_frozen_picture_is_told_from_a_scene_at_rest() -> None:
    def freeze(picture: Picture, number: int) -> Picture:
        kept.setdefault("picture", picture)
        return kept["picture"]

    kept: dict[str, Picture] = {}
    found = verdicts(spoiled(GOOD, BAD, freeze, walkers=0))
    assert set(found[:GOOD]) == {None}  # nothing moves there, but the noise
    first = found.index("frozen")
    assert 10.0 <= (first - GOOD) / FPS <= 11.1
    assert set(found[first : GOOD + BAD]) == {"frozen"}
    assert set(found[GOOD + BAD :]) == {None}


def test_an_encoder_that_repeats_still_blocks_is_not_frozen_before_a_key_frame_says_so() -> None:
    """A thrifty encoder: between key frames every frame is the last one again, exactly; key frames carry new noise."""
    still, pictures = place(), []
    for number in range(400):
        if number % 150 == 0:  # a key frame every 15 s
            pictures.append(noisy(still, np.random.default_rng(number)))
        else:
            pictures.append(pictures[-1])
    gate = QualityGate()
    assert {gate.check(f).reason for f in frames_of(pictures, keys=150)} == {None}
    gate = QualityGate()
    frozen = [gate.check(f).reason for f in frames_of([pictures[0]] * 400, keys=150)]
    assert "frozen" not in frozen[:149]
    assert set(frozen[160:]) == {"frozen"}


def test_a_hung_sensor_that_is_still_encoded_is_frozen() -> None:
    """Key frames differ by a rounding here and there, far under the camera's own noise; a clock runs in a corner."""
    rng, live = np.random.default_rng(3), list(watched(300, walkers=0))
    hung = []
    for number in range(250):
        picture = live[-1].copy()
        picture[rng.random(picture.shape) < 0.02] += 1
        picture[:8, :40] = 255 * (number % 2)
        hung.append(picture)
    found = verdicts(live + hung)
    assert set(found[:300]) == {None}
    assert set(found[300 + 125 :]) == {"frozen"}


def test_a_step_of_light_is_held_for_a_moment_and_a_sunset_not_at_all() -> None:
    found = verdicts(spoiled(GOOD, 150, lambda p, _: gain(p, 1.5)))
    held = [number for number, reason in enumerate(found) if reason is not None]
    assert {found[k] for k in held} == {"light"}
    assert held[0] == GOOD
    assert len([k for k in held if k < GOOD + 100]) <= 2.0 * FPS  # then the picture is judged again
    # Ten minutes from day to dusk at one frame a second of the clock; the gate knows only seconds.
    dusk = verdicts((gain(p, 1 - 0.85 * k / 599, 2) for k, p in enumerate(watched(600))), fps=1.0)
    assert set(dusk) == {None}


def test_a_cloud_is_held_for_seconds_at_most() -> None:
    def cloud(picture: Picture, number: int) -> Picture:
        return gain(picture, 1 - 0.4 * min(1.0, number / FPS / 3))  # 40 % darker within three seconds

    found = verdicts(spoiled(GOOD, 300, cloud, after=0))
    assert set(found) <= {None, "light"}
    assert sum(reason is not None for reason in found) <= 5 * FPS


@pytest.mark.slow
def test_lights_that_go_out_for_good_are_the_new_usual_after_a_minute() -> None:
    # Enough is left to see the place by.
    found = verdicts(spoiled(GOOD, 900, lambda p, _: np.maximum(gain(p, 0.12), 1), after=0))
    assert found[GOOD] is not None
    assert set(found[GOOD + 750 :]) == {None}


@pytest.mark.slow
def test_a_lorry_that_parks_before_half_the_view_is_no_moved_camera() -> None:
    def park(picture: Picture, _: int) -> Picture:
        picture = picture.copy()
        picture[:, : picture.shape[1] // 2] = noisy(np.full_like(picture[:, : picture.shape[1] // 2], 90), RNG)
        return picture

    assert set(verdicts(spoiled(GOOD, 400, park, after=0))) == {None}


def test_the_place_is_remembered_across_a_restart() -> None:
    first = QualityGate()
    for frame in frames_of(watched(100)):
        first.check(frame)
    kept = first.reference
    assert kept is not None
    assert kept.shape == measure(Pixels(next(watched(1))).sample).thumb.shape
    again = QualityGate(reference=kept)
    assert {again.check(f).reason for f in frames_of(watched(100))} == {None}
    moved = QualityGate(reference=kept)
    found = [moved.check(f).reason for f in frames_of(shifted(p, 9, 3) for p in watched(200))]
    assert set(found[160:]) == {"moved"}
    other = QualityGate(reference=kept)
    assert {other.check(f).reason for f in frames_of(watched(100, seed=9))} == {None}
    assert other.is_other_view


def test_switches_and_gaps() -> None:
    black = [np.zeros((180, 320), np.uint8)] * 200
    assert set(verdicts(black, QualitySpec(enabled=False))) == {None}
    assert set(verdicts(black, QualitySpec(ignore=("dark", "frozen")))) == {None}
    # Repeats on both sides of a gap are not one frozen span; corrupt frames are held whatever they show.
    gate, still = QualityGate(), next(watched(1))
    frames = [
        Frame("cam", k, k / FPS, 0.0, still, FrameFlags.DISCONTINUITY if k % 90 == 0 else FrameFlags.KEY)
        for k in range(270)
    ]
    assert {gate.check(frame).reason for frame in frames} == {None}
    assert gate.check(Frame("cam", 270, 27.0, 0.0, still, FrameFlags.CORRUPT)).reason == "corrupt"
    assert QualityGate().check(Frame("cam", 0, 0.0, 0.0, np.zeros((30, 300), np.uint8))).reason is None


def _normal() -> list[list[FileSpec | ImagesSpec]]:
    root = Path(os.environ.get("STREAMAD_DATA", "/nowhere"))
    scenes: list[list[FileSpec | ImagesSpec]] = [[FileSpec(path=p)] for p in sorted((root / "videos").glob("*"))]
    scenes.append([FileSpec(path=p) for p in sorted((root / "avenue_official_sample").glob("*_videos/*.avi"))])
    for half in ("training", "testing"):
        scenes.append([ImagesSpec(path=p, fps=10) for p in sorted((root / "ped2" / half / "frames").glob("*"))[:3]])
    return [scene for scene in scenes if scene]


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not _normal(), reason="no data sets under STREAMAD_DATA")
def test_no_frame_of_real_normal_video_is_held_back() -> None:
    for scene in _normal():
        gate = QualityGate()
        for spec in scene:
            with open_source(spec, camera="cam") as source:
                held = [(frame.index, reason) for frame in source if (reason := gate.check(frame).reason) is not None]
            assert not held, (spec.path.name, held[:5])
