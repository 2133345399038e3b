"""What is kept of long video to fit to, and that every frame of it is scored by a model that was not shown its part."""

from __future__ import annotations

from itertools import chain

import numpy as np
import pytest
from motion_support import walkers, world

from streamad.detectors.motion.fitting import FOLDS, Fitted, Sample, fit
from streamad.detectors.motion.sampler import Describer, MotionSampler
from streamad.detectors.motion.training import motion_manifest
from streamad.frame import Frame

MANIFEST = motion_manifest("wall", data="squares", license="none", fps=10, max_height=160)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """16 s in which nothing moves, then 44 s in which squares pass."""
    still = list(world([], 16.0, fps=10))
    moving = world(walkers(44), 44.0, fps=10, first=len(still))
    return [*still, *(Frame("wall", f.index, 16 + f.pts_seconds, 0.0, f.pixels) for f in moving)]


@pytest.fixture(scope="module")
def described(frames: list[Frame]) -> list[Sample]:
    return list(Describer(MANIFEST).described(frames))


def gathered(frames: list[Frame], **limits: int) -> MotionSampler:
    gatherer = MotionSampler(MANIFEST, **limits)
    gatherer.feed(frames)
    return gatherer


def test_short_video_is_kept_whole(frames: list[Frame], described: list[Sample]) -> None:
    whole = gathered(frames)
    assert whole.is_whole
    assert [s.seconds for s in whole.samples] == [s.seconds for s in described]
    assert whole.described == len(described)
    assert whole.frames == len(frames)
    assert any(not len(s.values) for s in whole.samples)  # the still frames, too: they count for the threshold


@pytest.mark.parametrize("limits", [{"max_frames": 60}, {"max_patches": 3000}])
def test_of_long_video_a_sample_of_what_moves_is_kept_wherever_it_lies(
    frames: list[Frame], described: list[Sample], limits: dict[str, int]
) -> None:
    moving = {s.seconds: s for s in described if len(s.values)}
    kept = gathered(frames, **limits)
    samples = kept.samples
    assert not kept.is_whole
    assert kept.described == len(described)
    assert len(samples) <= limits.get("max_frames", 10**9)
    assert sum(len(s.values) for s in samples) <= limits.get("max_patches", 10**9)
    assert len(samples) > 30
    assert [s.seconds for s in samples] == sorted(s.seconds for s in samples)
    for sample in samples:  # none of a still frame, and each as it was
        np.testing.assert_array_equal(sample.values, moving[sample.seconds].values)
    # Early and late ones alike: the mean of the ranks of n of N is N/2, give or take N/√(12 n).
    ranks = np.searchsorted(sorted(moving), [s.seconds for s in samples]) / len(moving)
    assert abs(ranks.mean() - 0.5) < 4 / np.sqrt(12 * len(samples))
    assert [s.seconds for s in gathered(frames, **limits).samples] == [s.seconds for s in samples]


def spread_over(fitted: Fitted, samples: list[Sample]) -> np.ndarray:
    return np.array([score for _, score in fitted.scored(samples)])


def test_a_frame_is_scored_as_the_fit_scored_it(described: list[Sample]) -> None:
    """Scoring the stream is a second way to what `fit` says of its own samples."""
    fitted = fit(described, (160, 240))
    np.testing.assert_allclose(spread_over(fitted, described), fitted.scores, atol=1e-4)
    assert len(fitted.others) == len(fitted.parts) == FOLDS


def test_frames_that_were_not_kept_are_scored_by_a_model_of_other_parts(described: list[Sample]) -> None:
    moving = [s for s in described if len(s.values)]
    kept, left_out = moving[::2], moving[1::2]
    fitted = fit(kept, (160, 240))
    by_part = np.searchsorted([seconds for _, seconds in fitted.parts], [s.seconds for s in left_out], side="right") - 1
    for k in (0, len(left_out) // 2, len(left_out) - 1):
        model = fitted.others[max(0, by_part[k])]
        evidence = np.sort(model.evidence(model.measures(left_out[k].values)).max(axis=1))[-5:]
        score = spread_over(fitted, left_out)[k]
        assert score == pytest.approx((evidence.sum() + (5 - len(evidence)) * evidence.min()) / 5, abs=1e-4)
    # Neighbors in time look alike: what the half that was kept scores, the other half scores.
    assert np.median(spread_over(fitted, left_out)) == pytest.approx(np.median(fitted.scores), rel=0.25, abs=0.1)


def test_parts_are_whole_clips_where_there_are_many(described: list[Sample]) -> None:
    moving = [s for s in described if len(s.values)]
    pieces = [moving[k::9] for k in range(9)]
    clips = [[Sample(s.values, 3 * k, s.seconds) for s in piece] for k, piece in enumerate(pieces)]
    fitted = fit(list(chain.from_iterable(clips)), (160, 240))
    assert all(seconds == 0 for _, seconds in fitted.parts)
    assert {clip for clip, _ in fitted.parts} <= {3 * k for k in range(9)}
    # A clip of which nothing was kept has a model all the same.
    assert len(spread_over(fitted, [Sample(moving[0].values, 4, 0.0)])) == 1
