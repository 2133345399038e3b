"""What zones leave out does not exist: not for scores, not for events, not for what is learned."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from bundle_support import THRESHOLD, WARMUP, moving_shapes, small_manifest
from motion_support import walkers, world

from streamad.bundle import InputSpec, Manifest, ScoreSpec, TilingSpec, TrainingRecord
from streamad.calibration import AlertPolicySpec
from streamad.detectors.learned_noise.scorer import LearnedNoiseScorer
from streamad.detectors.motion.sampler import MotionSampler
from streamad.detectors.motion.training import motion_manifest
from streamad.detectors.patch_scorer import PatchScorer
from streamad.detectors.zoned_scorer import CurrentZones, ZonedScorer
from streamad.frame import Frame
from streamad.inference.model import open_model
from streamad.inference.session import ScoredFrame, Session
from streamad.sources.quality import QualitySpec
from streamad.training.patch_sampler import PatchSampler
from streamad.training.plan import TrainingPlan
from streamad.zones import Zones, ZoneSpec

LEFT = ZoneSpec(name="left", type="exclude", polygon=((0, 0), (0.5, 0), (0.5, 1), (0, 1)))
RIGHT = ZoneSpec(name="right", polygon=((0.5, 0), (1, 0), (1, 1), (0.5, 1)))
ALL = ZoneSpec(name="all", polygon=((0, 0), (1, 0), (1, 1), (0, 1)))


def clip(*, spoiled: bool = False) -> list[Frame]:
    """120 frames of 240×120 pixels; `spoiled`: with noise on a part of the left half, two patches from its border."""
    rng = np.random.default_rng(1)
    frames = []
    for index, picture in enumerate(moving_shapes(120, (240, 120), shapes=4)):
        pixels = picture.copy()
        if spoiled:
            pixels[20:100, 10:60] = rng.integers(0, 256, (80, 50), np.uint8)
        frames.append(Frame("cam", index, index / 25, 0.0, pixels))
    return frames


def results(bundle: Path, frames: list[Frame], *zones: ZoneSpec) -> list[ScoredFrame]:
    policy = AlertPolicySpec(min_duration_seconds=0.2).at(THRESHOLD, baseline=-10)
    with open_model(bundle) as model:
        session = Session(model, policy, zones=zones, quality=QualitySpec(enabled=False))
        return list(session.run(frames))


def scores(found: list[ScoredFrame]) -> list[float]:
    return [result.score.score for result in found]


def test_what_happens_in_a_mask_changes_no_score(small_bundle: Path) -> None:
    plain, spoiled = (results(small_bundle, clip(spoiled=s), LEFT) for s in (False, True))
    np.testing.assert_array_equal(scores(plain), scores(spoiled))
    np.testing.assert_array_equal(plain[-1].score.anomaly_map, spoiled[-1].score.anomaly_map)
    assert scores(results(small_bundle, clip())) != scores(results(small_bundle, clip(spoiled=True)))


def test_a_zone_of_the_whole_picture_changes_nothing(small_bundle: Path) -> None:
    np.testing.assert_array_equal(scores(results(small_bundle, clip(), ALL)), scores(results(small_bundle, clip())))


def test_no_event_comes_from_a_mask_and_others_name_their_zone(small_bundle: Path) -> None:
    still = [frame for frame in clip() if frame.index < 40]
    still = [Frame("cam", k, k / 25, 0.0, still[0].pixels) for k in range(80)]
    moved = []
    for frame in still:
        pixels = frame.pixels.copy()
        if frame.index >= 40:
            pixels[45:75, 160 + frame.index % 20 : 190 + frame.index % 20] = 240
        moved.append(Frame("cam", frame.index, frame.pts_seconds, 0.0, pixels))
    events = [c.event for result in results(small_bundle, moved, LEFT, RIGHT) for c in result.changes]
    assert {event.zone for event in events} == {"right"}
    assert {event.id for event in results(small_bundle, moved, RIGHT)[-1].changes} == set()
    hidden = RIGHT.model_copy(update={"type": "exclude"})
    assert not [c for result in results(small_bundle, moved, hidden) for c in result.changes]


def test_zones_may_change_between_two_frames(small_bundle: Path) -> None:
    frames = clip(spoiled=True)
    with open_model(small_bundle) as model:
        session = Session(model, zones=[LEFT], quality=QualitySpec(enabled=False))
        first = [r.score.score for frame in frames[:60] for r in session.push(frame)]
        session.zones = ()
        second = [r.score.score for frame in frames[60:] for r in session.push(frame)]
    np.testing.assert_array_equal(first, scores(results(small_bundle, frames, LEFT))[:60])
    np.testing.assert_array_equal(second, scores(results(small_bundle, frames))[60:])


def test_a_zone_may_ask_for_a_duration() -> None:
    zone = RIGHT.model_copy(update={"min_duration_seconds": 1.0})
    manifest = small_manifest(lags=(0,))
    scorer = ZonedScorer(PatchScorer(manifest), manifest, CurrentZones(Zones([zone, LEFT])))
    found: dict[float, float] = {}
    for index in range(WARMUP + 120):
        seconds = (index - WARMUP) / 25
        pixels = np.full((90, 120), 100, np.uint8)
        if seconds >= 1:
            pixels[:30, 60:90] = 200
        tiles = scorer.preprocess(Frame("cam", index, index / 25, 0.0, pixels))
        assert tiles is not None
        missed = round(seconds * 25) % 10 == 0  # as networks miss a thing in some frames
        output = 0.1 if missed else 0.9
        found[seconds] = scorer.score(tiles, np.full(len(tiles.batch), output, np.float32)).score
    assert {score for seconds, score in found.items() if 0.2 < seconds < 1.7} == {-10.0}
    assert found[2.36] == pytest.approx(0.9)


def windows() -> Manifest:
    return Manifest(
        format_version=1,
        name="windows",
        detector="learned_noise",
        description="for tests",
        input=InputSpec(channels=16, height=32, width=48, scale=127.5, offset=-1.0, resizer="linear"),
        tiling=TilingSpec(kind="clips", window=16),
        score=ScoreSpec(kind="psnr", frame=8, peak=1.0, heat_cell=8),
        training=TrainingRecord(data="-", license="-", frames=0, fps=25, seed=0, epochs=0, checkpoint="-"),
        parameters=1,
        files={},
    )


@pytest.mark.parametrize("anomaly", [0.0, 3.0])
def test_a_frames_error_is_that_of_its_visible_part(anomaly: float) -> None:
    current = CurrentZones(Zones([LEFT]))
    scorer = ZonedScorer(LearnedNoiseScorer(windows()), windows(), current)
    inputs = [scorer.preprocess(Frame("cam", k, k / 25, 0.0, np.full((60, 90), 9, np.uint8))) for k in range(16)]
    errors = np.random.default_rng(0).uniform(0.01, 0.02, (4, 6)).astype(np.float32)
    errors[1:3, 0:2] += anomaly
    outputs = np.concatenate([[errors.mean()], errors.ravel()])[None].astype(np.float32)
    assert inputs[-1] is not None
    score = scorer.score(inputs[-1], outputs)
    assert score.score == pytest.approx(10 * math.log10(errors[:, 3:].mean()), rel=1e-6)
    assert score.anomaly_map is not None
    assert np.isnan(score.anomaly_map[:, :3]).all()
    np.testing.assert_array_equal(score.anomaly_map[:, 3:], errors[:, 3:])


def test_the_motion_detector_learns_nothing_in_a_mask(tmp_path: Path) -> None:
    manifest = motion_manifest(TrainingPlan("wall", "squares", "none", 10, "motion", max_height=160))
    states = []
    for zones in ((), (LEFT,)):
        with MotionSampler(manifest, tmp_path, zones=zones) as sampler:
            sampler.feed(world(walkers(8), 8))
            states.append((sampler.moments, sampler.sample(), sampler.counts.sum()))
    (whole, (kept, _, cells), _), (masked, (left, _, left_cells), count) = states
    assert whole is not None
    assert masked is not None
    rows, cols = whole.counts.shape
    is_hidden = (np.arange(cols) + 0.5) / cols < 0.5
    assert whole.counts[:, is_hidden].sum() > 0
    assert masked.counts[:, is_hidden].sum() == 0
    np.testing.assert_array_equal(masked.counts[:, ~is_hidden], whole.counts[:, ~is_hidden])
    np.testing.assert_array_equal(masked.squares[:, ~is_hidden], whole.squares[:, ~is_hidden])
    np.testing.assert_array_equal(left, kept[~is_hidden[cells % cols]])
    np.testing.assert_array_equal(left_cells, cells[~is_hidden[cells % cols]])
    assert count == whole.counts[:, ~is_hidden].sum()
    assert rows == 10


def test_patch_detectors_learn_nothing_in_a_mask() -> None:
    frames = clip()
    hidden = PatchSampler((0,), max_cells=100_000, seed=1, zones=[LEFT])
    hidden.feed(frames)
    plain = PatchSampler((0,), max_cells=100_000, seed=1)
    plain.feed(frames)
    spoiled = PatchSampler((0,), max_cells=100_000, seed=1, zones=[LEFT])
    spoiled.feed(clip(spoiled=True))
    assert 0 < hidden.seen < plain.seen
    np.testing.assert_array_equal(hidden.stacks(), spoiled.stacks())
