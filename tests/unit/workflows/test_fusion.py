"""Fusion against a plain second derivation: two models scored apart, joined by the frame's number."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from bundle_support import moving_shapes, write_mp4

pytest.importorskip("onnxruntime")

from scoring_support import score_video

from streamad.bundle import load_bundle
from streamad.calibration import Calibration
from streamad.config import parse_config
from streamad.detectors.fused_scorer import fused_scorer
from streamad.engines import EngineSpec
from streamad.errors import BundleError, UsageError
from streamad.frame import Frame, FrameFlags
from streamad.inference import open_model
from streamad.inference.fused_model import FusedModel
from streamad.live import Monitor
from streamad.scoring import FrameScore
from streamad.sources import FileSpec
from streamad.workflows.calibrate import calibrate_model
from streamad.workflows.fuse import fuse_models, fused_scores

ENGINE = EngineSpec(threads=1)


@pytest.fixture(scope="module")
def models(small_bundle: Path, narrow_bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model of moving cells, one of windows, and both fused."""
    folder = tmp_path_factory.mktemp("models")
    for bundle in (small_bundle, narrow_bundle):
        shutil.copytree(bundle, folder / bundle.name)
    normal = write_mp4(folder / "normal.mp4", moving_shapes(150, shapes=3, seed=1))
    with open_model(folder / "small", ENGINE) as cells, open_model(folder / "narrow", ENGINE) as windows:
        fuse_models([cells, windows], [FileSpec(path=normal)], folder / "both", source="shapes", alerts_per_day=2000)
    return folder


@pytest.fixture(scope="module")
def fused(models: Path) -> Iterator[FusedModel]:
    with open_model(models / "both", ENGINE) as opened:
        assert isinstance(opened, FusedModel)
        yield opened


def apart(models: Path, video: Path) -> dict[int, float]:
    """The fused score of every frame that both models score, by hand."""
    values: list[dict[int, float]] = []
    for number, name in enumerate(("small", "narrow")):
        calibration = Calibration.load(models / "both" / f"member-{number}.json")
        with open_model(models / name, ENGINE) as model:
            scorer = model.scorer("video", calibration.local)
            values.append({
                s.index: calibration.calibrated(s.score) for s in score_video(video, model, scorer=scorer)
            })  # fmt: skip
    return {k: (values[0][k] + values[1][k]) / 2 for k in values[0].keys() & values[1].keys()}


def test_the_score_is_the_mean_of_the_members_calibrated_scores(fused: FusedModel, models: Path) -> None:
    video = write_mp4(models / "other.mp4", moving_shapes(90, shapes=4, seed=5))
    wanted = apart(models, video)
    scores = list(score_video(video, fused))
    assert [s.index for s in scores] == sorted(wanted)
    assert next(s.index for s in scores if np.isfinite(s.score)) == 8
    assert scores[-1].index == 82  # the last seven frames of a window have no score
    np.testing.assert_allclose([s.score for s in scores], [wanted[s.index] for s in scores], atol=1e-4)
    assert np.isfinite([s.score for s in scores]).sum() > 60
    assert Calibration.load(models / "both" / "member-1.json").local is not None
    assert Calibration.load(models / "both" / "member-0.json").local is None


@pytest.mark.slow
def test_the_heat_map_is_that_of_the_finest_grid_with_the_others_under_it(fused: FusedModel, models: Path) -> None:
    video = write_mp4(models / "heat.mp4", moving_shapes(60, shapes=4, seed=6))
    scorer = fused.scorer("video")
    last = [s for s in score_video(video, fused, scorer=scorer) if s.anomaly_map is not None][-1]
    calibration = Calibration.load(models / "both" / "member-0.json")
    with open_model(models / "small", ENGINE) as cells:
        coarse_scorer = cells.scorer("video")
        coarse = next(s for s in score_video(video, cells, scorer=coarse_scorer) if s.index == last.index).anomaly_map
    with open_model(models / "narrow", ENGINE) as windows:
        local = Calibration.load(models / "both" / "member-1.json").local
        fine_scorer = windows.scorer("video", local)
        fine = next(s for s in score_video(video, windows, scorer=fine_scorer) if s.index == last.index).anomaly_map
    # Both grids have 4×6 cells; the first counts as the finest. Its last column reaches back over its neighbor.
    assert last.anomaly_map.shape == coarse.shape == fine.shape
    own = calibration.calibrated_array(coarse)
    for row, col in np.ndindex(own.shape):
        x0, y0, x1, y1 = coarse_scorer.location_box(row, col)
        assert scorer.location_box(row, col) == (x0, y0, x1, y1)
        x, y = (x0 + x1) / 2, (y0 + y1) / 2
        boxes = {place: fine_scorer.location_box(*place) for place in np.ndindex(fine.shape)}
        under = next(p for p, (a, b, c, d) in boxes.items() if a <= x < c and b <= y < d)
        assert last.anomaly_map[row, col] == pytest.approx((np.nan_to_num(own[row, col]) + fine[under]) / 2, abs=1e-4)


