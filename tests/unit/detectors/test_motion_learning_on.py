"""A motion model is learned on from where it was, as if all video had been read at once."""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from motion_support import Square, walkers, world
from safetensors.numpy import load_file

from streamad.bundle import Bundle, load_bundle
from streamad.calibration import AlertPolicySpec, Calibration
from streamad.calibration.false_alarms import FalseAlarm
from streamad.detectors import Fit
from streamad.detectors.motion import DETECTOR
from streamad.detectors.motion.density import MotionModel
from streamad.detectors.motion.fitting import fit
from streamad.detectors.motion.layout import CELL, LENGTH, PLACE, STAY
from streamad.detectors.motion.sampler import NORMAL, PER_CELL, MotionSampler, NormalState, ScoredPart
from streamad.detectors.motion.training import KNOWN_SHARE, _newest, fit_motion_bundle, motion_manifest
from streamad.errors import BundleError, UsageError
from streamad.frame import Frame
from streamad.inference import open_model
from streamad.inference.session import ScoredFrame, Session
from streamad.preprocessing import ModelInput
from streamad.training.plan import TrainingPlan
from streamad.training.watched import ALERT, EXAMPLE, FRAME, WatchedVideo, block_of, header_of
from streamad.workflows.fit import calibrate_fit
from streamad.workflows.learn_on.recorder import WatchedRecorder

RULES = AlertPolicySpec()
PLAN = TrainingPlan("wall", "squares", "not stated", 10, "motion")


@cache
def to_the_right(seed: int = 0, seconds: float = 44.0) -> list[Frame]:
    return list(world(walkers(seconds, seed=seed), seconds, fps=10, seed=seed))


@cache
def to_the_left(seed: int = 0, seconds: float = 44.0) -> list[Frame]:
    squares = [Square(s.start, s.top, 240, -s.right, seed=k) for k, s in enumerate(walkers(seconds, seed=seed))]
    return list(world(squares, seconds, fps=10, seed=seed))


def learned(folder: Path, frames: Iterable[Frame]) -> Fit:
    return fit_motion_bundle(PLAN, [lambda: iter(frames)], folder)


def record(bundle: Bundle, frames: Iterable[Frame], folder: Path, threshold: float = 1e4) -> None:
    """Watch the frames with the model, with alerts from this threshold on, and keep what it sees."""
    recorder = WatchedRecorder(folder, model_sha256=bundle.sha256, length=LENGTH, wall_clock=lambda: datetime.now(UTC))
    policy = RULES.at(threshold, baseline=0.0)

    def take(seen: ModelInput, result: ScoredFrame) -> None:
        recorder.take(seen, result, policy, in_alert=session.open_event is not None)

    with open_model(bundle) as model, Session(model, policy, camera="wall") as session:
        session.on_input = take
        list(session.run(frames))
    recorder._block += recorder._waiting  # nothing comes after them
    recorder.flush()


def scores(bundle: Bundle, frames: Iterable[Frame]) -> np.ndarray:
    with open_model(bundle) as model, Session(model, camera="wall") as session:
        found = np.array([result.score.score for result in session.run(frames)])
    return found[np.isfinite(found)]


@pytest.fixture(scope="module")
def right(tmp_path_factory: pytest.TempPathFactory) -> Fit:
    return learned(tmp_path_factory.mktemp("right") / "wall", to_the_right())


@pytest.fixture(scope="module")
def both(right: Fit, tmp_path_factory: pytest.TempPathFactory) -> Fit:
    """Learned on from what moves to the left, none of which was an alert."""
    folder = tmp_path_factory.mktemp("both")
    record(right.bundle, to_the_left(), folder / "watched")
    return DETECTOR.learn_on(right.bundle, folder / "watched", folder / "next")


def test_the_state_is_read_back(right: Fit, tmp_path: Path) -> None:
    state = NormalState.load(right.bundle.path / NORMAL)
    state.save(tmp_path / "again.npz")
    again = NormalState.load(tmp_path / "again.npz")
    assert (again.sizes == state.sizes).all()
    assert (again.kept == state.kept).all()
    assert (again.moments.squares == state.moments.squares).all()
    assert all((a == b).all() for a, b in zip(again.moments.squares, state.moments.squares, strict=True))
    (part,) = again.parts
    assert (again.fps, again.seconds, part.known) == (10.0, state.seconds, state.seconds)
    np.testing.assert_allclose(part.scores, right.scores[0], rtol=1e-3)
    assert np.isnan(part.ceilings).all()
    assert state.sizes.sum() == np.minimum(state.moments.counts, PER_CELL).sum() > 1000
    assert NORMAL in right.bundle.manifest.files
    assert right.bundle.manifest.training.options["seconds"] == pytest.approx(state.seconds, abs=0.1)
    assert DETECTOR.learns_on(right.bundle)


