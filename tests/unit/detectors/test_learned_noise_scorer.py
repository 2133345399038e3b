"""From frames to learned noise's scores: which frame a window scores, and what has no score."""

from __future__ import annotations

import math
from collections.abc import Iterable

import cv2
import numpy as np
import pytest

from streamad.bundle import InputSpec, Manifest, ScoreSpec, TilingSpec, TrainingRecord
from streamad.detectors.learned_noise.scorer import LearnedNoiseScorer
from streamad.errors import BundleError
from streamad.frame import Frame, FrameFlags
from streamad.preprocessing import FrameSizeError
from streamad.scoring import FrameScore

HEIGHT, WIDTH = 32, 48


def manifest(median: int = 1, kind: str = "psnr", channels: int = 16) -> Manifest:
    return Manifest(
        format_version=1,
        name="windows",
        detector="learned_noise",
        description="for tests",
        input=InputSpec(channels=channels, height=HEIGHT, width=WIDTH, scale=127.5, offset=-1.0, resizer="linear"),
        tiling=TilingSpec(kind="clips", window=16),
        score=ScoreSpec.model_validate(
            {"kind": kind, "frame": 8, "peak": 1.0, "heat_cell": 8, "median_frames": median}
        ),
        training=TrainingRecord(data="-", license="-", frames=0, fps=25, seed=0, epochs=0, checkpoint="-"),
        parameters=1,
        files={},
    )


def frame(index: int, flags: FrameFlags = FrameFlags.NONE, size: tuple[int, int] = (60, 90)) -> Frame:
    return Frame("cam", index, index / 25, 100.0 + index, np.full(size, index % 256, np.uint8), flags)


def run(scorer: LearnedNoiseScorer, frames: Iterable[Frame]) -> list[FrameScore]:
    """Scores as the pipeline would have them; the error of a window is the gray of its scored frame."""
    scores = []
    for one in frames:
        tiles = scorer.preprocess(one)
        if tiles is None:
            continue
        gray = (tiles.batch[:, 8] + 1) * 127.5 if len(tiles.batch) else np.empty((0, 1, 1))
        error = gray.mean(axis=(1, 2))[:, None] / 1000
        scores.append(scorer.score(tiles, np.repeat(error, 1 + 4 * 6, axis=1).astype(np.float32)))
    return scores


def test_the_ninth_frame_of_a_window_is_scored_and_the_ends_are_not() -> None:
    scores = run(LearnedNoiseScorer(manifest()), map(frame, range(40)))
    assert [s.index for s in scores] == list(range(33))  # the last seven of 40 frames have none
    assert {s.skipped_reason for s in scores[:8]} == {"warming_up"}
    assert {s.skipped_reason for s in scores[8:]} == {None}
    for score in scores[8:]:
        # −PSNR by the definition, of an error of index/1000 with a peak of 1
        assert score.score == pytest.approx(10 * math.log10(score.index / 1000), abs=1e-4)
        assert score.pts_seconds == score.index / 25
        assert score.received_at == 100.0 + score.index + 7  # when its window was complete


def test_windows_hold_resized_frames_in_the_networks_range() -> None:
    scorer = LearnedNoiseScorer(manifest())
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (60, 90), dtype=np.uint8) for _ in range(16)]
    tiles = [scorer.preprocess(Frame("cam", k, k / 25, 0.0, p)) for k, p in enumerate(pictures)][-1]
    assert tiles is not None
    assert tiles.batch.shape == (1, 16, HEIGHT, WIDTH)
    expected = np.stack([cv2.resize(p, (WIDTH, HEIGHT), interpolation=cv2.INTER_LINEAR) for p in pictures]) / 127.5 - 1
    np.testing.assert_allclose(tiles.batch[0], expected, atol=1e-6)


@pytest.mark.parametrize("how", ["flag", "hole", "size"])
def test_a_gap_starts_a_new_piece(how: str) -> None:
    scorer = LearnedNoiseScorer(manifest())
    first = [frame(k) for k in range(20)]
    if how == "hole":
        second = [frame(k) for k in range(25, 45)]
    elif how == "flag":
        second = [frame(k, FrameFlags.NONE if k > 20 else FrameFlags.DISCONTINUITY) for k in range(20, 40)]
    else:
        second = [frame(k, size=(64, 80)) for k in range(20, 40)]
    start = second[0].index
    scores = run(scorer, first + second)
    assert scorer.gaps == 1
    scored = [s.index for s in scores if s.skipped_reason is None]
    assert scored == [*range(8, 13), *range(start + 8, start + 13)]
    assert [s.index for s in scores if s.skipped_reason] == [*range(8), *range(start, start + 8)]


def test_the_median_is_causal_and_forgets_at_a_gap() -> None:
    scorer = LearnedNoiseScorer(manifest(median=3))
    scores = [s for s in run(scorer, map(frame, range(30))) if s.skipped_reason is None]
    raw = [10 * math.log10(k / 1000) for k in range(8, 23)]
    expected = [float(np.median(raw[max(0, k - 2) : k + 1])) for k in range(len(raw))]
    np.testing.assert_allclose([s.score for s in scores], expected, atol=1e-4)
    scorer.reset()
    again = [s for s in run(scorer, map(frame, range(100, 116))) if s.skipped_reason is None]
    assert again[0].score == pytest.approx(10 * math.log10(108 / 1000), abs=1e-4)


def test_the_heat_map_and_its_boxes_cover_the_source() -> None:
    scorer = LearnedNoiseScorer(manifest())
    with pytest.raises(ValueError, match="no frame has been seen"):
        scorer.location_box(0, 0)
    tiles = [scorer.preprocess(frame(k)) for k in range(16)][-1]
    assert tiles is not None
    output = np.arange(25, dtype=np.float32)[None]
    score = scorer.score(tiles, output)
    assert score.anomaly_map is not None
    np.testing.assert_array_equal(score.anomaly_map, np.arange(1, 25).reshape(4, 6))
    covered = np.zeros((60, 90), int)
    for row in range(4):
        for col in range(6):
            x0, y0, x1, y1 = scorer.location_box(row, col)
            covered[y0:y1, x0:x1] += 1
    assert (covered == 1).all()


def test_an_output_that_is_no_number_is_withheld() -> None:
    scorer = LearnedNoiseScorer(manifest())
    tiles = [scorer.preprocess(frame(k)) for k in range(16)][-1]
    assert tiles is not None
    assert scorer.score(tiles, np.full(1, np.nan, np.float32)).skipped_reason == "non_finite"


def test_frames_that_are_too_small_and_other_bundles_are_refused() -> None:
    with pytest.raises(FrameSizeError, match="smaller than 32"):
        LearnedNoiseScorer(manifest()).preprocess(frame(0, size=(31, 90)))
    for wrong in (manifest(kind="map"), manifest(channels=8)):
        with pytest.raises(BundleError, match="learned noise needs clips"):
            LearnedNoiseScorer(wrong)
