"""Local calibration end to end: honest parts, one code path for files and streams."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from bundle_support import moving_shapes, write_mp4

pytest.importorskip("onnxruntime")

from scoring_support import score_video

from streamad.calibration import PerLocationScore, PerLocationSpec
from streamad.engines import EngineSpec
from streamad.errors import CalibrationError
from streamad.frame import Frame, FrameFlags
from streamad.inference import Model, open_model
from streamad.sources import FileSpec
from streamad.workflows.calibrate import calibrate_model
from streamad.workflows.calibrate_per_location import Spool, crossfit, local_spec, parts


@pytest.fixture(scope="module")
def model(small_bundle: Path) -> Iterator[Model]:
    with open_model(small_bundle, EngineSpec(threads=1), hint="throughput") as opened:
        yield opened


@pytest.mark.parametrize("frames", [[500], [100, 100], [10] * 7, [300, 5, 5, 5, 300, 10], [7, 9, 11, 13], [900, 2, 2]])
def test_parts_are_whole_clips_or_stretches(frames: list[int]) -> None:
    part = parts(frames)
    assert [len(p) for p in part] == frames
    used = np.unique(np.concatenate(part))
    assert len(used) >= 2
    if len(frames) >= 3:  # no clip in two parts
        assert all(len(np.unique(p)) == 1 for p in part)
        assert len(used) == len(frames) or len(frames) > 5
    else:
        assert len(used) >= 5
        assert all((np.diff(p) >= 0).all() for p in part)


def test_no_frame_is_scored_by_statistics_that_it_is_in() -> None:
    """One part is a world of its own: cross-fitted it scores far out, by statistics of itself it would not."""
    rng = np.random.default_rng(0)
    maps = rng.exponential(size=(500, 2, 2)).astype(np.float32)
    maps[300:400] *= 50
    with Spool() as spool:
        for anomaly_map in maps:
            spool.add(anomaly_map)
        made = crossfit(spool, [np.ones(500, bool)], PerLocationSpec(prior_samples=1, median_frames=1))
    assert np.median(made.scores[0][300:400]) > 6
    own = PerLocationScore(made.statistics)
    assert np.median([own.update(anomaly_map)[0] for anomaly_map in maps[300:400]]) < 2


def test_calibrating_scoring_and_streaming_are_one(model: Model, tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "normal.mp4", moving_shapes(150, shapes=3, seed=1))
    calibration = calibrate_model(model, [FileSpec(path=path)], source="shapes", fps=25, local=True)
    assert calibration.local is not None
    assert calibration.local.spec == local_spec(model.bundle.manifest)
    plain = list(score_video(path, model))
    local = list(score_video(path, model, scorer=model.scorer("cam", calibration.local)))
    state = PerLocationScore(calibration.local)
    for raw, score in zip(plain, local, strict=True):
        assert (raw.index, raw.pts_seconds, raw.skipped_reason) == (
            score.index,
            score.pts_seconds,
            score.skipped_reason,
        )
        if raw.anomaly_map is None:
            assert np.isnan(score.score)
            continue
        wanted, evidence = state.update(raw.anomaly_map)
        assert score.score == pytest.approx(wanted, abs=1e-5)
        np.testing.assert_allclose(score.anomaly_map, evidence, atol=1e-5)
    # The small detector is one of moving cells: without being asked, it has no local statistics.
    assert calibrate_model(model, [FileSpec(path=path)], source="shapes", fps=25).local is None


def test_a_gap_begins_the_median_anew(model: Model, tmp_path: Path) -> None:
    path = write_mp4(tmp_path / "normal.mp4", moving_shapes(150, shapes=3, seed=1))
    calibration = calibrate_model(model, [FileSpec(path=path)], source="shapes", fps=25, local=True)
    pictures = list(moving_shapes(120, shapes=3, seed=2))

    def frames(gap: int | None) -> Iterator[Frame]:
        for k, picture in enumerate(pictures):
            flag = FrameFlags.DISCONTINUITY if k in (0, gap) else FrameFlags.NONE
            yield Frame("cam", k, k / 25, 0.0, picture, flag)

    scorer = model.scorer("cam", calibration.local)
    after = [s for s in score_video(frames(60), model, scorer=scorer) if s.index > 60 and s.skipped_reason is None]
    assert scorer.gaps == 1
    single = PerLocationScore(calibration.local)
    raw = [
        s
        for s in score_video(frames(60), model, scorer=model.scorer("cam"))
        if s.index > 60 and s.skipped_reason is None
    ]
    np.testing.assert_allclose([s.score for s in after], [single.update(s.anomaly_map)[0] for s in raw], atol=1e-5)


def test_pictures_that_change_their_size_are_refused() -> None:
    with Spool() as spool:
        spool.add(None)
        spool.add(np.zeros((2, 2), np.float32))
        with pytest.raises(CalibrationError, match="change their size"):
            spool.add(np.zeros((2, 3), np.float32))


@pytest.mark.slow
def test_another_picture_size_is_scored_against_the_whole_picture(
    model: Model, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = write_mp4(tmp_path / "normal.mp4", moving_shapes(150, shapes=3, seed=1))
    calibration = calibrate_model(model, [FileSpec(path=path)], source="shapes", fps=25, local=True)
    other = write_mp4(tmp_path / "other.mp4", moving_shapes(60, (240, 180), shapes=3, seed=1))
    scores = list(score_video(other, model, scorer=model.scorer("cam", calibration.local)))
    assert np.isfinite([s.score for s in scores if s.skipped_reason is None]).all()
    assert sum("with the whole picture" in record.getMessage() for record in caplog.records) == 1