def test_one_scorer_goes_on_with_the_next_clip_and_over_a_gap(fused: FusedModel, models: Path) -> None:
    video = write_mp4(models / "twice.mp4", moving_shapes(60, shapes=4, seed=7))
    scorer = fused.scorer("video")
    first = list(score_video(video, fused, scorer=scorer))
    second = list(score_video(video, fused, scorer=scorer))
    assert [s.index for s in second][-20:] == [s.index for s in first][-20:]
    pictures = list(moving_shapes(80, shapes=4, seed=8))

    def frames() -> Iterator[Frame]:
        for k, picture in enumerate(pictures):
            yield Frame("video", k, k / 25, 0.0, picture, FrameFlags.DISCONTINUITY if k in (0, 40) else FrameFlags.NONE)

    indices = [s.index for s in score_video(frames(), fused, scorer=fused.scorer("video"))]
    assert indices == sorted(set(indices))
    assert 32 in indices  # the last frame before the gap whose window is whole
    assert not set(range(33, 40)) & set(indices)


def test_frames_are_joined_by_number_whatever_order_members_answer_in(fused: FusedModel) -> None:
    scorer = fused_scorer(fused.bundle, "video")

    def score(index: int) -> FrameScore:
        return FrameScore("video", index, index / 25, -5.0)

    assert scorer.take(0, score(3)) == []
    assert scorer.take(0, score(4)) == []
    assert scorer.take(0, score(5)) == []
    assert [s.index for s in scorer.take(1, score(4))] == [4]  # 3 has no partner any more
    assert scorer.take(1, score(6)) == []
    assert [s.index for s in scorer.take(0, score(6))] == [6]
    assert scorer.take(1, FrameScore("video", 7, 0.28, float("nan"), skipped_reason="gap")) == []
    (held,) = scorer.take(0, score(7))
    assert held.skipped_reason == "gap"
    assert np.isnan(held.score)


def test_frames_that_the_gate_holds_back_are_held_back_once(fused: FusedModel) -> None:
    pictures = list(moving_shapes(120, shapes=4, seed=11))
    for k in range(70, 80):
        pictures[k] = np.zeros_like(pictures[k])

    def frames() -> Iterator[Frame]:
        for k, picture in enumerate(pictures):
            yield Frame("video", k, k / 25, 0.0, picture, FrameFlags.NONE if k else FrameFlags.DISCONTINUITY)

    scores = list(score_video(frames(), fused, scorer=fused.scorer("video")))
    held = [s.index for s in scores if s.skipped_reason == "quality"]
    assert set(range(70, 80)) <= set(held)
    indices = [s.index for s in scores]
    assert indices == sorted(set(indices))
    assert np.isfinite([s.score for s in scores if s.index > 100]).all()


@pytest.mark.slow
def test_watching_gives_the_scores_of_scoring(fused: FusedModel, models: Path) -> None:
    video = write_mp4(models / "watched.mp4", moving_shapes(90, shapes=4, seed=9))
    wanted = [(s.index, s.score) for s in score_video(video, fused)]
    config = parse_config(yaml.safe_dump({
        "model": str(models / "both"), "engine": {"threads": 1}, "web": {"port": 0},
        "cameras": [{"id": "video", "source": {"type": "file", "path": str(video)}}],
    }))  # fmt: skip
    seen: list[tuple[int, float]] = []
    monitor = Monitor(config, on_score=lambda _, __, score: seen.append((score.index, score.score)))
    (summary,) = monitor.run(once=True)
    assert summary.error is None
    assert [index for index, _ in seen] == [index for index, _ in wanted]
    np.testing.assert_allclose([v for _, v in seen], [v for _, v in wanted], atol=1e-5)


def test_the_threshold_is_learned_from_the_fused_scores_of_normal_video(models: Path, fused: FusedModel) -> None:
    calibration = Calibration.load(models / "both" / "calibration.json")
    again = calibrate_model(fused, [FileSpec(path=models / "normal.mp4")], source="shapes", fps=25)
    assert again.local is None
    assert again.frames == calibration.frames
    # The same frames, but for the member whose parts were then scored by statistics of the others.
    assert again.median == pytest.approx(calibration.median, abs=0.2)
    assert fused_scores([np.array([1.0, 2.0]), np.array([3.0])], "max").tolist()[0] == 3.0
    assert np.isnan(fused_scores([np.array([1.0, 2.0]), np.array([3.0])], "mean")[1])


def test_a_member_that_changed_or_is_missing_is_told(models: Path, tmp_path: Path) -> None:
    for name in ("small", "narrow", "both"):
        shutil.copytree(models / name, tmp_path / name)
    manifest = tmp_path / "small" / "model.yaml"
    manifest.write_text(manifest.read_text().replace("still: -10.0", "still: -9.0"))
    with pytest.raises(BundleError, match="was fused from small"):
        load_bundle(tmp_path / "both").members()
    shutil.rmtree(tmp_path / "small")
    with pytest.raises(BundleError, match="unknown model 'small'"):
        load_bundle(tmp_path / "both").members()
    (tmp_path / "both" / "member-1.json").write_text("{}")
    with pytest.raises(BundleError, match="does not match"):
        load_bundle(tmp_path / "both")


def test_what_cannot_be_fused(models: Path, fused: FusedModel, tmp_path: Path) -> None:
    clips = [FileSpec(path=models / "normal.mp4")]
    with open_model(models / "small", ENGINE) as cells:
        with pytest.raises(UsageError, match="two different models"):
            fuse_models([cells, cells], clips, tmp_path / "x", source="-")
        with pytest.raises(UsageError, match="cannot be fused again"):
            fuse_models([cells, fused], clips, tmp_path / "x", source="-")
        with open_model(models / "narrow", ENGINE) as windows, pytest.raises(BundleError, match="single model"):
            fuse_models([cells, windows], clips, models / "small", source="-")