def test_going_on_from_a_state_samples_as_one_pass_does(right: Fit, both: Fit, tmp_path: Path) -> None:
    state = NormalState.load(both.bundle.path / NORMAL)
    manifest = motion_manifest(PLAN)
    with MotionSampler(manifest, tmp_path) as sampler:
        sampler.feed(to_the_right())
        sampler.feed(to_the_left())
        once = fit(sampler)
        values = np.concatenate([part for _, part in sampler.read()])
    expected = sampler.moments
    assert expected is not None
    np.testing.assert_array_equal(state.moments.counts, expected.counts)
    np.testing.assert_allclose(state.moments.squares, expected.squares, rtol=1e-9)
    np.testing.assert_array_equal(state.sizes, np.minimum(expected.counts, PER_CELL))
    model = load_bundle(both.bundle.path)
    assert model.manifest.training.frames == 2 * right.bundle.manifest.training.frames - 2  # those without a score
    # What is normal is the same, though it was sampled apart.
    network = MotionModel(**load_file(model.weights_path))
    np.testing.assert_allclose(network.usual[:, 2:], once.model.usual[:, 2:], rtol=1e-5)
    # What was known before is one stretch, so the surprise of a place is judged by other examples.
    np.testing.assert_allclose(network.usual[:, :2], once.model.usual[:, :2], atol=0.1)
    got, wanted = (np.quantile(m(values)[:, 0], [0.5, 0.9, 0.99]) for m in (network, once.model))
    np.testing.assert_allclose(got, wanted, rtol=0.1)


def test_every_moment_is_as_likely_to_be_kept_over_several_passes(tmp_path: Path) -> None:
    """The share of a cell's candidates that a part of the video has is the part's share of the descriptors."""
    manifest = motion_manifest(PLAN)
    state, shares = None, []
    for part in range(3):
        with MotionSampler(manifest, tmp_path, state=state) as sampler:
            if state is None:
                sampler._begin((2, 2))
            for frame in range(1000):
                values = np.full((4, LENGTH), part, np.float32)
                values[:, STAY] = 0
                sampler._sample(np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.intp), values, frame)
            state = sampler.state((), fps=10, seconds=100.0 * (part + 1))
            shares.append(np.bincount(state.kept[:, 0].astype(int), minlength=3) / len(state.kept))
    sd = np.sqrt(2 / 9 / (4 * PER_CELL))
    assert np.abs(shares[2] - 1 / 3).max() < 4 * sd
    assert np.abs(shares[1] - [0.5, 0.5, 0]).max() < 4 * 1.1 * sd


def test_a_movement_that_was_new_is_normal_after_learning_on(right: Fit, both: Fit) -> None:
    before, after = calibrate_fit(right, source="a"), calibrate_fit(both, source="b")
    assert np.quantile(scores(right.bundle, to_the_left(1)), 0.9) > before.threshold
    assert np.quantile(scores(both.bundle, to_the_left(1)), 0.99) < after.threshold
    assert np.quantile(scores(both.bundle, to_the_right(1)), 0.99) < after.threshold  # nothing is forgotten
    # The threshold rests on all of it: what was new is scored by other stretches that show it.
    assert after.duration_seconds == pytest.approx(2 * before.duration_seconds, rel=0.01)
    assert after.threshold < before.threshold * 1.5


def test_an_alert_teaches_nothing_and_counts_once(right: Fit, tmp_path: Path) -> None:
    threshold = calibrate_fit(right, source="a").threshold
    record(right.bundle, [*to_the_right(2), *later(to_the_left(seconds=20.0), 440)], tmp_path / "watched", threshold)
    fitted = DETECTOR.learn_on(right.bundle, tmp_path / "watched", tmp_path / "next")
    assert fitted.ceilings is not None
    limits = np.concatenate(fitted.ceilings)
    assert np.unique(limits[~np.isnan(limits)]) == pytest.approx([threshold], rel=1e-6)
    assert np.count_nonzero(~np.isnan(limits)) > 50
    calibration = calibrate_fit(fitted, source="b")
    assert calibration.threshold < 1.5 * threshold
    assert np.quantile(scores(fitted.bundle, to_the_left(1)), 0.9) > calibration.threshold
    # A later pass still knows what was an alert.
    kept = [part.ceilings for part in NormalState.load(fitted.bundle.path / NORMAL).parts]
    np.testing.assert_allclose(np.concatenate(kept), limits, rtol=1e-6)


def test_a_false_alarm_is_learned_and_no_longer_limits_the_threshold(right: Fit, tmp_path: Path) -> None:
    """What moved to the left was an alert all the time, and the operator said that it was none."""
    threshold = calibrate_fit(right, source="a").threshold
    frames = [*to_the_right(2), *later(to_the_left(), 440)]
    record(right.bundle, frames, tmp_path / "watched", threshold)
    alarm = FalseAlarm(time.time() - 25.0, 43.0, 89.0)  # the first block of frames was written when 25 s were played
    fitted = DETECTOR.learn_on(right.bundle, tmp_path / "watched", tmp_path / "next", false_alarms=[alarm])
    assert fitted.ceilings is not None
    after = calibrate_fit(fitted, source="b")
    assert np.quantile(scores(fitted.bundle, to_the_left(1)), 0.99) < after.threshold
    assert np.quantile(scores(right.bundle, to_the_left(1)), 0.9) > threshold


def later(frames: list[Frame], by: int) -> list[Frame]:
    return [Frame(f.camera, f.index + by, f.pts_seconds + by / 10, 0.0, f.pixels) for f in frames]


def test_scores_of_a_model_that_knew_little_no_longer_count(right: Fit) -> None:
    """Each pass doubles what is known: 10, 20, 40, … seconds, of which the newest three count."""
    state = NormalState.load(right.bundle.path / NORMAL)
    state = replace(state, parts=(part_of(100, 10.0),), seconds=10.0)
    for total in (20.0, 40.0, 80.0, 160.0):
        fresh = [part_of(round(total * 10 / 4), total) for _ in range(2)]
        kept = _newest(state, fresh, total)
        state = replace(state, parts=tuple(kept), seconds=total)
        assert min(part.known for part in kept) == max(10.0, KNOWN_SHARE * total)
        assert kept[-2:] == fresh
    assert sum(len(part.scores) for part in kept) / 10 == 20 + 40 + 80
    days = tuple(part_of(864_000, 160.0) for _ in range(4))
    assert len(_newest(replace(state, parts=days), fresh, 160.0)) == 2 + 2  # three days in all, with the new ones


def part_of(frames: int, known: float) -> ScoredPart:
    return ScoredPart(np.zeros(frames), np.full(frames, np.nan), known)


def test_a_quiet_night_is_learned_from_too(right: Fit, tmp_path: Path) -> None:
    record(right.bundle, world([], 30.0, fps=10), tmp_path / "watched")
    fitted = DETECTOR.learn_on(right.bundle, tmp_path / "watched", tmp_path / "next")
    before, after = calibrate_fit(right, source="a"), calibrate_fit(fitted, source="b")
    assert after.threshold == pytest.approx(before.threshold, rel=0.3)
    assert isinstance(after, Calibration)


def test_what_cannot_be_learned_on_says_so(right: Fit, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no watched video"):
        DETECTOR.learn_on(right.bundle, tmp_path / "nothing", tmp_path / "next")
    (tmp_path / NORMAL).write_bytes(b"PK")
    with pytest.raises(BundleError, match="does not hold what the model was learned from"):
        NormalState.load(tmp_path / NORMAL)


def test_watched_video_and_earlier_video_show_how_long_things_stay(tmp_path: Path) -> None:
    manifest, grid = motion_manifest(PLAN), (2, 2)

    def stay(row: int, col: int, seconds: float) -> np.ndarray:
        values = np.zeros((1, LENGTH), np.float16)
        values[0, PLACE], values[0, STAY] = ((row + 0.5) * CELL, (col + 0.5) * CELL), seconds
        return values

    with MotionSampler(manifest, tmp_path) as sampler:
        sampler._begin(grid)
        sampler._sample(np.array([[1, 1]], np.intp), stay(1, 1, 7.0).astype(np.float32), 0)
        part = ScoredPart(np.zeros(5), np.full(5, np.nan), 100.0)
        sampler.state([part], fps=10, seconds=100.0).save(tmp_path / NORMAL)
    noted = [
        (EXAMPLE, 0, 0, 4.0),
        (EXAMPLE, 0, 1, 5.0),
        (ALERT, 0, 1, 20.0),
        (EXAMPLE, 0, 1, 90.0),
        (EXAMPLE, 0, 0, 8.0),
    ]
    frames = np.zeros(len(noted), FRAME)
    frames["seconds"], frames["inputs"], frames["flags"] = np.arange(len(noted)), 1, [flag for flag, *_ in noted]
    header = header_of(length=LENGTH, grid=grid, model_sha256="0" * 64, zero_unix_seconds=0.0)
    (tmp_path / "an-hour.watched").write_bytes(header + block_of(frames, [stay(*rest) for _, *rest in noted]))
    with MotionSampler(manifest, tmp_path, state=NormalState.load(tmp_path / NORMAL)) as sampler:
        sampler.watch(WatchedVideo(tmp_path, length=LENGTH, grid=grid))
        found = {(int(cell), float(seconds)) for cell, seconds in sampler.stays}
        assert found == {(0, 8.0), (3, 7.0)}  # not the stay that an alert touched
        assert sampler.runs.tolist() == [[4.0, 4.0]]
        assert sampler.moments is not None
        assert sampler.moments.counts.sum() == 0
